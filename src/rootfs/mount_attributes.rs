//! The attributes and the propagation types that a planned mount gets.

use std::os::fd::BorrowedFd;

use super::attributes::{Setter, propagate};
use super::context::MountContext;
use super::mount::Mount;
use super::options::{Attributes, Propagation, Recursion};

impl Mount {
    /// The attributes of a mount when it is made.
    pub(super) fn new_attributes(&self) -> Attributes {
        let attributes = self.early_attributes();
        Attributes {
            set: attributes.set | self.recursive.set,
            clear: attributes.clear | self.recursive.clear,
        }
    }

    fn early_attributes(&self) -> Attributes {
        if self.readonly_late {
            self.attributes.writable()
        } else {
            self.attributes
        }
    }

    /// The propagation types that a bind mount gets one after the other. Without a
    /// propagation option it gets the default of `linux.rootfsPropagation`.
    pub(super) fn bind_propagation(
        &self,
        default: Propagation,
    ) -> impl Iterator<Item = (Propagation, Recursion)> {
        let joins_peers = self
            .propagation
            .iter()
            .any(|(kind, _)| *kind == Propagation::Shared);
        let sets_tree = self.propagation.iter().any(|(kind, recursion)| {
            *recursion == Recursion::Recursive && *kind != Propagation::Shared
        });
        let keeps_peers = joins_peers && default == Propagation::Shared;
        let first = (!sets_tree && !keeps_peers).then_some((default, Recursion::Recursive));
        first.into_iter().chain(self.propagation.iter().copied())
    }

    /// The propagation types of the options.
    pub(super) fn listed_propagation(&self) -> impl Iterator<Item = (Propagation, Recursion)> {
        self.propagation.iter().copied()
    }

    /// The propagation types that a new mount gets, which is private by default.
    pub(super) fn new_propagation(&self) -> impl Iterator<Item = (Propagation, Recursion)> {
        self.listed_propagation()
            .filter(|(kind, _)| *kind != Propagation::Private)
    }

    /// Sets attributes and propagation of a bind mount.
    pub(super) fn set_bind_attributes(
        &self,
        setter: Setter,
        tree: BorrowedFd,
        default_propagation: Propagation,
        proc: Option<BorrowedFd>,
    ) -> nix::Result<()> {
        for (kind, recursion) in self.bind_propagation(default_propagation) {
            propagate(setter, tree, kind, recursion, proc)?;
        }
        self.set_early_attributes(setter, tree, proc)
    }

    /// Sets the attributes and the propagation types that are listed, and no other.
    pub(super) fn set_attributes(
        &self,
        setter: Setter,
        mount: BorrowedFd,
        proc: Option<BorrowedFd>,
    ) -> nix::Result<()> {
        for (kind, recursion) in self.listed_propagation() {
            propagate(setter, mount, kind, recursion, proc)?;
        }
        self.set_early_attributes(setter, mount, proc)
    }

    fn set_early_attributes(
        &self,
        setter: Setter,
        mount: BorrowedFd,
        proc: Option<BorrowedFd>,
    ) -> nix::Result<()> {
        setter.set(mount, self.early_attributes(), Recursion::MountOnly, proc)?;
        setter.set(mount, self.recursive, Recursion::Recursive, proc)
    }

    pub(super) fn set_new_propagation(
        &self,
        context: &MountContext,
        mount: BorrowedFd,
    ) -> nix::Result<()> {
        for (kind, recursion) in self.new_propagation() {
            propagate(context.setter, mount, kind, recursion, Some(context.proc))?;
        }
        Ok(())
    }
}
