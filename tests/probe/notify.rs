//! A service that sends notifications to its service manager, like `systemd-notify`.

use std::io::{Error, IoSlice};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};

use crate::actions;

/// Sends each message to `NOTIFY_SOCKET` and prints the result. `~` in a message stands for a newline.
///
/// Three messages are commands instead: `barrier` sends a barrier (sd_notify_barrier(3)) and waits until the manager
/// closes its descriptor, `enter` waits for a line on standard input, and `sleep` sleeps.
pub(crate) fn notify(messages: &[&str]) -> i32 {
    let socket = std::env::vars().find(|(name, _)| name == "NOTIFY_SOCKET");
    let (_, socket) = socket.unwrap_or_default();
    for message in messages {
        let result = match *message {
            "sleep" => return actions::sleep(),
            "enter" => std::io::stdin().read_line(&mut String::new()).map(drop),
            "barrier" => barrier(&socket),
            text => send(&socket, &text.replace('~', "\n")),
        };
        match result {
            Ok(()) => crate::print(&format!("{message}: ok")),
            Err(error) => crate::print(&format!("{message}: {:?}", error.kind())),
        };
    }
    0
}

fn send(socket: &str, text: &str) -> Result<(), Error> {
    UnixDatagram::unbound()?
        .send_to(text.as_bytes(), socket)
        .map(drop)
}

fn barrier(socket: &str) -> Result<(), Error> {
    let (mut reader, writer) = std::io::pipe()?;
    let sender = UnixDatagram::unbound()?;
    let (fds, text) = ([writer.as_raw_fd()], [IoSlice::new(b"BARRIER=1")]);
    let rights = [ControlMessage::ScmRights(&fds)];
    let to = UnixAddr::new(socket)?;
    sendmsg(
        sender.as_raw_fd(),
        &text,
        &rights,
        MsgFlags::empty(),
        Some(&to),
    )?;
    drop(writer);
    std::io::copy(&mut reader, &mut std::io::sink()).map(drop)
}
