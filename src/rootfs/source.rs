//! What was opened for one entry of `mounts`, until it is attached.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::cgroup::CgroupBind;

/// The opened source of one mount.
pub(super) enum Source {
    /// Nothing: init makes the file system.
    None,
    /// A detached mount.
    Detached(OwnedFd),
    /// A detached mount, the next one in the queue of `Sources`.
    Queued,
    /// Lies in the container's root: init opens it when it reaches this mount. Holds the
    /// user namespace whose ids to map.
    InRoot(Option<Rc<OwnedFd>>),
    /// One cgroup directory for each hierarchy.
    Hierarchies(Vec<Option<CgroupBind>>),
}

impl Source {
    pub(super) fn into_descriptors(self) -> Vec<OwnedFd> {
        match self {
            Source::None | Source::Queued | Source::InRoot(_) => Vec::new(),
            Source::Detached(tree) => vec![tree],
            Source::Hierarchies(binds) => binds
                .into_iter()
                .flatten()
                .map(CgroupBind::into_fd)
                .collect(),
        }
    }
}
