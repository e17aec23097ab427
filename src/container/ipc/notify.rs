//! READY=1 from a container's process to the service manager that started `rt`
//! (sd_notify(3)).
//!
//! The manager's socket is not mounted into the container, because a process that can write
//! there can pose as the service. The container sees a socket of its own, in a directory that
//! it cannot write to. Of the messages that arrive there, only the line READY is forwarded.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::stat::{Mode, fchmod, mkdirat};
use nix::unistd::{Pid, UnlinkatFlags, pipe2, unlinkat};

use crate::container::state::{NOTIFY_DIRECTORY, NOTIFY_SOCKET};
use crate::log;
use crate::sys;

/// The socket's name in its directory.
const SOCKET: &str = "notify.sock";

/// How long the manager may take to read all messages (sd_notify_barrier(3)).
const BARRIER_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest message that is read completely, in bytes.
const MAX_MESSAGE: usize = 4096;

/// A connection to the service manager.
pub(crate) struct ServiceManager(OwnedFd);

impl ServiceManager {
    /// Connects to `address`, the caller's `NOTIFY_SOCKET`, if it is set.
    ///
    /// # Errors
    /// `NOTIFY_SOCKET /run/systemd/notify: ...` when no process listens there.
    pub(crate) fn connect(address: Option<&OsString>) -> Result<Option<ServiceManager>> {
        address
            .map(|address| connect_to(address).with_context(|| subject(address)))
            .transpose()
    }
}

fn subject(address: &OsStr) -> String {
    format!("NOTIFY_SOCKET {}", address.display())
}

fn connect_to(address: &OsStr) -> Result<ServiceManager> {
    let address = match address.as_bytes() {
        [b'@', name @ ..] => UnixAddr::new_abstract(name)?,
        [b'/', ..] => UnixAddr::new(address)?,
        _ => bail!("neither an absolute path nor the name of an abstract socket"),
    };
    let (family, kind) = (AddressFamily::Unix, SockType::Datagram);
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    connect(socket.as_raw_fd(), &address)?;
    Ok(ServiceManager(socket))
}

/// The path of the directory that is mounted into the container `id`.
pub(crate) fn notify_directory(root: &Path, id: &str) -> PathBuf {
    root.join(id).join(NOTIFY_DIRECTORY)
}

/// Creates the directory, readable for every user of the container, if the caller has a
/// service manager.
pub(crate) fn make_notify_directory(
    container: BorrowedFd,
    address: Option<&OsString>,
) -> Result<()> {
    if address.is_none() {
        return Ok(());
    }
    let make = || {
        mkdirat(container, NOTIFY_DIRECTORY, Mode::S_IRWXU)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let directory = openat(container, NOTIFY_DIRECTORY, flags, Mode::empty())?;
        // mkdirat(2) applies the caller's umask.
        fchmod(directory, Mode::from_bits_truncate(0o755))
    };
    make().context(NOTIFY_DIRECTORY)
}

/// Forwards READY from the container's socket to the service manager.
pub(crate) struct NotifyProxy {
    inside: OwnedFd,
    manager: ServiceManager,
    stage: Stage,
}

enum Stage {
    /// READY has not arrived yet.
    Listening,
    /// READY is forwarded; the manager may not have read it yet.
    Forwarded(Barrier),
    /// The manager has read READY, or cannot be reached. Messages are still read, so that the
    /// container's writes do not block.
    Done,
}

/// A pipe that the manager closes when it has read all earlier messages.
struct Barrier {
    closed: OwnedFd,
    until: Instant,
}

impl NotifyProxy {
    /// Opens the socket that the container's process writes to. `None` without a manager, or
    /// when there was none at the container's creation.
    pub(crate) fn listen(
        container: BorrowedFd,
        manager: Option<ServiceManager>,
    ) -> Result<Option<NotifyProxy>> {
        let Some(manager) = manager else {
            return Ok(None);
        };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let directory = match openat(container, NOTIFY_DIRECTORY, flags, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(None),
            opened => opened.context(NOTIFY_DIRECTORY)?,
        };
        // If a command that listened before was killed, its socket is still there.
        match unlinkat(&directory, SOCKET, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).context(NOTIFY_SOCKET),
        }
        let inside = sys::bind_datagram_at(directory.as_fd(), SOCKET).context(NOTIFY_SOCKET)?;
        Ok(Some(NotifyProxy {
            inside,
            manager,
            stage: Stage::Listening,
        }))
    }

    /// Forwards READY, with `main` as the main process for the manager to watch. Returns when
    /// the manager has read it, or when the container's process has ended before. A failure is
    /// only a warning, because the container is running.
    pub(crate) fn forward(mut self, main: Pid, process: BorrowedFd) {
        while matches!(self.stage, Stage::Listening) {
            let mut fds =
                [self.inside.as_fd(), process].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return self.give_up(errno),
            }
            let [readable, ended] = fds.map(|fd| fd.any().unwrap_or(true));
            // A message from before its end is forwarded all the same.
            match (readable, ended) {
                (true, _) => self.read_message(main),
                (false, true) => return,
                (false, false) => {}
            }
        }
        self.wait_for_barrier();
    }

    /// Readable when a message has arrived.
    pub(crate) fn poll_fd(&self) -> PollFd<'_> {
        PollFd::new(self.inside.as_fd(), PollFlags::POLLIN)
    }

    /// Reads one message, and forwards it if it is the first with READY. The kernel closes
    /// descriptors that are sent with a message.
    fn read_message(&mut self, main: Pid) {
        let mut message = [0; MAX_MESSAGE];
        let length = match sys::recv(self.inside.as_fd(), &mut message) {
            Ok(length) => length,
            Err(errno) => return self.give_up(errno),
        };
        match (&self.stage, ready_line(&message[..length])) {
            (Stage::Listening, Some(line)) => match send_ready(&self.manager, line, main) {
                Ok(barrier) => self.stage = Stage::Forwarded(barrier),
                Err(errno) => self.give_up(errno),
            },
            (Stage::Listening | Stage::Forwarded(_) | Stage::Done, _) => {}
        }
    }

    /// Forwards what the container's process sent before it ended.
    pub(crate) fn finish(mut self, main: Pid) {
        self.read_messages(main);
        self.wait_for_barrier();
    }

    /// Reads all messages that have arrived.
    pub(crate) fn read_messages(&mut self, main: Pid) {
        while poll(&mut [self.poll_fd()], PollTimeout::ZERO) == Ok(1) {
            self.read_message(main);
        }
    }

    /// Waits until the manager has read the messages: it may look up the process that sent
    /// them, which is about to end.
    fn wait_for_barrier(&mut self) {
        let stage = std::mem::replace(&mut self.stage, Stage::Done);
        let Stage::Forwarded(Barrier { closed, until }) = stage else {
            return;
        };
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::ZERO);
            let mut fds = [PollFd::new(closed.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, timeout) {
                Ok(0) => {
                    log::warn("NOTIFY_SOCKET: the service manager has not confirmed READY in 30 s")
                }
                Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(errno) => self.give_up(errno),
            }
            return;
        }
    }

    fn give_up(&mut self, errno: Errno) {
        self.stage = Stage::Done;
        let why = log::errno_text(errno);
        log::warn(&format!("NOTIFY_SOCKET: READY is not forwarded: {why}"));
    }
}

/// The READY line of a message, which may have several lines (sd_notify(3)).
fn ready_line(message: &[u8]) -> Option<&[u8]> {
    let mut lines = message.split(|byte| *byte == b'\n');
    lines.find(|line| line.starts_with(b"READY="))
}

/// Three messages, as runc sends them.
fn send_ready(manager: &ServiceManager, ready: &[u8], main: Pid) -> nix::Result<Barrier> {
    let manager = manager.0.as_fd();
    sys::send(manager, &[ready, b"\n"].concat())?;
    sys::send(manager, format!("MAINPID={main}\n").as_bytes())?;
    let (closed, open) = pipe2(OFlag::O_CLOEXEC)?;
    sys::send_descriptor(manager, b"BARRIER=1", open.as_fd())?;
    Ok(Barrier {
        closed,
        until: Instant::now() + BARRIER_TIMEOUT,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_one_line_of_a_message() {
        assert_eq!(ready_line(b"READY=1"), Some(&b"READY=1"[..]));
        let message = b"STATUS=up\nREADY=1\nMAINPID=1\n";
        assert_eq!(ready_line(message), Some(&b"READY=1"[..]));
        assert_eq!(ready_line(b"STATUS=READY=1\nNOTREADY=1"), None);
        assert_eq!(ready_line(b""), None);
    }

    #[test]
    fn an_address_is_an_absolute_path_or_an_abstract_name() {
        let refused = |address: &str| {
            let connected = ServiceManager::connect(Some(&address.into()));
            format!("{:#}", connected.map(drop).unwrap_err())
        };
        for address in ["relative", "vsock:2:1234"] {
            let why = "neither an absolute path nor the name of an abstract socket";
            assert_eq!(refused(address), format!("NOTIFY_SOCKET {address}: {why}"));
        }
        assert!(refused("/no/such").starts_with("NOTIFY_SOCKET /no/such: "));
        assert!(refused("@no-such").starts_with("NOTIFY_SOCKET @no-such: "));
        assert!(ServiceManager::connect(None).unwrap().is_none());
    }
}
