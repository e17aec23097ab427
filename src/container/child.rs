//! A process that the runtime has cloned and has to reap.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitPidFlag;
use nix::unistd::Pid;

use crate::cgroups::CreatedCgroups;
use crate::sys::{self, Ended};

/// The container's init process, or an exec process.
pub(super) struct Child {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
}

impl Child {
    /// Kills the process and reaps it.
    pub(super) fn kill(&self) -> Result<()> {
        match sys::pidfd_send_signal(self.pidfd.as_fd(), libc::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(errno).context("kill"),
        }
        match sys::wait(Some(self.pid), WaitPidFlag::empty()) {
            Ok(_) | Err(Errno::ECHILD) => Ok(()),
            Err(errno) => Err(errno).context("wait"),
        }
    }

    /// The error for an init process that ended without a message: reaps it and finds out
    /// whether a signal or the OOM killer ended it.
    pub(super) fn unexpected_end(&self, cgroups: &CreatedCgroups) -> anyhow::Error {
        let ended = sys::wait(Some(self.pid), WaitPidFlag::empty());
        if cgroups.oom_kills().is_some_and(|kills| kills > 0) {
            return anyhow!(
                "linux.resources.memory.limit: init was killed for lack of memory: the limit is too small to start in"
            );
        }
        match ended {
            Ok(Some((_, Ended::Signaled(signal)))) => match Signal::try_from(signal) {
                Ok(signal) => anyhow!("init: ended by {signal} before it was ready"),
                Err(_) => anyhow!("init: ended by signal {signal} before it was ready"),
            },
            _ => anyhow!("init: ended before it was ready"),
        }
    }
}
