//! The cgroups of a container that exists, as state.json records them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::unistd::Pid;

use super::processes::{listing, pids_below};
use crate::cgroups::directory::{Directory, is_gone};
use crate::cgroups::plan::setting::Setting;
use crate::cgroups::systemd::record::UnitRecord;
use crate::host::UNIFIED;
use crate::log;

/// The cgroups of a container that exists.
pub(crate) struct ExistingCgroups {
    /// Controller to directory; `""` is v2.
    paths: BTreeMap<String, PathBuf>,
    /// The directories that were made for the container and may be removed, deepest first.
    created: Vec<PathBuf>,
    /// The unit that systemd has made for it, with the systemd driver.
    pub(super) unit: Option<UnitRecord>,
}

impl ExistingCgroups {
    pub(crate) fn new(paths: BTreeMap<String, PathBuf>, created: Vec<PathBuf>) -> ExistingCgroups {
        ExistingCgroups {
            paths,
            created,
            unit: None,
        }
    }

    /// The same cgroups, as those of a unit.
    pub(crate) fn of_unit(self, unit: Option<UnitRecord>) -> ExistingCgroups {
        ExistingCgroups { unit, ..self }
    }

    /// Sets the properties of the unit, if there is one, and calls `write` again: systemd has
    /// rounded what it wrote. In v1 the container is frozen meanwhile, because systemd may write
    /// the device rules anew, and nothing is allowed until it is done.
    ///
    /// # Errors
    /// When the container cannot be frozen, or systemd refuses a property.
    pub(super) fn update_unit(
        &self,
        settings: &[Setting],
        write: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        let Some(unit) = &self.unit else {
            return Ok(());
        };
        let has_freezer = self.paths.contains_key("freezer");
        if has_freezer && !self.is_paused() {
            self.pause()?;
            let set = unit.set(settings);
            self.resume().and(set)?;
        } else {
            unit.set(settings)?;
        }
        write()
    }

    /// Stops the unit, if there is one. Its processes have ended. A failure is a warning: systemd
    /// releases a unit whose cgroup is removed.
    pub(crate) fn stop_unit(&self) {
        let stopped = self.unit.as_ref().map_or(Ok(()), UnitRecord::stop);
        if let Err(error) = stopped {
            log::warn(&format!("left behind: {}", log::format_error(&error)));
        }
    }

    pub(super) fn paths(&self) -> &BTreeMap<String, PathBuf> {
        &self.paths
    }

    /// Forgets the directories of all controllers but those for which `keep` is true.
    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.paths.retain(|controller, _| keep(controller));
    }

    pub(super) fn created(&self) -> &[PathBuf] {
        &self.created
    }

    /// The v2 directory, unless the container has cgroups in v1 hierarchies as well.
    pub(super) fn unified(&self) -> Option<&Path> {
        match self.paths.len() {
            1 => self.paths.get(UNIFIED).map(PathBuf::as_path),
            _ => None,
        }
    }

    /// The processes in the container's cgroups and below them, ascending, by their pids in
    /// this process's pid namespace. Empty when the cgroups are gone.
    ///
    /// # Errors
    /// When the kernel does not list them.
    pub(crate) fn processes(&self) -> Result<Vec<Pid>> {
        let listed = self.all_pids()?.into_iter();
        Ok(listed.filter(|pid| *pid > 0).map(Pid::from_raw).collect())
    }

    /// Whether a process is in one of the cgroups themselves, and not only below them.
    ///
    /// # Errors
    /// When the kernel does not list the processes.
    pub(crate) fn has_own(&self) -> Result<bool> {
        for path in self.paths.values() {
            let listed = Directory::open(path).and_then(|cgroup| cgroup.read_all("cgroup.procs"));
            match listed {
                Err(errno) if is_gone(errno) => {}
                listed => {
                    if !listed.with_context(|| listing(path))?.is_empty() {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    /// The pids in all hierarchies, with a 0 if there are processes of another pid namespace.
    /// One hierarchy is not enough: a runtime that was killed half way has moved its child into
    /// some of them only.
    pub(super) fn all_pids(&self) -> Result<BTreeSet<i32>> {
        let mut pids = BTreeSet::new();
        for path in self.paths.values().collect::<BTreeSet<_>>() {
            pids.extend(pids_below(path).with_context(|| listing(path))?);
        }
        Ok(pids)
    }

    /// Whether the cgroups did not exist before this container.
    pub(crate) fn are_own(&self) -> bool {
        self.paths.values().any(|path| self.created.contains(path))
    }

    /// Whether one of the directories exists.
    pub(crate) fn exists(&self) -> bool {
        self.paths.values().any(|path| path.is_dir())
    }
}
