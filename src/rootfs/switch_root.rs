//! The way in: how the root takes the place of the machine's, in its turn.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use super::attributes::Setter;
use super::root::Root;
use super::sources::Sources;
use super::{Entry, Layer, Rootfs, Turn, overlay, pivot};
use crate::step::{Cause, Progress, Step};
use crate::sys::CloseBatch;
use crate::trusted_proc::Proc;

/// What the root is put on.
pub(crate) struct Ground {
    /// The machine's root, in a mount namespace of the container's own.
    machine: Option<OwnedFd>,
    /// `root.path`, where it is needed yet.
    place: Option<OwnedFd>,
}

/// The root as init works in it, and what becomes read-only at the end.
pub(crate) struct Entered {
    pub(super) root: Root,
    /// The machine's root, until it is left.
    machine: Option<OwnedFd>,
    pub(super) late: Vec<OwnedFd>,
}

impl Entered {
    fn new(root: OwnedFd, machine: Option<OwnedFd>) -> Entered {
        Entered {
            root: Root::new(root),
            machine,
            late: Vec::new(),
        }
    }
}

impl AsFd for Entered {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

impl Rootfs {
    /// Init, while it still is the caller, who may be the only one to find the
    /// way: cuts the mount namespace off, and opens what the root is put on.
    pub(crate) fn enter(&self, at: &Progress) -> Result<Ground, Cause> {
        let machine = match self.entry {
            Entry::Chroot => None,
            Entry::Pivot | Entry::Move => {
                at.enter(Step::Propagation);
                Some(pivot::isolate(self.setter)?)
            }
        };
        at.enter(Step::Root);
        let needed = machine.is_none() || self.turn == Turn::Last || self.layer != Layer::Direct;
        let place = needed.then(|| pivot::directory(&self.path)).transpose()?;
        Ok(Ground { machine, place })
    }

    /// Init: puts the root where it belongs, and leaves the machine behind if
    /// that is the first thing to do.
    pub(crate) fn attach(
        &self,
        ground: Ground,
        sources: &mut Sources,
        proc: &Proc,
        at: &Progress,
    ) -> Result<Entered, Cause> {
        let (machine, root) = match (ground.machine, ground.place) {
            // Entered by chroot(2) alone.
            (None, place) => (None, place.ok_or(Errno::EBADF)?),
            (Some(machine), place) => {
                let root = match sources.root.take() {
                    Some(root) => root,
                    None => self.overlay(&place, &machine, at)?,
                };
                at.enter(Step::Root);
                let place = match self.turn {
                    // Nobody's path leads there, and no directory has to be lent for it.
                    Turn::First => None,
                    Turn::Last => place,
                };
                pivot::attach(root.as_fd(), place.as_ref().unwrap_or(&machine).as_fd())?;
                if self.setter == Setter::Attached && self.layer == Layer::Direct {
                    self.isolate_root(root.as_fd(), Some(proc.as_fd()))?;
                }
                (Some(machine), root)
            }
        };
        let mut entered = Entered::new(root, machine);
        if self.turn == Turn::First {
            self.leave(&mut entered, proc, at)?;
        }
        Ok(entered)
    }

    fn overlay(
        &self,
        lower: &Option<OwnedFd>,
        machine: &OwnedFd,
        at: &Progress,
    ) -> Result<OwnedFd, Cause> {
        at.enter(Step::Overlay);
        let lower = lower.as_ref().ok_or(Errno::EBADF)?.as_fd();
        overlay::build(
            lower,
            machine.as_fd(),
            self.user_namespace,
            &CloseBatch::default(),
        )
    }

    /// Init, with [`Turn::Last`], after everything that looks at the machine.
    pub(crate) fn leave_last(
        &self,
        entered: &mut Entered,
        proc: &Proc,
        at: &Progress,
    ) -> Result<(), Cause> {
        match self.turn {
            Turn::First => Ok(()),
            Turn::Last => self.leave(entered, proc, at),
        }
    }

    /// From here on, the root is the container's and the machine is out of reach.
    fn leave(&self, entered: &mut Entered, proc: &Proc, at: &Progress) -> Result<(), Cause> {
        at.enter(Step::Pivot);
        let root = entered.root.as_fd();
        match (self.entry, entered.machine.take()) {
            (Entry::Pivot, _) => pivot::pivot(root)?,
            (Entry::Move, Some(machine)) => {
                pivot::cover(root, proc)?;
                if self.turn == Turn::Last {
                    pivot::attach(root, machine.as_fd())?;
                }
                pivot::enter(root)?;
            }
            (Entry::Move | Entry::Chroot, _) => pivot::enter(root)?,
        }
        Ok(())
    }
}
