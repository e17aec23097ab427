//! The groups of a container that exists, as state.json names them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::file_system::FileSystem;
use super::plan::FIELD;

/// The groups of a container. Their paths are relative to the mount point.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Where the resctrl file system is mounted.
    pub(super) mount: PathBuf,
    /// The control group. Empty for the default one.
    pub(super) group: PathBuf,
    /// `closID` names the control group, so other containers may be in it.
    pub(super) shared: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) monitoring: Option<PathBuf>,
    /// Groups that `rt` makes and may remove, deepest first. While the container is created, a shared control group can
    /// be one of them.
    pub(super) created: Vec<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) l3_cache_schema: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mem_bw_schema: Option<String>,
}

impl Record {
    /// The container is created: a control group that `closID` names stays from now on (config-linux.md, "IntelRdt").
    pub(crate) fn keep_shared(&mut self) {
        let (group, shared) = (&self.group, self.shared);
        self.created.retain(|created| !shared || created != group);
    }

    /// Moves a process that has one thread into the groups.
    ///
    /// # Errors
    /// When the groups are gone, or the kernel refuses.
    pub(crate) fn join(&self, pid: Pid) -> Result<()> {
        self.join_in(&FileSystem::require(&self.mount)?, pid)
    }

    pub(super) fn join_in(&self, file_system: &FileSystem, pid: Pid) -> Result<()> {
        // In this order: a monitoring group takes only tasks of the group above it.
        for group in [Some(&self.group), self.monitoring.as_ref()]
            .into_iter()
            .flatten()
        {
            let tasks = group.join("tasks");
            let moved = file_system.write(&tasks, &pid.to_string());
            let moved = moved.map_err(|errno| file_system.refusal(errno));
            moved.with_context(|| {
                format!("{FIELD}: write \"{pid}\" to {}", file_system.path(&tasks))
            })?;
        }
        Ok(())
    }

    /// Removes the groups that were made for the container, whose first process was `init`.
    ///
    /// # Errors
    /// When the kernel refuses. A missing group is no error.
    pub(crate) fn remove(&self, init: Pid) -> Result<()> {
        match FileSystem::open(&self.mount)? {
            Some(file_system) => self.remove_in(&file_system, init),
            // All groups end with the mount.
            None => Ok(()),
        }
    }

    pub(super) fn remove_in(&self, file_system: &FileSystem, init: Pid) -> Result<()> {
        for group in &self.created {
            // Another container may be in a shared group since it was made. Its tasks would lose their values.
            if self.shared && *group == self.group && is_used(file_system, group, init) {
                continue;
            }
            let removed = file_system.remove_group(group);
            removed.with_context(|| format!("{FIELD}: remove {}", file_system.path(group)))?;
        }
        Ok(())
    }
}

/// Whether a group has another task than `init`, which may not be reaped yet.
fn is_used(file_system: &FileSystem, group: &Path, init: Pid) -> bool {
    let init = init.to_string();
    match file_system.read(&group.join("tasks")) {
        Ok(tasks) => tasks.lines().any(|task| task != init),
        Err(errno) => errno != Errno::ENOENT,
    }
}
