//! Created.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::fcntl::OFlag;
use nix::unistd::Pid;

use super::existing::Existing;
use super::refusal::{Duty, refuse_if_nowhere};
use crate::cgroups::directory::{Directory, put};
use crate::cgroups::planned::{Entry, Need};
use crate::sys::CloseBatch;

/// The directories made and open, until the container's first process is in them.
pub(crate) struct Wired {
    pub(super) need: Need,
    pub(super) named: bool,
    pub(super) open: Open,
    pub(super) existing: Existing,
}

pub(super) enum Open {
    V1(Vec<Leaf>),
    V2(Leaf),
    /// The caller's own do.
    None,
}

/// A cgroup that was made.
pub(super) struct Leaf {
    pub(super) controllers: Vec<String>,
    pub(super) directory: Directory,
    pub(super) duty: Duty,
    pub(super) entry: Entry,
}

impl Drop for Wired {
    /// Many descriptors with neighbouring numbers: closed by few calls.
    fn drop(&mut self) {
        let close_batch = CloseBatch::default();
        if let Open::V1(all) = &mut self.open {
            all.drain(..)
                .for_each(|leaf| close_batch.add(leaf.directory.into_fd()));
        }
    }
}

impl Wired {
    /// Version 2: the directory to be born in (clone3(2), `CLONE_INTO_CGROUP`).
    /// `None` when the process must be admitted instead.
    pub(crate) fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        let leaf = match &self.open {
            Open::V2(leaf) => Some(leaf),
            Open::V1(all) => all.iter().find(|leaf| leaf.entry == Entry::Birth),
            Open::None => None,
        };
        let born = leaf.filter(|leaf| leaf.entry == Entry::Birth);
        born.map(|leaf| leaf.directory.as_fd())
    }

    /// Moves the process `pid` into every directory that it was not born in.
    ///
    /// # Errors
    /// Those of writing to cgroup.procs.
    pub(crate) fn admit(&mut self, pid: Pid) -> Result<()> {
        let need = self.need;
        let (pid, close_batch) = (pid.to_string(), CloseBatch::default());
        let mut refused = None;
        let mut admitted = |leaf: &Leaf| {
            if leaf.entry == Entry::Birth {
                return Ok(true);
            }
            let moved = leaf.directory.admit(&pid, &close_batch);
            moved.map(|()| true).or_else(|error| {
                refused = Some(need.judge(error, leaf.duty)?);
                anyhow::Ok(false)
            })
        };
        let nowhere = match &mut self.open {
            Open::None => return Ok(()),
            Open::V2(leaf) => {
                let nowhere = !admitted(leaf)?;
                if nowhere {
                    self.open = Open::None;
                }
                nowhere
            }
            Open::V1(all) => {
                let mut kept = Vec::with_capacity(all.len());
                for leaf in all.drain(..) {
                    if admitted(&leaf)? {
                        kept.push(leaf);
                    }
                }
                *all = kept;
                all.is_empty()
            }
        };
        if refused.is_some() {
            self.forget_paths();
        }
        refuse_if_nowhere(self.named && nowhere, refused)
    }

    /// The container's cgroups are those alone that it is in.
    pub(super) fn forget_paths(&mut self) {
        let own: Vec<&Leaf> = match &self.open {
            Open::V1(all) => all.iter().collect(),
            Open::V2(leaf) => vec![leaf],
            Open::None => Vec::new(),
        };
        self.existing.retain(|name| {
            own.iter()
                .any(|leaf| leaf.controllers.iter().any(|own| own == name))
        });
    }

    /// Controller to directory, of the cgroups that there are.
    pub(crate) fn paths(&self) -> &BTreeMap<String, PathBuf> {
        self.existing.paths()
    }

    /// Directories that `wire` made, deepest first: all that delete may remove.
    pub(crate) fn created(&self) -> &[PathBuf] {
        self.existing.created()
    }

    /// Removes what `wire` made; kills nothing.
    ///
    /// # Errors
    /// Those of [`Existing::remove`].
    pub(crate) fn undo(&self) -> Result<()> {
        self.existing.remove()
    }

    /// How many processes the kernel killed in here for want of memory; `None`
    /// when it does not say.
    pub(crate) fn oom_kills(&self) -> Option<u64> {
        let text = match &self.open {
            Open::V1(all) => {
                let memory = |leaf: &&Leaf| leaf.controllers.iter().any(|name| name == "memory");
                let leaf = all.iter().find(memory)?;
                leaf.directory.line("memory.oom_control")
            }
            Open::V2(leaf) => leaf.directory.line("memory.events"),
            Open::None => return None,
        };
        text.ok()?
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
    }
}

impl Directory {
    fn admit(&self, pid: &str, close_batch: &CloseBatch) -> Result<()> {
        let moved = self.file("cgroup.procs", OFlag::O_WRONLY).and_then(|file| {
            put(&file, pid)?;
            close_batch.add(file);
            Ok(())
        });
        moved.with_context(|| {
            let path = self.path().display();
            format!("linux.cgroupsPath: write \"{pid}\" to {path}/cgroup.procs")
        })
    }
}
