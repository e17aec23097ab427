//! Signals.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::unistd::Pid;

use super::existing::Existing;
use crate::cgroups::directory::{Directory, is_gone};
use crate::sys;

impl Existing {
    /// Signals every process. None escapes SIGKILL by forking, and a frozen
    /// cgroup thaws to die of it.
    ///
    /// # Errors
    /// Those of listing and signalling; no process at all is none.
    pub(crate) fn kill(&self, signal: i32) -> Result<()> {
        if signal != libc::SIGKILL {
            return self.signal_new(signal, &mut BTreeSet::new()).map(|_| ());
        }
        if let Some(path) = self.unified() {
            match Directory::open(path).and_then(|cgroup| cgroup.write("cgroup.kill", "1")) {
                // Before Linux 5.14, or gone: both show below.
                Err(errno) if is_gone(errno) => {}
                // A threaded one.
                Err(Errno::EOPNOTSUPP) => {}
                done => {
                    return done
                        .with_context(|| format!("write \"1\" to {}/cgroup.kill", path.display()));
                }
            }
        }
        self.freeze(true)?;
        let killed = self.kill_until_none_is_new(signal);
        let thawed = self.freeze(false).and_then(|()| self.let_die());
        killed.and(thawed)
    }

    /// A process with SIGKILL pending finishes no fork(2) any more: the kernel
    /// looks for one after the last moment that another can be missed, and
    /// before the child is in any list (`copy_process`). So once a list holds
    /// none but those signalled, there will be no other. Freezing only makes
    /// that come soon, whatever the processes do meanwhile.
    fn kill_until_none_is_new(&self, signal: i32) -> Result<()> {
        let mut signalled = BTreeSet::new();
        while self.signal_new(signal, &mut signalled)? {}
        Ok(())
    }

    /// Signals the processes that are not in `signalled` yet, and adds them;
    /// whether there were any. By pidfd, and only when the process is listed
    /// still after that was opened: else the number may be another's by now.
    fn signal_new(&self, signal: i32, signalled: &mut BTreeSet<i32>) -> Result<bool> {
        let listed = self.listed()?;
        ensure!(
            !listed.contains(&0),
            "the cgroup holds processes of another pid namespace, which cannot be signalled from here"
        );
        let new: Vec<i32> = listed.difference(signalled).copied().collect();
        // In parts, for a process may have only so many open descriptors.
        for part in new.chunks(128) {
            let mut open = Vec::new();
            for pid in part {
                match sys::pidfd_open(Pid::from_raw(*pid)) {
                    // Gone; or by now the number of a mere thread.
                    Err(Errno::ESRCH | Errno::EINVAL | Errno::ENOENT) => {}
                    pidfd => open.push((*pid, pidfd.with_context(|| format!("process {pid}"))?)),
                }
            }
            let still = self.listed()?;
            for (pid, pidfd) in open.iter().filter(|(pid, _)| still.contains(pid)) {
                match sys::pidfd_send_signal(pidfd.as_fd(), signal) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(errno) => {
                        return Err(errno)
                            .with_context(|| format!("signal {signal} to process {pid}"));
                    }
                }
            }
        }
        signalled.extend(&new);
        Ok(!new.is_empty())
    }
}
