//! Switches init from the host's root to the container's.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use super::attributes::Setter;
use super::overlay::{OpenLayers, Place};
use super::root::Root;
use super::sources::Sources;
use super::{Entry, Rootfs, SwitchOrder, pivot};
use crate::step::{Cause, Progress, Step};
use crate::sys::CloseBatch;
use crate::trusted_proc::Proc;

/// Where the new root is attached.
pub(crate) struct AttachPoint {
    /// The old root, in a mount namespace of the container's own.
    old_root: Option<OwnedFd>,
    /// `root.path`, opened only where it is needed later.
    root_path: Option<OwnedFd>,
    /// The other layers of the root, if it has any.
    layers: Option<OpenLayers>,
}

/// The new root while init builds it.
pub(crate) struct NewRoot {
    pub(super) root: Root,
    /// The host's root, until init leaves it.
    old_root: Option<OwnedFd>,
    /// The mounts that become read-only at the end.
    pub(super) readonly_late: Vec<OwnedFd>,
}

impl NewRoot {
    pub(super) fn new(root: OwnedFd, old_root: Option<OwnedFd>) -> NewRoot {
        NewRoot {
            root: Root::new(root),
            old_root,
            readonly_late: Vec::new(),
        }
    }

    /// Init: leaves all descriptors to `close_batch`.
    pub(super) fn close_later(self, close_batch: &CloseBatch) {
        self.root.close_later(close_batch);
        let others = self.readonly_late.into_iter().chain(self.old_root);
        others.for_each(|fd| close_batch.add(fd));
    }
}

impl AsFd for NewRoot {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

impl Rootfs {
    /// Init: makes the mount namespace private and opens the directory for the new root. It
    /// still has the caller's ids, because only the caller may be able to search the path.
    pub(crate) fn enter(&self, progress: &Progress) -> Result<AttachPoint, Cause> {
        let old_root = match self.entry {
            Entry::Chroot => None,
            Entry::Pivot | Entry::Move => {
                progress.enter(Step::Propagation);
                Some(pivot::make_mounts_private(self.setter)?)
            }
        };
        progress.enter(Step::Root);
        let needs_root_path = old_root.is_none()
            || self.switch_order == SwitchOrder::AfterMounts
            || self.layers.is_some();
        let root_path = needs_root_path
            .then(|| pivot::open_directory(&self.path))
            .transpose()?;
        let layers = self.layers.as_ref().map(|layers| layers.open(progress));
        Ok(AttachPoint {
            old_root,
            root_path,
            layers: layers.transpose()?,
        })
    }

    /// Init: attaches the new root. With [`SwitchOrder::BeforeMounts`] it also leaves the host's root.
    pub(crate) fn attach(
        &self,
        attach_point: AttachPoint,
        sources: &mut Sources,
        proc: &Proc,
        progress: &Progress,
    ) -> Result<NewRoot, Cause> {
        let (old_root, root) = match (attach_point.old_root, attach_point.root_path) {
            // Without a mount namespace of its own the root is entered by chroot(2).
            (None, root_path) => (None, root_path.ok_or(Errno::EBADF)?),
            (Some(old_root), root_path) => {
                let root = match sources.root.take() {
                    Some(root) => root,
                    None => self.overlay(&root_path, attach_point.layers, &old_root, progress)?,
                };
                progress.enter(Step::Root);
                let root_path = match self.switch_order {
                    // On the old root itself: no path has to lead there, and no directory has to be
                    // its mount point.
                    SwitchOrder::BeforeMounts => None,
                    SwitchOrder::AfterMounts => root_path,
                };
                pivot::attach_root(
                    root.as_fd(),
                    root_path.as_ref().unwrap_or(&old_root).as_fd(),
                )?;
                if self.setter == Setter::Attached && self.layers.is_none() {
                    self.set_initial_propagation(root.as_fd(), Some(proc.as_fd()))?;
                }
                (Some(old_root), root)
            }
        };
        let mut entered = NewRoot::new(root, old_root);
        if self.switch_order == SwitchOrder::BeforeMounts {
            self.leave(&mut entered, proc, progress)?;
        }
        Ok(entered)
    }

    pub(super) fn overlay(
        &self,
        root_path: &Option<OwnedFd>,
        opened: Option<OpenLayers>,
        old_root: &OwnedFd,
        progress: &Progress,
    ) -> Result<OwnedFd, Cause> {
        let (Some(layers), Some(opened), Some(root_path)) = (&self.layers, opened, root_path)
        else {
            return Err(Errno::EBADF.into());
        };
        let place = Place {
            old_root: old_root.as_fd(),
            user_namespace: self.user_namespace,
            label: self.label.as_ref(),
        };
        layers.mount(&opened, root_path.as_fd(), &place, progress)
    }

    /// Init, with [`SwitchOrder::AfterMounts`]: leaves the host's root after the last step that needs it.
    pub(crate) fn switch_after_mounts(
        &self,
        entered: &mut NewRoot,
        proc: &Proc,
        progress: &Progress,
    ) -> Result<(), Cause> {
        match self.switch_order {
            SwitchOrder::BeforeMounts => Ok(()),
            SwitchOrder::AfterMounts => self.leave(entered, proc, progress),
        }
    }

    /// Switches to the container's root; the host's is no longer reachable.
    fn leave(&self, entered: &mut NewRoot, proc: &Proc, progress: &Progress) -> Result<(), Cause> {
        progress.enter(Step::Pivot);
        let root = entered.root.as_fd();
        match (self.entry, entered.old_root.take()) {
            (Entry::Pivot, _) => pivot::pivot_to(root)?,
            (Entry::Move, Some(old_root)) => {
                pivot::hide_host_proc_and_sys(root, proc)?;
                if self.switch_order == SwitchOrder::AfterMounts {
                    pivot::attach_root(root, old_root.as_fd())?;
                }
                pivot::change_root(root)?;
            }
            (Entry::Move | Entry::Chroot, _) => pivot::change_root(root)?,
        }
        Ok(())
    }
}
