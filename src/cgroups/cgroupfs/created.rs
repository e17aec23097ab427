//! A container's cgroups while it is created: made, open, and ready for its first process.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::fcntl::OFlag;
use nix::unistd::Pid;

use super::existing::ExistingCgroups;
use super::hint::process_hint;
use super::refusal::{Dependents, fail_without_cgroups, is_refusal};
use crate::cgroups::directory::{Directory, write_whole};
use crate::cgroups::planned::{Entry, Requirement};
use crate::cgroups::systemd::record::UnitRecord;
use crate::cgroups::systemd::start::StartedScope;
use crate::log;
use crate::sys::CloseBatch;

/// The container's cgroups, held open until its first process is in them.
pub(crate) struct CreatedCgroups {
    pub(super) requirement: Requirement,
    pub(super) path_is_configured: bool,
    pub(super) open: OpenCgroups,
    pub(super) existing: ExistingCgroups,
    /// With the systemd driver, the scope. The directories that are open are its cgroup.
    pub(super) scope: Option<StartedScope>,
}

pub(super) enum OpenCgroups {
    V1(Vec<OpenCgroup>),
    V2(OpenCgroup),
    /// The container has no cgroup of its own and stays in the caller's.
    None,
}

/// The container's open cgroup in one hierarchy.
pub(super) struct OpenCgroup {
    pub(super) controllers: Vec<String>,
    pub(super) directory: Directory,
    pub(super) dependents: Dependents,
    pub(super) entry: Entry,
}

impl Drop for CreatedCgroups {
    /// Closes the v1 directories together: their descriptors have neighbouring numbers.
    fn drop(&mut self) {
        let close_batch = CloseBatch::default();
        if let OpenCgroups::V1(cgroups) = &mut self.open {
            cgroups
                .drain(..)
                .for_each(|cgroup| close_batch.add(cgroup.directory.into_fd()));
        }
    }
}

impl CreatedCgroups {
    /// The v2 directory to create the first process in (clone3(2), `CLONE_INTO_CGROUP`). `None`
    /// when the process has to be moved by [`CreatedCgroups::add_process`] instead.
    pub(crate) fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        let clones_into = |cgroup: &&OpenCgroup| cgroup.entry == Entry::CloneInto;
        let cgroup = match &self.open {
            OpenCgroups::V2(cgroup) => Some(cgroup).filter(clones_into),
            OpenCgroups::V1(cgroups) => cgroups.iter().find(clones_into),
            OpenCgroups::None => None,
        };
        cgroup.map(|cgroup| cgroup.directory.as_fd())
    }

    /// Moves the process `pid` into each cgroup that it was not created in.
    ///
    /// # Errors
    /// When the kernel refuses the write to cgroup.procs of a cgroup that the container cannot
    /// do without.
    pub(crate) fn add_process(&mut self, pid: Pid) -> Result<()> {
        self.add(pid)?;
        if let Some(scope) = &self.scope {
            scope.entered();
        }
        Ok(())
    }

    fn add(&mut self, process: Pid) -> Result<()> {
        let (requirement, scope) = (self.requirement, self.scope.as_ref());
        let (pid, close_batch) = (process.to_string(), CloseBatch::default());
        let mut refusal = None;
        let mut enters = |cgroup: &OpenCgroup| {
            if cgroup.entry == Entry::CloneInto {
                return Ok(true);
            }
            let moved = cgroup.directory.add_process(&pid, &close_batch);
            let moved = moved.or_else(|error| match scope {
                Some(scope) if is_refusal(&error) => scope.attach(process),
                _ => Err(error),
            });
            moved.map(|()| true).or_else(|error| {
                refusal = Some(requirement.tolerate(error, cgroup.dependents)?);
                anyhow::Ok(false)
            })
        };
        let has_cgroups = match &mut self.open {
            OpenCgroups::None => return Ok(()),
            OpenCgroups::V2(cgroup) => {
                let entered = enters(cgroup)?;
                if !entered {
                    self.open = OpenCgroups::None;
                }
                entered
            }
            OpenCgroups::V1(cgroups) => {
                let mut entered = Vec::with_capacity(cgroups.len());
                for cgroup in cgroups.drain(..) {
                    if enters(&cgroup)? {
                        entered.push(cgroup);
                    }
                }
                *cgroups = entered;
                !cgroups.is_empty()
            }
        };
        if refusal.is_some() {
            self.retain_open_paths();
        }
        fail_without_cgroups(self.path_is_configured, has_cgroups, refusal)
    }

    /// Forgets the paths of the cgroups that the container is not in.
    pub(super) fn retain_open_paths(&mut self) {
        let open: Vec<&OpenCgroup> = match &self.open {
            OpenCgroups::V1(cgroups) => cgroups.iter().collect(),
            OpenCgroups::V2(cgroup) => vec![cgroup],
            OpenCgroups::None => Vec::new(),
        };
        self.existing.retain(|controller| {
            let mut controllers = open.iter().flat_map(|cgroup| &cgroup.controllers);
            controllers.any(|name| name == controller)
        });
    }

    /// Controller to directory, for the cgroups that the container is in.
    pub(crate) fn paths(&self) -> &BTreeMap<String, PathBuf> {
        self.existing.paths()
    }

    /// The directories that were made for the container, deepest first. `delete` removes no
    /// others.
    pub(crate) fn created(&self) -> &[PathBuf] {
        self.existing.created()
    }

    /// The unit that has the cgroups, with the systemd driver.
    pub(crate) fn unit(&self) -> Option<&UnitRecord> {
        self.scope.as_ref().map(StartedScope::record)
    }

    /// Stops the unit, and removes the directories that were made. Kills no process.
    ///
    /// # Errors
    /// As [`ExistingCgroups::remove`].
    pub(crate) fn undo(&self) -> Result<()> {
        if let Some(scope) = &self.scope {
            scope.undo();
        }
        self.existing.remove()
    }

    /// How many processes of the container the OOM killer has killed; `None` when the kernel
    /// does not count them.
    pub(crate) fn oom_kills(&self) -> Option<u64> {
        let text = match &self.open {
            OpenCgroups::V1(cgroups) => {
                let has_memory =
                    |cgroup: &&OpenCgroup| cgroup.controllers.iter().any(|name| name == "memory");
                let cgroup = cgroups.iter().find(has_memory)?;
                cgroup.directory.read_page("memory.oom_control")
            }
            OpenCgroups::V2(cgroup) => cgroup.directory.read_page("memory.events"),
            OpenCgroups::None => return None,
        };
        text.ok()?
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
    }
}

impl Directory {
    /// Moves the process `pid` into this cgroup.
    fn add_process(&self, pid: &str, close_batch: &CloseBatch) -> Result<()> {
        let moved = self.file("cgroup.procs", OFlag::O_WRONLY).and_then(|file| {
            write_whole(&file, pid)?;
            close_batch.add(file);
            Ok(())
        });
        let moved = moved.map_err(|errno| log::hinted(errno, process_hint(errno, self)));
        moved.with_context(|| {
            let path = self.path().display();
            format!("linux.cgroupsPath: write \"{pid}\" to {path}/cgroup.procs")
        })
    }
}
