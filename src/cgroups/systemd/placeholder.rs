//! A process that is in a scope until the container's first process is.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::fcntl::OFlag;
use nix::sched::CloneFlags;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, pipe2, read};

use crate::sys::{self, Cloned};

/// The process. It ends when the last process that holds the other end of its pipe has closed it.
pub(super) struct Placeholder {
    pub(super) pid: Pid,
    pidfd: OwnedFd,
    /// Only this process keeps it: init closes its copy. So the placeholder does not outlive this process.
    _pipe: OwnedFd,
}

impl Placeholder {
    /// # Errors
    /// When the kernel makes no process.
    pub(super) fn new() -> Result<Placeholder> {
        let (end, pipe) = pipe2(OFlag::O_CLOEXEC).context("pipe")?;
        match sys::clone3(CloneFlags::empty(), None).context("clone a process for the scope")? {
            Cloned::Parent { pid, pidfd } => Ok(Placeholder {
                pid,
                pidfd,
                _pipe: pipe,
            }),
            Cloned::Child => {
                // It holds neither the lock of the container nor the other end of the pipe.
                let closed = sys::close_all_except(vec![end.as_raw_fd()]);
                // A signal to the caller's process group is for the runtime.
                if closed.and_then(|()| sys::block_all()).is_ok() {
                    while read(&end, &mut [0]).is_err() {}
                }
                sys::exit(0)
            }
        }
    }

    /// Ends the process and waits for that. Does nothing the second time.
    pub(super) fn end(&self) {
        // It is a child of this process, so the calls fail only when it was waited for before.
        let _ = sys::pidfd_send_signal(self.pidfd.as_fd(), libc::SIGKILL);
        let _ = waitid(Id::PIDFd(self.pidfd.as_fd()), WaitPidFlag::WEXITED);
    }
}
