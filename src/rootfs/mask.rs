//! `linux.maskedPaths` and `linux.readonlyPaths`: parts of /proc and /sys that a
//! container must not read, or not write.
//!
//! What covers them is a null device and an empty tmpfs: no file of an image has a
//! part in it (CVE-2025-31133). It is the one that was made in the container's
//! /dev, as a descriptor, or else the machine's, opened before the root is and
//! checked; mounted read-only, for its inode is everybody's.
//!
//! Paths below /proc and /sys are resolved below the mounts that were made there
//! (`Root::keep`). So a path that is missing is one that the file system lacks,
//! and not one that somebody has hidden by renaming /proc.

use std::collections::HashSet;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::ensure;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{fstat, makedev};

use super::attributes::{NODE, Setter};
use super::context::Stage;
use super::detached::new_file_system;
use super::options::{Attributes, Recursion};
use super::root::{Links, clean, is_directory};
use crate::step::{Cause, Refusal, Step};
use crate::sys::{self, CloseBatch, OpenTree};

const READONLY: Attributes = Attributes {
    set: libc::MOUNT_ATTR_RDONLY,
    clear: 0,
};

/// The paths to cover, inside the root.
#[derive(Debug)]
pub(super) struct Masks {
    masked: Vec<Place>,
    readonly: Vec<Place>,
}

struct Place {
    /// Its place in the configuration's list.
    index: usize,
    path: PathBuf,
}

impl fmt::Debug for Place {
    /// As the configuration has it, for a plan is read by people.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.path.fmt(f)
    }
}

impl Masks {
    pub(super) fn plan(
        masked: Option<&Vec<String>>,
        readonly: Option<&Vec<String>>,
    ) -> anyhow::Result<Masks> {
        Ok(Masks {
            masked: places("maskedPaths", masked)?,
            readonly: places("readonlyPaths", readonly)?,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.masked.is_empty() && self.readonly.is_empty()
    }

    /// Whether anything is to be covered.
    pub(super) fn cover_any(&self) -> bool {
        !self.masked.is_empty()
    }

    /// The machine's null device, detached, to cover files with.
    pub(super) fn open(setter: Setter) -> Result<OwnedFd, Cause> {
        let null = sys::open_tree(nix::fcntl::AT_FDCWD, c"/dev/null", OpenTree::Mount)?;
        let node = fstat(&null)?;
        if node.st_mode & libc::S_IFMT != libc::S_IFCHR || node.st_rdev != makedev(1, 3) {
            return Err(Refusal::OtherFile.into());
        }
        if setter == Setter::Detached {
            setter.shield(null.as_fd(), None)?;
        }
        Ok(null)
    }

    /// Init: binds each path on itself, read-only. A missing one is fine.
    pub(super) fn make_readonly(&self, stage: &Stage) -> Result<(), Cause> {
        for Place { index, path } in &self.readonly {
            stage.at.at(Step::ReadonlyPath, *index);
            let Some(target) = existing(stage, path)? else {
                continue;
            };
            let tree = sys::open_tree(target.as_fd(), c"", OpenTree::Recursive)?;
            match stage.setter {
                Setter::Detached => {
                    stage
                        .setter
                        .set(tree.as_fd(), READONLY, Recursion::One, None)?;
                    sys::move_mount(tree.as_fd(), target.as_fd())?;
                }
                Setter::Attached => {
                    sys::move_mount(tree.as_fd(), target.as_fd())?;
                    stage
                        .setter
                        .set(tree.as_fd(), READONLY, Recursion::One, Some(stage.proc))?;
                }
            }
            let tree = stage.root.keep(path, tree);
            tree.into_iter()
                .for_each(|tree| stage.close_batch.add(tree));
            stage.close_batch.add(target);
        }
        Ok(())
    }

    /// Init: covers each path. A missing one is fine.
    pub(super) fn cover(&self, stage: &Stage, null: Option<OwnedFd>) -> Result<(), Cause> {
        let mut file = Cover {
            mount: null,
            attached: false,
        };
        let mut directory = Cover {
            mount: None,
            attached: false,
        };
        for Place { index, path } in &self.masked {
            stage.at.at(Step::MaskedPath, *index);
            let Some(target) = existing(stage, path)? else {
                continue;
            };
            if is_directory(&target)? {
                directory.put_on(stage, target.as_fd(), || empty_directory(stage.close_batch))?;
            } else {
                file.put_on(stage, target.as_fd(), || Err(Errno::EBADF.into()))?;
            }
            stage.root.forget(path); // A mount that is masked as a whole.
            stage.close_batch.add(target);
        }
        Ok(())
    }

    pub(super) fn describe(&self, step: Step, item: usize) -> Option<(String, String)> {
        let path = |list: &[Place]| {
            let place = list.iter().find(|place| place.index == item)?;
            Some(place.path.display().to_string())
        };
        match step {
            Step::ReadonlyPath => Some((
                format!("linux.readonlyPaths[{item}]"),
                format!("make {} read-only", path(&self.readonly)?),
            )),
            Step::MaskedPath => Some((
                format!("linux.maskedPaths[{item}]"),
                format!("mask {}", path(&self.masked)?),
            )),
            _ => None,
        }
    }
}

/// The paths of a list, each once.
fn places(field: &str, list: Option<&Vec<String>>) -> anyhow::Result<Vec<Place>> {
    let mut seen = HashSet::new();
    let mut places = Vec::new();
    for (index, path) in list.into_iter().flatten().enumerate() {
        ensure!(
            path.starts_with('/'),
            "linux.{field}[{index}]: {path} is not absolute"
        );
        ensure!(
            !path.contains('\0'),
            "linux.{field}[{index}]: holds a NUL byte"
        );
        let path = clean(Path::new(path));
        if seen.insert(path.clone()) {
            places.push(Place { index, path });
        }
    }
    Ok(places)
}

/// One mount that covers many places: attached at the first, copied from there
/// for the others, since a detached mount can be copied only from Linux 6.15 on.
struct Cover {
    mount: Option<OwnedFd>,
    attached: bool,
}

impl Cover {
    fn put_on(
        &mut self,
        stage: &Stage,
        target: BorrowedFd,
        make: impl FnOnce() -> Result<OwnedFd, Cause>,
    ) -> Result<(), Cause> {
        let mount = match self.mount.take() {
            Some(mount) => mount,
            None => make()?,
        };
        if self.attached {
            let copy = sys::open_tree(mount.as_fd(), c"", OpenTree::Mount)?;
            sys::move_mount(copy.as_fd(), target)?;
            stage.close_batch.add(copy);
        } else {
            sys::move_mount(mount.as_fd(), target)?;
            if stage.setter == Setter::Attached {
                stage.setter.shield(mount.as_fd(), Some(stage.proc))?;
            }
            self.attached = true;
        }
        self.mount = Some(mount);
        Ok(())
    }
}

fn empty_directory(close_batch: &CloseBatch) -> Result<OwnedFd, Cause> {
    new_file_system(close_batch, c"tmpfs", c"tmpfs", &[], &[], NODE.set)
}

fn existing(stage: &Stage, path: &Path) -> nix::Result<Option<OwnedFd>> {
    match stage.root.open(path, OFlag::O_PATH, Links::Follow) {
        Ok(target) => Ok(Some(target)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}
