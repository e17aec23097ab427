//! What belongs to the machine, as detached copies: the root and the sources of
//! bind mounts, devices where nobody can make them, and the null device.
//!
//! The runtime opens it before the clone, with the caller's rights and where
//! paths mean what the configuration meant. A caller who may not copy mounts
//! leaves it to init, which may, in a user namespace: the first thing that
//! init does there, while it still is the caller.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat, stat};

use super::attributes::{Setter, propagate};
use super::cgroup::Bound;

use super::options::{Propagation, Recursion};
use super::{Entry, Layer, Rootfs};
use crate::step::{Cause, Progress, Refusal, Step};
use crate::sys::{self, OpenTree, Spent};

/// What was opened: consumed as it is attached.
pub(crate) struct Sources {
    pub(super) root: Option<OwnedFd>,
    pub(super) mounts: Vec<Source>,
    pub(super) devices: Vec<OwnedFd>,
    pub(super) null: Option<OwnedFd>,
}

/// A detached copy of the mount at `path` on the machine; `EINVAL` for a path
/// that holds a NUL byte.
pub(super) fn open_tree(path: &Path, how: OpenTree) -> nix::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| Errno::EINVAL)?;
    sys::open_tree(nix::fcntl::AT_FDCWD, &path, how)
}

/// What was opened for a mount.
pub(super) enum Source {
    None,
    /// A detached copy.
    Tree(OwnedFd),
    /// A directory of each hierarchy.
    Hierarchies(Vec<Option<Bound>>),
}

impl Source {
    pub(super) fn into_descriptors(self) -> Vec<OwnedFd> {
        match self {
            Source::None => Vec::new(),
            Source::Tree(tree) => vec![tree],
            Source::Hierarchies(bound) => bound.into_iter().flatten().map(Bound::into_fd).collect(),
        }
    }
}

impl Drop for Sources {
    /// As many descriptors as mounts: closed by few calls.
    fn drop(&mut self) {
        let spent = Spent::default();
        let mounts = self.mounts.drain(..).flat_map(Source::into_descriptors);
        self.root
            .take()
            .into_iter()
            .chain(mounts)
            .chain(self.devices.drain(..))
            .chain(self.null.take())
            .for_each(|fd| spent.add(fd));
    }
}

impl Rootfs {
    /// Opens what belongs to the machine. `ids` are the user namespaces that have
    /// the id maps of mounts, by index.
    ///
    /// # Errors
    /// A missing root or source, or the machine's own root laid open.
    pub(crate) fn open_sources(
        &self,
        ids: &BTreeMap<usize, OwnedFd>,
        at: &Progress,
    ) -> Result<Sources, Cause> {
        at.enter(Step::OpenRoot);
        let root = open(
            &self.path,
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        let (given, machine) = (fstat(&root)?, stat("/")?);
        if (given.st_dev, given.st_ino) == (machine.st_dev, machine.st_ino)
            && self.layer == Layer::Direct
            && !self.readonly
        {
            return Err(Refusal::MachineRoot.into());
        }
        let tree = match (self.entry, self.layer) {
            (Entry::Pivot | Entry::Move, Layer::Direct) => Some(self.open_root(&root)?),
            (Entry::Chroot, _) | (_, Layer::Ephemeral) => None,
        };
        let mounts = self.mounts.iter().enumerate().map(|(item, mount)| {
            at.at(Step::OpenSource, item);
            let source = mount.open(self.setter, self.base())?;
            at.at(Step::MapIds, item);
            mount.map_ids(&source, ids.get(&item))?;
            Ok(source)
        });
        let mounts = mounts.collect::<Result<_, Cause>>()?;
        let devices = self.devices.open(self.setter, at)?;
        at.enter(Step::OpenNull);
        Ok(Sources {
            root: tree,
            mounts,
            devices,
            null: self.masks.open(self.setter)?,
        })
    }

    /// The root and all that is mounted below it, detached.
    fn open_root(&self, root: &OwnedFd) -> nix::Result<OwnedFd> {
        let tree = sys::open_tree(root.as_fd(), c"", OpenTree::Recursive)?;
        if self.setter == Setter::Detached {
            self.isolate_root(tree.as_fd(), None)?;
        }
        Ok(tree)
    }

    /// Nothing that is mounted in the root may reach the machine, even if the
    /// root is to be shared in the end; what lies below keeps its peers then.
    pub(super) fn isolate_root(
        &self,
        tree: BorrowedFd,
        proc: Option<BorrowedFd>,
    ) -> nix::Result<()> {
        let (kind, recursion) = match self.base() {
            kind @ (Propagation::Slave | Propagation::Private) => (kind, Recursion::Tree),
            Propagation::Shared | Propagation::Unbindable => (Propagation::Private, Recursion::One),
        };
        propagate(self.setter, tree, kind, recursion, proc)
    }
}
