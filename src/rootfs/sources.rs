//! What belongs to the machine, opened by the runtime before the clone: the root
//! and the sources of bind mounts, as detached copies, and the null device.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat, stat};

use super::attributes::{Setter, propagate};
use super::mount::Source;
use super::options::{Propagation, Recursion};
use super::{Entry, Layer, Rootfs};
use crate::sys::{self, Spent};

/// What the runtime has opened for it: consumed as it is attached.
pub(crate) struct Sources {
    pub(super) root: Option<OwnedFd>,
    pub(super) mounts: Vec<Source>,
    pub(super) null: Option<OwnedFd>,
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
            .chain(self.null.take())
            .for_each(|fd| spent.add(fd));
    }
}

impl Rootfs {
    /// Runtime, before the clone: opens what belongs to the machine.
    ///
    /// # Errors
    /// A missing root or source, or the machine's own root laid open.
    pub(crate) fn wire(&self) -> Result<Sources> {
        let subject = || format!("root.path: {}", self.path.display());
        let root = open(
            &self.path,
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .with_context(subject)?;
        let (given, machine) = (fstat(&root).with_context(subject)?, stat("/").context("/")?);
        ensure!(
            (given.st_dev, given.st_ino) != (machine.st_dev, machine.st_ino)
                || self.layer == Layer::Ephemeral
                || self.readonly,
            "{}: is the machine's own root; set root.readonly, or the annotation rt.rootfs.overlay to \"ephemeral\"",
            subject()
        );
        let tree = match (self.entry, self.layer) {
            (Entry::Pivot | Entry::Move, Layer::Direct) => {
                Some(self.open_root(&root).with_context(subject)?)
            }
            (Entry::Chroot, _) | (_, Layer::Ephemeral) => None,
        };
        let mounts = self.mounts.iter().enumerate().map(|(i, mount)| {
            mount
                .open(self.setter, self.base())
                .with_context(|| format!("mounts[{i}]"))
        });
        Ok(Sources {
            root: tree,
            mounts: mounts.collect::<Result<_>>()?,
            null: self.masks.open(self.setter)?,
        })
    }

    /// The root and all that is mounted below it, detached.
    fn open_root(&self, root: &OwnedFd) -> nix::Result<OwnedFd> {
        let tree = sys::open_tree(root.as_fd(), c"", sys::OpenTree::Recursive)?;
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
