//! `start.sock`, on which the init process of a created container waits for `rt start`.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::Uid;

use super::sync::InitEnd;
use crate::container::signals::NON_FATAL;
use crate::step::Cause;
use crate::sys;

/// The listening socket, and the signals that may arrive before `rt start` connects.
pub(crate) struct StartSocket {
    socket: OwnedFd,
    signals: SignalFd,
}

impl StartSocket {
    /// Blocks all signals: the kernel discards a signal to PID 1 of a pid namespace that
    /// neither handles nor blocks it (pid_namespaces(7)).
    pub(crate) fn new(socket: OwnedFd) -> nix::Result<StartSocket> {
        sys::block_all()?;
        let signals = SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_CLOEXEC)?;
        Ok(StartSocket { socket, signals })
    }

    /// Returns the connection of an `rt start` that `owner` runs. A fatal signal ends this
    /// process, with the exit status that a shell reports for it.
    pub(crate) fn wait_for_start(self, owner: Uid) -> Result<InitEnd, Cause> {
        loop {
            let [connected, signalled] = self.poll()?;
            if signalled {
                self.handle_signal()?;
            } else if connected && let Some(end) = self.accept(owner)? {
                sys::unblock_all()?;
                return Ok(end);
            }
        }
    }

    fn poll(&self) -> nix::Result<[bool; 2]> {
        let mut fds = [self.socket.as_fd(), self.signals.as_fd()]
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => Ok(fds.map(|fd| fd.any().unwrap_or(true))),
            // The process was stopped and continued.
            Err(Errno::EINTR) => Ok([false; 2]),
            Err(errno) => Err(errno),
        }
    }

    fn handle_signal(&self) -> nix::Result<()> {
        let signal = self.signals.read_signal()?;
        match signal.map(|signal| signal.ssi_signo.cast_signed()) {
            Some(signal) if !NON_FATAL.contains(&signal) => sys::exit(128 + signal),
            Some(_) | None => Ok(()),
        }
    }

    /// `None` when another user connects, or the connection is closed before the reply.
    fn accept(&self, owner: Uid) -> nix::Result<Option<InitEnd>> {
        let peer = sys::accept(self.socket.as_fd())?;
        let uid = Uid::from_raw(getsockopt(&peer, PeerCredentials)?.uid());
        let end = InitEnd::accepted(peer);
        let is_start = uid == owner && end.wait_for_go().is_ok() && end.ready().is_ok();
        Ok(is_start.then_some(end))
    }
}
