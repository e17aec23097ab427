//! A container's cgroups after they were made.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::unistd::Pid;

use super::processes::{list_of, pids_below};
use crate::cgroups::directory::{Directory, is_gone};
use crate::host::UNIFIED;

/// A container's cgroups as state.json remembers them.
pub(crate) struct Existing {
    /// Controller to directory; `""` is version 2.
    paths: BTreeMap<String, PathBuf>,
    /// What may be removed, deepest first.
    created: Vec<PathBuf>,
}

impl Existing {
    pub(crate) fn new(paths: BTreeMap<String, PathBuf>, created: Vec<PathBuf>) -> Existing {
        Existing { paths, created }
    }

    pub(super) fn paths(&self) -> &BTreeMap<String, PathBuf> {
        &self.paths
    }

    /// Forgets the directories of the controllers that `keep` does not want.
    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.paths.retain(|controller, _| keep(controller));
    }

    pub(super) fn created(&self) -> &[PathBuf] {
        &self.created
    }

    /// The directory of version 2, unless it stands beside those of version 1.
    pub(super) fn unified(&self) -> Option<&Path> {
        match self.paths.len() {
            1 => self.paths.get(UNIFIED).map(PathBuf::as_path),
            _ => None,
        }
    }

    /// The processes in it and below it, as this process numbers them,
    /// ascending. Empty when it is gone.
    ///
    /// # Errors
    /// When the kernel does not list them.
    pub(crate) fn processes(&self) -> Result<Vec<Pid>> {
        let listed = self.listed()?.into_iter();
        Ok(listed.filter(|pid| *pid > 0).map(Pid::from_raw).collect())
    }

    /// Whether processes are in it, and not only below it.
    ///
    /// # Errors
    /// When the kernel does not list them.
    pub(crate) fn has_own(&self) -> Result<bool> {
        for path in self.paths.values() {
            let listed = Directory::open(path).and_then(|cgroup| cgroup.text("cgroup.procs"));
            match listed {
                Err(errno) if is_gone(errno) => {}
                listed => {
                    if !listed.with_context(|| list_of(path))?.is_empty() {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    /// All pids, and 0 for a process of another pid namespace. Of every tree:
    /// a runtime that was killed half way has moved its child into some only.
    pub(super) fn listed(&self) -> Result<BTreeSet<i32>> {
        let mut pids = BTreeSet::new();
        for path in self.paths.values().collect::<BTreeSet<_>>() {
            pids.extend(pids_below(path).with_context(|| list_of(path))?);
        }
        Ok(pids)
    }

    /// Whether one of its directories is there.
    pub(crate) fn is_there(&self) -> bool {
        self.paths.values().any(|path| path.is_dir())
    }
}
