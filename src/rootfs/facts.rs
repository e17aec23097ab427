//! What the plan of the root file system depends on besides `root`, `mounts` and `linux`.

use std::path::PathBuf;

/// What the rest of the plan knows and a mount depends on.
#[derive(Debug)]
pub(crate) struct Facts {
    /// mount_setattr(2) is there.
    pub(crate) mount_setattr: bool,
    /// The container is in another user namespace than the machine's first.
    pub(crate) user_namespace: bool,
    /// The container sees its own cgroup as the root.
    pub(crate) cgroup_namespace: bool,
    /// The cgroups that the container is to have will be there.
    pub(crate) certain_cgroups: bool,
    /// The machine's hierarchies of version 1; none on version 2.
    pub(crate) hierarchies: Vec<HierarchyFacts>,
    /// A directory of the runtime's that the container is to see, and where.
    pub(crate) notify: Option<(PathBuf, &'static str)>,
    /// The machine's tree of version 2, which may stand beside those of version 1.
    pub(crate) unified: Option<UnifiedFacts>,
}

/// The tree of version 2, as a container may get to see it.
#[derive(Debug)]
pub(crate) struct UnifiedFacts {
    /// The container's own directory, if it is to have one.
    pub(crate) directory: Option<PathBuf>,
    /// The caller's, where the container stays if it may have none of its own.
    pub(crate) callers: PathBuf,
}

/// A hierarchy of version 1, as a container gets to see it.
#[derive(Clone, Debug)]
pub(crate) struct HierarchyFacts {
    /// `["cpu", "cpuacct"]`, `["name=systemd"]`.
    pub(crate) controllers: Vec<String>,
    /// The last component of where the machine mounts it.
    pub(crate) name: String,
    /// The container's own directory in it, if it is to have one.
    pub(crate) directory: Option<PathBuf>,
    /// The caller's, where the container stays if it may have none of its own.
    pub(crate) callers: PathBuf,
}
