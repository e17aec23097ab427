//! `rt run` in the foreground: hands every signal on, reaps whatever becomes
//! its child, and ends as the container's process ends.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::WaitPidFlag;
use nix::unistd::{Pid, getpid};

use super::notify::Notify;
use crate::sys::{self, Ended};

/// Signals that concern `rt` alone: its children, its terminal's size, and what
/// network sockets raise.
const NOT_FORWARDED: [i32; 3] = [libc::SIGCHLD, libc::SIGWINCH, libc::SIGURG];

/// Waits for the process `init` and returns its exit status, 128+n when signal
/// n ended it. All signals are blocked since before the clone.
///
/// # Errors
/// When the kernel refuses to wait.
pub(super) fn wait(init: Pid, pidfd: BorrowedFd, notify: Option<Notify>) -> Result<u8> {
    if let Some(notify) = notify {
        return wait_and_listen(init, pidfd, notify);
    }
    loop {
        let signal = match sys::wait_signal() {
            Err(Errno::EINTR) => continue,
            done => done.context("wait for signals")?,
        };
        if signal == libc::SIGCHLD {
            if let Some(status) = reap(init)? {
                return Ok(status);
            }
        } else {
            forward(signal, pidfd)?;
        }
    }
}

/// The same for a process that may say that it is ready. To a service manager
/// the service is this process: the container's is not its child.
fn wait_and_listen(init: Pid, pidfd: BorrowedFd, mut notify: Notify) -> Result<u8> {
    let signals = SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_CLOEXEC);
    let signals = signals.context("signalfd")?;
    loop {
        let mut waiting = [
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            notify.waiting(),
        ];
        match poll(&mut waiting, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            done => done.context("poll")?,
        };
        let [signalled, heard] = waiting.map(|one| one.any().unwrap_or(true));
        if heard {
            notify.take(getpid());
        }
        if !signalled {
            continue;
        }
        let signal = signals.read_signal().context("signalfd")?;
        match signal.map(|signal| signal.ssi_signo.cast_signed()) {
            Some(libc::SIGCHLD) => {
                if let Some(status) = reap(init)? {
                    notify.end(getpid());
                    return Ok(status);
                }
            }
            Some(signal) => forward(signal, pidfd)?,
            None => {}
        }
    }
}

/// Hands a signal to the process, unless it is of a kind that concerns `rt` alone.
pub(super) fn forward(signal: i32, pidfd: BorrowedFd) -> Result<()> {
    if NOT_FORWARDED.contains(&signal) {
        return Ok(());
    }
    match sys::pidfd_send_signal(pidfd, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno).context("forward a signal"),
    }
}

/// Reaps children that have ended, up to `init`, whose status it is.
pub(super) fn reap(init: Pid) -> Result<Option<u8>> {
    loop {
        match sys::wait(None, WaitPidFlag::WNOHANG) {
            Ok(Some((pid, ended))) if pid == init => {
                return Ok(Some(match ended {
                    Ended::Exited(code) => code,
                    Ended::Signaled(signal) => 128 + signal as u8,
                }));
            }
            Ok(None) | Err(Errno::ECHILD) => return Ok(None),
            Ok(Some(_)) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("wait for the container"),
        }
    }
}
