//! Signals to all processes of a container.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::unistd::Pid;

use super::existing::ExistingCgroups;
use crate::cgroups::directory::{Directory, is_gone};
use crate::sys;

/// Processes that are signalled or awaited at a time. Each takes a descriptor, and RLIMIT_NOFILE limits
/// how many can be open at once.
pub(super) const BATCH: usize = 128;

impl ExistingCgroups {
    /// Signals every process. No process escapes SIGKILL by forking, and a frozen cgroup is
    /// thawed so that its processes can die. Without processes there is nothing to do.
    ///
    /// # Errors
    /// When the processes cannot be listed, or a signal is refused.
    pub(crate) fn kill(&self, signal: i32) -> Result<()> {
        if signal != libc::SIGKILL {
            return self.signal_others(signal, &mut BTreeSet::new()).map(|_| ());
        }
        if let Some(path) = self.unified() {
            match Directory::open(path).and_then(|cgroup| cgroup.write("cgroup.kill", "1")) {
                // The kernel is older than 5.14, or the cgroup is gone. What follows copes
                // with both.
                Err(errno) if is_gone(errno) => {}
                // The cgroup is threaded.
                Err(Errno::EOPNOTSUPP) => {}
                written => {
                    return written
                        .with_context(|| format!("write \"1\" to {}/cgroup.kill", path.display()));
                }
            }
        }
        self.freeze(true)?;
        let killed = self.kill_one_by_one(signal);
        let thawed = self.freeze(false).and_then(|()| self.thaw_killed());
        killed.and(thawed)
    }

    /// Signals processes until a listing holds only processes that were signalled.
    ///
    /// This terminates, and no process is missed: fork(2) fails for a process with a pending
    /// SIGKILL, and the kernel checks for one before the child appears in any list
    /// (`copy_process`). Freezing is not needed for this. It only keeps the processes from
    /// forking in the meantime.
    fn kill_one_by_one(&self, signal: i32) -> Result<()> {
        let mut signalled = BTreeSet::new();
        while self.signal_others(signal, &mut signalled)? {}
        Ok(())
    }

    /// Signals the processes that are not in `signalled` and adds them to it. Returns whether
    /// there were any.
    ///
    /// Each process is signalled by pidfd, and only if it is still listed after the pidfd was
    /// opened. Otherwise its pid may have been reused for a process elsewhere.
    fn signal_others(&self, signal: i32, signalled: &mut BTreeSet<i32>) -> Result<bool> {
        let listed = self.all_pids()?;
        ensure!(
            !listed.contains(&0),
            "the cgroup holds processes of another pid namespace, which cannot be signalled from here"
        );
        let others: Vec<i32> = listed.difference(signalled).copied().collect();
        for batch in others.chunks(BATCH) {
            let mut open = Vec::new();
            for pid in batch {
                match sys::pidfd_open(Pid::from_raw(*pid)) {
                    // The process is gone, or its pid is now a thread's id.
                    Err(Errno::ESRCH | Errno::EINVAL | Errno::ENOENT) => {}
                    pidfd => open.push((*pid, pidfd.with_context(|| format!("process {pid}"))?)),
                }
            }
            let still_listed = self.all_pids()?;
            for (pid, pidfd) in open.iter().filter(|(pid, _)| still_listed.contains(pid)) {
                match sys::pidfd_send_signal(pidfd.as_fd(), signal) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(errno) => {
                        return Err(errno)
                            .with_context(|| format!("signal {signal} to process {pid}"));
                    }
                }
            }
        }
        signalled.extend(&others);
        Ok(!others.is_empty())
    }
}
