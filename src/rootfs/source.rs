//! What was opened for one entry of `mounts`, until it is attached.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::cgroup::Bound;

/// What was opened for a mount.
pub(super) enum Source {
    None,
    /// A detached copy.
    Tree(OwnedFd),
    /// A detached copy, the next one of those that wait in [`Sources::parked`].
    Parked,
    /// Lies in the root: to be opened when its turn comes, with the user namespace
    /// that has the ids to map.
    InTurn(Option<Rc<OwnedFd>>),
    /// A directory of each hierarchy.
    Hierarchies(Vec<Option<Bound>>),
}

impl Source {
    pub(super) fn into_descriptors(self) -> Vec<OwnedFd> {
        match self {
            Source::None | Source::Parked | Source::InTurn(_) => Vec::new(),
            Source::Tree(tree) => vec![tree],
            Source::Hierarchies(bound) => bound.into_iter().flatten().map(Bound::into_fd).collect(),
        }
    }
}
