//! What `rt check` can find out about the root and the sources of mounts: it opens what
//! [`Rootfs::open_sources`] opens, and drops it again.
//!
//! A file system that is made of files of the host is not made: an overlay would write to its
//! `workdir`.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::kind::Kind;
use super::root::{Links, MAX_LINKS, Root, components, link_target};
use super::{Entry, Rootfs};
use crate::step::{Cause, Failure, Progress, Step};

impl Rootfs {
    /// The failures of [`Rootfs::open_sources`], as far as they do not depend on each other. `ids` is
    /// `None` for a caller who may not clone mounts: then only whether each path can be opened is found out.
    pub(crate) fn unopenable(&self, ids: Option<&BTreeMap<usize, Rc<OwnedFd>>>) -> Vec<Failure> {
        let at = Progress::new();
        let failed = |result: Result<(), Cause>| result.err().map(|cause| at.failed(cause));
        let mut failures: Vec<Failure> = failed(self.check_root(ids.is_some(), &at))
            .into_iter()
            .collect();
        let mounts = self.mounts.iter().take(self.configured_mounts).enumerate();
        failures.extend(mounts.filter_map(|(item, mount)| {
            let Kind::Bind { source, .. } = &mount.kind else {
                return None;
            };
            failed(match ids {
                _ if self.path_in_root(item).is_some() => Ok(()),
                _ if self.makes_source(item, source) && is_missing(source) => Ok(()),
                Some(ids) => self.open_mount(item, ids, &at).map(drop),
                None => {
                    at.at(Step::OpenSource, item);
                    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
                    open(source, flags, Mode::empty())
                        .map(drop)
                        .map_err(Cause::from)
                }
            })
        }));
        if ids.is_some() {
            failures.extend(failed(self.devices.open(self.setter, &at).map(drop)));
        }
        failures
    }

    /// The error of [`Rootfs::wire`], as far as it can be found out by looking.
    pub(crate) fn unwirable(&self) -> Option<anyhow::Error> {
        self.layers.as_ref()?.check().err()
    }

    /// The failures of init when it opens the sources that lie in the container's root.
    pub(crate) fn missing_in_root(&self, root: &UnmountedRoot) -> Vec<Failure> {
        let at = Progress::new();
        let items = 0..self.configured_mounts;
        let missing = |item: usize| {
            let path = self.path_in_root(item)?;
            // Init makes missing mount points, and the directories above them.
            if self
                .mounts
                .iter()
                .any(|mount| mount.target.starts_with(&path))
            {
                return None;
            }
            at.at(Step::OpenSource, item);
            let errno = root.open(&path).err()?;
            Some(at.failed(errno.into()))
        };
        items.filter_map(missing).collect()
    }

    fn check_root(&self, may_clone: bool, at: &Progress) -> Result<(), Cause> {
        if may_clone && self.entry != Entry::Chroot && self.layers.is_none() {
            self.clone_root(at).map(drop)
        } else {
            self.open_root_path(at).map(drop)
        }
    }

    /// The root as it is before anything is mounted in it.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn unmounted(&self) -> Result<UnmountedRoot, Cause> {
        let root = Root::new(self.open_root_path(&Progress::new())?);
        let real_path = |path| walk(&root, path, &|_| false).0;
        let targets = self.mounts.iter().map(|mount| real_path(&mount.target));
        let covered = targets.collect();
        Ok(UnmountedRoot { root, covered })
    }
}

fn is_missing(path: &Path) -> bool {
    let found = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
    found.err() == Some(Errno::ENOENT)
}

/// A container's root before its mounts are made.
pub(crate) struct UnmountedRoot {
    root: Root,
    /// The mount points, without symbolic links.
    covered: Vec<PathBuf>,
}

impl UnmountedRoot {
    /// Opens the file that `path` will name in the container, with `O_PATH`. `None` when a mount lies on
    /// the way, which may show another file.
    ///
    /// # Errors
    /// When there is no such file.
    pub(crate) fn open(&self, path: &Path) -> nix::Result<Option<OwnedFd>> {
        let is_covered = |path: &Path| self.covered.iter().any(|target| path == target);
        walk(&self.root, path, &is_covered).1
    }
}

/// Walks `path` from the root and follows symbolic links. Returns the path without links, as far as it
/// exists, and the file that is there. The file is `None` if `is_covered` is true on the way.
fn walk(
    root: &Root,
    path: &Path,
    is_covered: &dyn Fn(&Path) -> bool,
) -> (PathBuf, nix::Result<Option<OwnedFd>>) {
    let open = |path: &Path| root.open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW, Links::Follow);
    let mut remaining = components(path);
    let (mut reached, mut links) = (PathBuf::from("/"), 0);
    while let Some(name) = remaining.pop() {
        if name == ".." {
            reached.pop();
            continue;
        }
        let next = reached.join(&name);
        if is_covered(&next) {
            return (next, Ok(None));
        }
        let target = match open(&next).and_then(|file| link_target(&file)) {
            Ok(target) => target,
            Err(errno) => {
                let rest = remaining.iter().rev();
                return (rest.fold(next, |path, name| path.join(name)), Err(errno));
            }
        };
        let Some(target) = target else {
            reached = next;
            continue;
        };
        links += 1;
        if links > MAX_LINKS {
            return (next, Err(Errno::ELOOP));
        }
        if target.is_absolute() {
            reached = PathBuf::from("/");
        }
        remaining.extend(components(&target));
    }
    let file = open(&reached).map(Some);
    (reached, file)
}
