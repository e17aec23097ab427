//! A created container until `rt start`: it waits to be asked, and can be stopped.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::Uid;

use super::sync::InitEnd;
use crate::step::Cause;
use crate::sys;

/// Signals that end no process by default (signal(7)).
pub(super) const HARMLESS: [i32; 8] = [
    libc::SIGCHLD,
    libc::SIGCONT,
    libc::SIGSTOP,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGURG,
    libc::SIGWINCH,
];

/// Where `rt start` connects, and the signals that may come before it.
pub(super) struct Waiting {
    socket: OwnedFd,
    signals: SignalFd,
}

impl Waiting {
    /// From here on signals are kept: the kernel drops one for the first process
    /// of a pid namespace that neither handles nor blocks it (pid_namespaces(7)).
    pub(super) fn new(socket: OwnedFd) -> nix::Result<Waiting> {
        sys::block_all()?;
        let signals = SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_CLOEXEC)?;
        Ok(Waiting { socket, signals })
    }

    /// Returns the connection of `rt start`, run by `owner`. A signal that ends
    /// processes ends this one, with the status that a shell has for it.
    pub(super) fn for_start(self, owner: Uid) -> Result<InitEnd, Cause> {
        loop {
            let [asked, signalled] = self.poll()?;
            if signalled {
                self.obey()?;
            } else if asked && let Some(end) = self.accept(owner)? {
                sys::unblock_all()?;
                return Ok(end);
            }
        }
    }

    fn poll(&self) -> nix::Result<[bool; 2]> {
        let mut both = [self.socket.as_fd(), self.signals.as_fd()]
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut both, PollTimeout::NONE) {
            Ok(_) => Ok(both.map(|fd| fd.any().unwrap_or(true))),
            // Stopped and continued.
            Err(Errno::EINTR) => Ok([false; 2]),
            Err(errno) => Err(errno),
        }
    }

    fn obey(&self) -> nix::Result<()> {
        let signal = self.signals.read_signal()?;
        match signal.map(|signal| signal.ssi_signo.cast_signed()) {
            Some(signal) if !HARMLESS.contains(&signal) => sys::exit(128 + signal),
            Some(_) | None => Ok(()),
        }
    }

    /// `None` for somebody else, and for one that goes away before it is answered.
    fn accept(&self, owner: Uid) -> nix::Result<Option<InitEnd>> {
        let peer = sys::accept(self.socket.as_fd())?;
        let uid = Uid::from_raw(getsockopt(&peer, PeerCredentials)?.uid());
        let end = InitEnd::accepted(peer);
        let taken = uid == owner && end.wait_for_go().is_ok() && end.ready().is_ok();
        Ok(taken.then_some(end))
    }
}
