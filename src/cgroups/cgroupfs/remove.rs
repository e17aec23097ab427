//! Removes the directories of a container's cgroups.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use super::events::wait_for_event;
use super::existing::ExistingCgroups;
use super::kill::BATCH;
use super::processes::{listing, pids_below};
use crate::cgroups::directory::is_gone;
use crate::cgroups::directory::walk::{WalkEvent, walk};
use crate::host::UNIFIED;
use crate::sys;
use crate::trusted_proc::Proc;

/// How long a killed process may take to leave its cgroup.
const TIMEOUT: Duration = Duration::from_secs(2);

impl ExistingCgroups {
    /// Removes the directories that were made for the container, and the cgroups that the
    /// container made below its own. Parents that other containers use by now stay. Directories
    /// that are already gone are no error.
    ///
    /// # Errors
    /// When a process is still in a cgroup after two seconds. The other directories are removed
    /// all the same.
    pub(crate) fn remove(&self) -> Result<()> {
        let own: BTreeSet<&PathBuf> = self.paths().values().collect();
        let deadline = Instant::now() + TIMEOUT;
        let mut result = Ok(());
        for path in self.created() {
            let removed = match rmdir(path) {
                Err(Errno::EBUSY | Errno::ENOTEMPTY) if own.contains(path) => {
                    self.remove_when_empty(path, deadline)
                }
                Err(Errno::EBUSY | Errno::ENOTEMPTY) => Ok(()),
                removed => removed.with_context(|| format!("remove cgroup {}", path.display())),
            };
            result = result.and(removed);
        }
        result
    }

    /// Removes the cgroup at `path` and the cgroups below it, as soon as its processes, which
    /// were killed, have left.
    fn remove_when_empty(&self, path: &Path, deadline: Instant) -> Result<()> {
        loop {
            let cleared = walk(path, |event| match event {
                WalkEvent::Enter(_) => Ok(()),
                WalkEvent::Leave { parent, name } => match parent.remove(name) {
                    Err(Errno::EBUSY | Errno::ENOENT) => Ok(()),
                    removed => removed,
                },
            });
            match cleared.and_then(|()| rmdir(path)) {
                Err(Errno::EBUSY) if self.wait_until_empty(path, deadline)? => {}
                Err(Errno::EBUSY) => break,
                removed => {
                    return removed.with_context(|| format!("remove cgroup {}", path.display()));
                }
            }
        }
        let subject = format!("remove cgroup {}", path.display());
        let context = match pids_below(path) {
            Ok(pids) if !pids.is_empty() => format!("{subject}: {}", in_it(&pids)),
            Ok(_) | Err(_) => subject,
        };
        Err(Error::new(Errno::EBUSY).context(context))
    }

    /// Waits for processes to leave the cgroup at `path`, which could not be removed. Returns
    /// whether another attempt is worthwhile: not after `deadline`, and not for processes that
    /// nobody can have killed.
    fn wait_until_empty(&self, path: &Path, deadline: Instant) -> Result<bool> {
        // The kernel notifies in v2 only. Beside hierarchies of v1, the container has a cgroup
        // there too, which its processes leave at the same time as the others.
        if let Some(unified) = self.paths().get(UNIFIED) {
            let emptied = wait_for_event(unified, "populated 0", deadline);
            if !emptied.with_context(|| listing(unified))? {
                return Ok(false);
            }
        }
        if self.unified().is_none() {
            wait_for_ends(path, deadline).with_context(|| listing(path))
        } else {
            Ok(Instant::now() < deadline)
        }
    }
}

/// Removes a directory. One that is already gone is no error.
fn rmdir(path: &Path) -> nix::Result<()> {
    let removed = fs::remove_dir(path);
    match removed.map_err(|error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0))) {
        Err(errno) if is_gone(errno) => Ok(()),
        removed => removed,
    }
}

/// Waits for the end of processes in the v1 cgroup at `path` and below it. Returns whether it
/// may be empty now.
fn wait_for_ends(path: &Path, deadline: Instant) -> nix::Result<bool> {
    let listed = pids_below(path)?;
    if listed.contains(&0) {
        return Ok(false);
    }
    let mut open = Vec::new();
    for pid in listed.iter().take(BATCH) {
        match sys::pidfd_open(Pid::from_raw(*pid)) {
            // The process is gone, or its pid is now a thread's id.
            Err(Errno::ESRCH | Errno::EINVAL | Errno::ENOENT) => {}
            pidfd => open.push((*pid, pidfd?)),
        }
    }
    // A pid that is not listed any more may have been reused for a process elsewhere.
    let still_listed = pids_below(path)?;
    open.retain(|(pid, _)| still_listed.contains(pid));
    if open.is_empty() {
        // The last processes are ending in this moment: the kernel still counts them, and does
        // not list them any more.
        thread::yield_now();
    }
    for (_, pidfd) in &open {
        let mut ended = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        let remaining = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(remaining).unwrap_or(PollTimeout::MAX);
        match poll(&mut ended, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(Instant::now() < deadline)
}

/// Says who is in a cgroup: the first process with its command, and the number of the others.
fn in_it(pids: &BTreeSet<i32>) -> String {
    let Some(pid) = pids.iter().find(|pid| **pid > 0) else {
        return "a process of another pid namespace is in it".to_owned();
    };
    let command = Proc::open().and_then(|proc| proc.read(&format!("{pid}/comm")));
    let command = command.map_or(String::new(), |comm| {
        // A container gives its processes any name.
        format!(" ({})", comm.trim_end().escape_debug())
    });
    match pids.len() - 1 {
        0 => format!("process {pid}{command} is in it"),
        others => format!("process {pid}{command} and {others} more are in it"),
    }
}
