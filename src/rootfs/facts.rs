//! What the plan of the root file system depends on besides config.json.

use std::path::PathBuf;

use crate::selinux::Label;

/// Properties of the host, and parts of the plan that are decided earlier.
#[derive(Debug)]
pub(crate) struct Facts {
    /// The kernel has mount_setattr(2).
    pub(crate) mount_setattr: bool,
    /// The container is in a user namespace other than the host's initial one.
    pub(crate) user_namespace: bool,
    /// The ids of the host that root of the container's own user namespace has.
    pub(crate) owner: Option<(u32, u32)>,
    /// The container has a new cgroup namespace.
    pub(crate) cgroup_namespace: bool,
    /// The container does not have the host's ipc namespace.
    pub(crate) ipc_namespace: bool,
    /// `linux.mountLabel`.
    pub(crate) mount_label: Option<Label>,
    /// A failure to create the container's cgroups is an error, so they will exist.
    pub(crate) cgroups_required: bool,
    /// The cgroup v1 hierarchies of the host; empty on a host with v2 alone.
    pub(crate) hierarchies: Vec<V1HierarchyPaths>,
    /// The directory of the notify socket, and its path in the container.
    pub(crate) notify: Option<(PathBuf, &'static str)>,
    /// Files that are written for the container.
    pub(crate) files: Vec<GeneratedFile>,
    /// The cgroup v2 hierarchy of the host, which may be mounted beside v1.
    pub(crate) unified: Option<V2HierarchyPaths>,
}

/// A file to be written for the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GeneratedFile {
    /// Absolute, in the container.
    pub(crate) path: &'static str,
    /// The annotation that asks for it, for messages.
    pub(crate) key: &'static str,
    /// The annotation is there, so it is worth a warning that a mount replaces the file.
    pub(crate) explicit: bool,
}

/// The path of such a file and its content, which is known only after the plan.
pub(crate) type Content = (&'static str, String);

/// Directories in the cgroup v2 hierarchy.
#[derive(Debug)]
pub(crate) struct V2HierarchyPaths {
    /// The container's cgroup, if it has one.
    pub(crate) directory: Option<PathBuf>,
    /// The caller's cgroup, where a container without its own stays.
    pub(crate) callers: PathBuf,
}

/// Directories in a cgroup v1 hierarchy.
#[derive(Clone, Debug)]
pub(crate) struct V1HierarchyPaths {
    /// For example `["cpu", "cpuacct"]` or `["name=systemd"]`.
    pub(crate) controllers: Vec<String>,
    /// The last component of its mount point on the host.
    pub(crate) name: String,
    /// The container's cgroup, if it has one.
    pub(crate) directory: Option<PathBuf>,
    /// The caller's cgroup, where a container without its own stays.
    pub(crate) callers: PathBuf,
}
