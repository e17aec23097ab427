//! Removal.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};
use nix::errno::Errno;

use super::events::wait_for_event;
use super::existing::Existing;
use super::processes::{list_of, pids_below};
use crate::cgroups::directory::is_gone;
use crate::cgroups::directory::walk::{Visit, walk};

/// How long a process that was killed may take to leave its cgroup.
const PATIENCE: Duration = Duration::from_secs(2);

impl Existing {
    /// Removes the directories that were made for it, cgroups that the
    /// container made below included. Parents that others use by now stay;
    /// what is gone already is fine.
    ///
    /// # Errors
    /// When a process is still in it after two seconds; the other directories
    /// are removed even so.
    pub(crate) fn remove(&self) -> Result<()> {
        let leaves: BTreeSet<&PathBuf> = self.paths().values().collect();
        let deadline = Instant::now() + PATIENCE;
        let mut first = Ok(());
        for path in self.created() {
            let removed = match rmdir(path) {
                Err(Errno::EBUSY | Errno::ENOTEMPTY) if leaves.contains(path) => {
                    self.remove_used(path, deadline)
                }
                Err(Errno::EBUSY | Errno::ENOTEMPTY) => Ok(()),
                done => done.with_context(|| format!("remove cgroup {}", path.display())),
            };
            first = first.and(removed);
        }
        first
    }

    /// Removes the cgroup at `path` with those below, once its processes,
    /// which are dying, have left.
    fn remove_used(&self, path: &Path, deadline: Instant) -> Result<()> {
        // More rounds than one only when somebody goes on making cgroups there.
        for _ in 0..100 {
            let cleared = walk(path, |visit| match visit {
                Visit::Enter(_) => Ok(()),
                Visit::Leave { parent, name } => match parent.remove(name) {
                    Err(Errno::EBUSY | Errno::ENOENT) => Ok(()),
                    done => done,
                },
            });
            match cleared.and_then(|()| rmdir(path)) {
                Err(Errno::EBUSY) => {}
                done => return done.with_context(|| format!("remove cgroup {}", path.display())),
            }
            let emptied = if self.unified().is_some() {
                wait_for_event(path, "populated 0", deadline)
            } else {
                wait_v1(path, deadline)
            };
            if !emptied.with_context(|| list_of(path))? {
                break;
            }
        }
        let inside = pids_below(path).ok().and_then(|pids| pids.first().copied());
        let why = match inside {
            Some(pid) => format!("remove cgroup {}: process {pid} is in it", path.display()),
            None => format!("remove cgroup {}", path.display()),
        };
        Err(Error::new(Errno::EBUSY).context(why))
    }
}

fn rmdir(path: &Path) -> nix::Result<()> {
    let removed = fs::remove_dir(path);
    match removed.map_err(|error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0))) {
        Err(errno) if is_gone(errno) => Ok(()),
        done => done,
    }
}

/// Waits until the cgroup at `path` is empty, or `deadline`. Version 1 tells nobody when a cgroup becomes empty but a
/// program that it runs (`release_agent`, one for the whole machine), so there
/// is nothing to wait on: ask again, at growing distances.
fn wait_v1(path: &Path, deadline: Instant) -> nix::Result<bool> {
    let mut pause = Duration::from_millis(1);
    while !pids_below(path)?.is_empty() {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(64));
    }
    Ok(true)
}
