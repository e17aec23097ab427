//! `linux.maskedPaths` and `linux.readonlyPaths`: files, mostly in /proc and /sys, that a
//! container must not read, or not write.
//!
//! Files are covered by a null device, directories by an empty tmpfs. Neither comes from
//! the image (CVE-2025-31133). The null device is the one that `rt` has created in the
//! container's /dev, held by descriptor. Where there is none it is the host's, checked and
//! opened before the root. It is mounted read-only because its inode is shared with the
//! host.
//!
//! Paths below /proc and /sys are resolved below the mounts made there (`Root::pin`). So a
//! path that is not found does not exist in that file system; it cannot be hidden by
//! renaming /proc.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::ensure;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{fstat, makedev};

use super::attributes::{NODE_ATTRIBUTES, READONLY, Setter};
use super::context::MountContext;
use super::detached::new_file_system;
use super::options::Recursion;
use super::parameter;
use super::root::{Links, PINNED, clean, is_directory};
use crate::step::{Cause, Refusal, Step};
use crate::sys::{self, OpenTree};

/// The masked and read-only paths, inside the root.
#[derive(Debug)]
pub(super) struct Masks {
    pub(super) masked: Vec<ListedPath>,
    pub(super) readonly: Vec<ListedPath>,
}

#[derive(Debug)]
pub(super) struct ListedPath {
    /// The index in the list of config.json.
    index: usize,
    pub(super) path: PathBuf,
}

impl Masks {
    pub(super) fn plan(
        masked: Option<&Vec<String>>,
        readonly: Option<&Vec<String>>,
    ) -> anyhow::Result<Masks> {
        let masked = listed_paths("maskedPaths", masked)?;
        for ListedPath { index, path } in &masked {
            ensure!(
                path != Path::new("/"),
                "linux.maskedPaths[{index}]: the root itself cannot be masked"
            );
        }
        Ok(Masks {
            masked,
            readonly: listed_paths("readonlyPaths", readonly)?,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.masked.is_empty() && self.readonly.is_empty()
    }

    /// Whether `linux.maskedPaths` lists anything.
    pub(super) fn has_masked_paths(&self) -> bool {
        !self.masked.is_empty()
    }

    /// Opens the host's null device as a detached mount.
    pub(super) fn open_host_null(setter: Setter) -> Result<OwnedFd, Cause> {
        let null = sys::open_tree(nix::fcntl::AT_FDCWD, c"/dev/null", OpenTree::Mount)?;
        let node = fstat(&null)?;
        if node.st_mode & libc::S_IFMT != libc::S_IFCHR || node.st_rdev != makedev(1, 3) {
            return Err(Refusal::PathOccupied.into());
        }
        if setter == Setter::Detached {
            setter.restrict_node(null.as_fd(), None)?;
        }
        Ok(null)
    }

    /// Init: makes each path a read-only bind mount of itself. Missing paths are skipped.
    pub(super) fn make_paths_readonly(&self, context: &MountContext) -> Result<(), Cause> {
        for ListedPath { index, path } in &self.readonly {
            context.progress.at(Step::ReadonlyPath, *index);
            let Some(target) = open_if_exists(context, path)? else {
                continue;
            };
            if !is_below_pinned(path) && is_root(context, &target)? {
                // A mount on top of the root would not be the root of the process.
                let (setter, proc) = (context.setter, Some(context.proc));
                setter.set(context.root.as_fd(), READONLY, Recursion::MountOnly, proc)?;
                continue;
            }
            let tree = sys::open_tree(target.as_fd(), c"", OpenTree::Recursive)?;
            match context.setter {
                Setter::Detached => {
                    context
                        .setter
                        .set(tree.as_fd(), READONLY, Recursion::MountOnly, None)?;
                    sys::move_mount(tree.as_fd(), target.as_fd())?;
                }
                Setter::Attached => {
                    sys::move_mount(tree.as_fd(), target.as_fd())?;
                    context.setter.set(
                        tree.as_fd(),
                        READONLY,
                        Recursion::MountOnly,
                        Some(context.proc),
                    )?;
                }
            }
            let tree = context.root.pin(path, tree);
            tree.into_iter()
                .for_each(|tree| context.close_batch.add(tree));
            context.close_batch.add(target);
        }
        Ok(())
    }

    /// Init: covers each masked path. Missing paths are skipped.
    pub(super) fn mask_paths(
        &self,
        context: &MountContext,
        null: Option<OwnedFd>,
    ) -> Result<(), Cause> {
        let mut file = MaskMount {
            mount: null,
            attached: false,
        };
        let mut directory = MaskMount {
            mount: None,
            attached: false,
        };
        for ListedPath { index, path } in &self.masked {
            context.progress.at(Step::MaskedPath, *index);
            let Some(target) = open_if_exists(context, path)? else {
                continue;
            };
            if is_directory(&target)? {
                directory.attach_to(context, target.as_fd(), || empty_directory(context))?;
            } else {
                file.attach_to(context, target.as_fd(), || Err(Errno::EBADF.into()))?;
            }
            // The mask covers a mount that was pinned there.
            context.root.unpin(path);
            context.close_batch.add(target);
        }
        let masks = [file, directory].into_iter();
        let masks = masks.filter_map(|mask| mask.mount);
        masks.for_each(|mask| context.close_batch.add(mask));
        Ok(())
    }

    pub(super) fn describe(&self, step: Step, item: usize) -> Option<(String, String)> {
        let path = |list: &[ListedPath]| {
            let listed = list.iter().find(|listed| listed.index == item)?;
            Some(listed.path.display().to_string())
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

/// The paths of a list, without duplicates.
fn listed_paths(field: &str, list: Option<&Vec<String>>) -> anyhow::Result<Vec<ListedPath>> {
    let mut seen = HashSet::new();
    let mut paths = Vec::new();
    for (index, path) in list.into_iter().flatten().enumerate() {
        ensure!(
            path.starts_with('/'),
            "linux.{field}[{index}]: {path:?} is relative; want an absolute path: {}",
            clean(Path::new(path)).display()
        );
        ensure!(
            !path.contains('\0'),
            "linux.{field}[{index}]: holds a NUL byte"
        );
        let path = clean(Path::new(path));
        if seen.insert(path.clone()) {
            paths.push(ListedPath { index, path });
        }
    }
    Ok(paths)
}

/// One mount that covers many paths. It is attached to the first path and cloned from there
/// for the others: before Linux 6.15 a detached mount cannot be cloned.
struct MaskMount {
    mount: Option<OwnedFd>,
    attached: bool,
}

impl MaskMount {
    fn attach_to(
        &mut self,
        context: &MountContext,
        target: BorrowedFd,
        create: impl FnOnce() -> Result<OwnedFd, Cause>,
    ) -> Result<(), Cause> {
        let mount = match self.mount.take() {
            Some(mount) => mount,
            None => create()?,
        };
        if self.attached {
            let copy = sys::open_tree(mount.as_fd(), c"", OpenTree::Mount)?;
            sys::move_mount(copy.as_fd(), target)?;
            context.close_batch.add(copy);
        } else {
            sys::move_mount(mount.as_fd(), target)?;
            if context.setter == Setter::Attached {
                context
                    .setter
                    .restrict_node(mount.as_fd(), Some(context.proc))?;
            }
            self.attached = true;
        }
        self.mount = Some(mount);
        Ok(())
    }
}

fn empty_directory(context: &MountContext) -> Result<OwnedFd, Cause> {
    new_file_system(
        context.close_batch,
        c"tmpfs",
        c"tmpfs",
        &[],
        parameter::context(context.label).as_slice(),
        NODE_ATTRIBUTES.set,
    )
}

/// Whether the path lies in a file system of the kernel, as nearly all of these paths do.
fn is_below_pinned(path: &Path) -> bool {
    PINNED.iter().any(|pinned| path.starts_with(pinned))
}

/// Whether the path leads to the root itself.
fn is_root(context: &MountContext, target: &OwnedFd) -> nix::Result<bool> {
    let (found, root) = (fstat(target)?, fstat(context.root.as_fd())?);
    let same_file = (found.st_dev, found.st_ino) == (root.st_dev, root.st_ino);
    Ok(same_file
        && sys::mount_id(target.as_fd(), c"")? == sys::mount_id(context.root.as_fd(), c"")?)
}

fn open_if_exists(context: &MountContext, path: &Path) -> nix::Result<Option<OwnedFd>> {
    match context.root.open(path, OFlag::O_PATH, Links::Follow) {
        Ok(target) => Ok(Some(target)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}
