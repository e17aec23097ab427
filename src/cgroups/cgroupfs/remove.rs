//! Removes the directories of a container's cgroups.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};
use nix::errno::Errno;

use super::events::wait_for_event;
use super::existing::ExistingCgroups;
use super::processes::{listing, pids_below};
use crate::cgroups::directory::is_gone;
use crate::cgroups::directory::walk::{WalkEvent, walk};

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
        // One attempt is enough unless another process keeps making cgroups there.
        for _ in 0..100 {
            let cleared = walk(path, |event| match event {
                WalkEvent::Enter(_) => Ok(()),
                WalkEvent::Leave { parent, name } => match parent.remove(name) {
                    Err(Errno::EBUSY | Errno::ENOENT) => Ok(()),
                    removed => removed,
                },
            });
            match cleared.and_then(|()| rmdir(path)) {
                Err(Errno::EBUSY) => {}
                removed => {
                    return removed.with_context(|| format!("remove cgroup {}", path.display()));
                }
            }
            let emptied = if self.unified().is_some() {
                wait_for_event(path, "populated 0", deadline)
            } else {
                wait_until_empty_v1(path, deadline)
            };
            if !emptied.with_context(|| listing(path))? {
                break;
            }
        }
        let remaining = pids_below(path).ok().and_then(|pids| pids.first().copied());
        let context = match remaining {
            Some(pid) => format!("remove cgroup {}: process {pid} is in it", path.display()),
            None => format!("remove cgroup {}", path.display()),
        };
        Err(Error::new(Errno::EBUSY).context(context))
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

/// Waits until the v1 cgroup at `path` is empty, or until `deadline`. Returns whether it is.
///
/// This polls at growing intervals. The only notification in v1 is `release_agent`, a program
/// that the kernel runs and that is set once for the whole hierarchy.
fn wait_until_empty_v1(path: &Path, deadline: Instant) -> nix::Result<bool> {
    let mut interval = Duration::from_millis(1);
    while !pids_below(path)?.is_empty() {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        thread::sleep(interval);
        interval = (interval * 2).min(Duration::from_millis(64));
    }
    Ok(true)
}
