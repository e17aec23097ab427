//! A service that talks to its manager, as `systemd-notify` does.

use std::io::{Error, IoSlice};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};

use crate::acts;

/// Sends each message to `NOTIFY_SOCKET` and says how that went; `~` stands for the end of a line in one.
///
/// Three words are none: `barrier` sends one and waits until it is closed, `enter` waits for a line on standard
/// input, `sleep` sleeps.
pub(crate) fn notify(messages: &[&str]) -> i32 {
    let socket = std::env::vars().find(|(name, _)| name == "NOTIFY_SOCKET");
    let (_, socket) = socket.unwrap_or_default();
    for message in messages {
        let done = match *message {
            "sleep" => return acts::sleep(),
            "enter" => std::io::stdin().read_line(&mut String::new()).map(drop),
            "barrier" => barrier(&socket),
            text => send(&socket, &text.replace('~', "\n")),
        };
        match done {
            Ok(()) => crate::say(&format!("{message}: ok")),
            Err(error) => crate::say(&format!("{message}: {:?}", error.kind())),
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
