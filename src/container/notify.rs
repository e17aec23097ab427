//! The way of "I am ready" from a container's process to the service manager
//! that `rt` was started by (sd_notify(3)).
//!
//! The manager's own socket stays outside: whoever writes there can claim to be
//! the service. The container sees a socket of its own, in a directory that it
//! cannot write, and of what comes in there one line goes further: READY.

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

use crate::log;
use crate::sys;

/// Below the container's directory; the container sees it and no more.
pub(super) const DIRECTORY: &str = "notify";
const SOCKET: &str = "notify.sock";

/// The socket, as whoever removes the container finds it.
pub(super) const PATH: &str = "notify/notify.sock";

/// How long the manager may take to say that it has read all (sd_notify_barrier(3)).
const PATIENCE: Duration = Duration::from_secs(30);

/// As much of a message as is looked at.
const LONGEST: usize = 4096;

/// The service manager's end.
pub(super) struct Manager(OwnedFd);

impl Manager {
    /// Connects, if the caller has one: before anything is made or started.
    ///
    /// # Errors
    /// `NOTIFY_SOCKET /run/systemd/notify: ...` when nobody is there.
    pub(super) fn connect(address: Option<&OsString>) -> Result<Option<Manager>> {
        address
            .map(|address| reach(address).with_context(|| subject(address)))
            .transpose()
    }
}

fn subject(address: &OsStr) -> String {
    format!("NOTIFY_SOCKET {}", address.display())
}

fn reach(address: &OsStr) -> Result<Manager> {
    let address = match address.as_bytes() {
        [b'@', name @ ..] => UnixAddr::new_abstract(name)?,
        [b'/', ..] => UnixAddr::new(address)?,
        _ => bail!("neither an absolute path nor the name of an abstract socket"),
    };
    let (family, kind) = (AddressFamily::Unix, SockType::Datagram);
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    connect(socket.as_raw_fd(), &address)?;
    Ok(Manager(socket))
}

/// Where the directory lies that the container is to see.
pub(super) fn directory(root: &Path, id: &str) -> PathBuf {
    root.join(id).join(DIRECTORY)
}

/// Makes the directory, for every user of the container to look into, if the
/// caller has a service manager.
pub(super) fn make_directory(container: BorrowedFd, address: Option<&OsString>) -> Result<()> {
    if address.is_none() {
        return Ok(());
    }
    let made = || {
        mkdirat(container, DIRECTORY, Mode::S_IRWXU)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let directory = openat(container, DIRECTORY, flags, Mode::empty())?;
        // Whatever the caller's umask.
        fchmod(directory, Mode::from_bits_truncate(0o755))
    };
    made().context(DIRECTORY)
}

/// Both ends, and what came of them so far.
pub(super) struct Notify {
    inside: OwnedFd,
    manager: Manager,
    stage: Stage,
}

/// How far it has come.
enum Stage {
    /// Nothing has come of it yet.
    Listening,
    Told(Barrier),
    /// The manager knows, or cannot be told. What comes in is read all the same,
    /// for whoever writes would have to wait.
    Done,
}

/// Closed by the manager when it has read what came before.
struct Barrier {
    closed: OwnedFd,
    until: Instant,
}

impl Notify {
    /// Opens the socket that the container's process writes to. `None` when
    /// there is no manager, or there was none when the container was made.
    pub(super) fn listen(
        container: BorrowedFd,
        manager: Option<Manager>,
    ) -> Result<Option<Notify>> {
        let Some(manager) = manager else {
            return Ok(None);
        };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let directory = match openat(container, DIRECTORY, flags, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(None),
            opened => opened.context(DIRECTORY)?,
        };
        // Whoever was to listen before was killed.
        match unlinkat(&directory, SOCKET, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).context(PATH),
        }
        let inside = sys::receive_at(directory.as_fd(), SOCKET).context(PATH)?;
        Ok(Some(Notify {
            inside,
            manager,
            stage: Stage::Listening,
        }))
    }

    /// Hands on that the container is ready, with `main` as the process that the
    /// manager is to watch. Returns when the manager has read it, or when the
    /// container's process has ended first. What fails is worth a warning: the
    /// container runs.
    pub(super) fn forward(mut self, main: Pid, process: BorrowedFd) {
        while matches!(self.stage, Stage::Listening) {
            let (inside, readable) = (self.inside.as_fd(), PollFlags::POLLIN);
            let mut waiting = [inside, process].map(|fd| PollFd::new(fd, readable));
            match poll(&mut waiting, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return self.give_up(errno),
            }
            let [heard, ended] = waiting.map(|fd| fd.any().unwrap_or(true));
            // What it said before it ended is told all the same.
            match (heard, ended) {
                (true, _) => self.take(main),
                (false, true) => return,
                (false, false) => {}
            }
        }
        self.settle();
    }

    /// What to wait for: then there is something for [`Notify::take`].
    pub(super) fn waiting(&self) -> PollFd<'_> {
        PollFd::new(self.inside.as_fd(), PollFlags::POLLIN)
    }

    /// Reads one message, and hands on the first that says READY. Descriptors
    /// that come with one are closed by the kernel.
    pub(super) fn take(&mut self, main: Pid) {
        let mut message = [0; LONGEST];
        let length = match sys::recv(self.inside.as_fd(), &mut message) {
            Ok(length) => length,
            Err(errno) => return self.give_up(errno),
        };
        match (&self.stage, ready(&message[..length])) {
            (Stage::Listening, Some(line)) => match tell(&self.manager, line, main) {
                Ok(barrier) => self.stage = Stage::Told(barrier),
                Err(errno) => self.give_up(errno),
            },
            (Stage::Listening | Stage::Told(_) | Stage::Done, _) => {}
        }
    }

    /// When the container's process has ended: what it said before is told all the same.
    pub(super) fn end(mut self, main: Pid) {
        self.take_waiting(main);
        self.settle();
    }

    /// [`Notify::take`] for every message that is there.
    pub(super) fn take_waiting(&mut self, main: Pid) {
        while poll(&mut [self.waiting()], PollTimeout::ZERO) == Ok(1) {
            self.take(main);
        }
    }

    /// Waits until the manager has read what it was told: it may look at who
    /// told it, who is about to end.
    fn settle(&mut self) {
        let stage = std::mem::replace(&mut self.stage, Stage::Done);
        let Stage::Told(Barrier { closed, until }) = stage else {
            return;
        };
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let patience = PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::ZERO);
            let mut waiting = [PollFd::new(closed.as_fd(), PollFlags::POLLIN)];
            match poll(&mut waiting, patience) {
                Ok(0) => log::warn("NOTIFY_SOCKET: nobody has confirmed READY in 30 s"),
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
        log::warn(&format!("NOTIFY_SOCKET: READY is not handed on: {why}"));
    }
}

/// The first line that says READY, of a message of several (sd_notify(3)).
fn ready(message: &[u8]) -> Option<&[u8]> {
    let mut lines = message.split(|byte| *byte == b'\n');
    lines.find(|line| line.starts_with(b"READY="))
}

/// Three messages, as runc sends them.
fn tell(manager: &Manager, ready: &[u8], main: Pid) -> nix::Result<Barrier> {
    let manager = manager.0.as_fd();
    sys::send(manager, &[ready, b"\n"].concat())?;
    sys::send(manager, format!("MAINPID={main}\n").as_bytes())?;
    let (closed, open) = pipe2(OFlag::O_CLOEXEC)?;
    sys::send_descriptor(manager, b"BARRIER=1", open.as_fd())?;
    Ok(Barrier {
        closed,
        until: Instant::now() + PATIENCE,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_a_line_of_a_message() {
        assert_eq!(ready(b"READY=1"), Some(&b"READY=1"[..]));
        let message = b"STATUS=up\nREADY=1\nMAINPID=1\n";
        assert_eq!(ready(message), Some(&b"READY=1"[..]));
        assert_eq!(ready(b"STATUS=READY=1\nNOTREADY=1"), None);
        assert_eq!(ready(b""), None);
    }

    #[test]
    fn an_address_is_absolute_or_abstract() {
        let refused = |address: &str| {
            let connected = Manager::connect(Some(&address.into()));
            format!("{:#}", connected.map(drop).unwrap_err())
        };
        for address in ["relative", "vsock:2:1234"] {
            let why = "neither an absolute path nor the name of an abstract socket";
            assert_eq!(refused(address), format!("NOTIFY_SOCKET {address}: {why}"));
        }
        assert!(refused("/no/such").starts_with("NOTIFY_SOCKET /no/such: "));
        assert!(refused("@no-such").starts_with("NOTIFY_SOCKET @no-such: "));
        assert!(Manager::connect(None).unwrap().is_none());
    }
}
