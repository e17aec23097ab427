//! A mount of type `cgroup`: the container's view of its own cgroups.
//!
//! With cgroup v2 it is one file system. With v1 it is a tmpfs with one directory for each
//! hierarchy.
//!
//! In a new cgroup namespace the container gets a mount of the hierarchy itself, whose root
//! is then the container's cgroup. In all other cases its own cgroup directory is
//! bind-mounted, for three reasons:
//!
//! - A process that can write above that directory can move itself out of the container's
//!   limits. A cgroup namespace that the container joins may have its root above.
//! - A new v2 mount outside of a cgroup namespace would also reset the mount options of the
//!   host's, such as `nsdelegate`.
//! - A user namespace without a cgroup namespace may not make one.
//!
//! A container without cgroups of its own stays in the caller's, and sees them read-only.
//! Where v2 is mounted beside v1, type `cgroup2` mounts v2.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::symlinkat;

use super::attributes::{READONLY, Setter, propagate};
use super::context::MountContext;
use super::detached::{attach, new_file_system, open_tree};
use super::facts::{Facts, V1HierarchyPaths, V2HierarchyPaths};
use super::options::{Attributes, Propagation, Recursion};
use super::parameter::{self, Parameter};
use crate::step::Cause;
use crate::sys::{self, MountAttr, OpenTree};

/// How the container's cgroups are mounted.
#[derive(Debug)]
pub(super) enum CgroupMount {
    V2,
    V2Bind(CgroupDirectories),
    V1 {
        namespaced: bool,
        hierarchies: Vec<V1Hierarchy>,
    },
}

/// The directories of one hierarchy that can be bind-mounted.
#[derive(Debug)]
pub(super) struct CgroupDirectories {
    /// The container's cgroup.
    pub(super) container: Option<PathBuf>,
    /// The caller's cgroup. It is mounted read-only where the container has none.
    pub(super) caller: PathBuf,
}

/// A detached bind mount of a cgroup directory.
pub(super) struct CgroupBind {
    tree: OwnedFd,
    /// The directory is the caller's cgroup, so the container may not write to it.
    belongs_to_caller: bool,
}

#[derive(Debug)]
pub(super) struct V1Hierarchy {
    pub(super) name: CString,
    /// Mount options: one for each controller.
    pub(super) options: Vec<Parameter>,
    /// Controllers that share this hierarchy. Each gets a symbolic link of its own name.
    pub(super) links: Vec<CString>,
    pub(super) directories: CgroupDirectories,
}

impl CgroupMount {
    /// `name` is the mount's type: `cgroup` or `cgroup2`.
    pub(super) fn plan(name: &str, facts: &Facts) -> CgroupMount {
        let unified = facts.unified.as_ref();
        let unified = unified.filter(|_| facts.hierarchies.is_empty() || name == "cgroup2");
        if let Some(V2HierarchyPaths { directory, callers }) = unified {
            return if facts.cgroup_namespace && directory.is_some() {
                CgroupMount::V2
            } else {
                CgroupMount::V2Bind(CgroupDirectories {
                    container: directory.clone(),
                    caller: callers.clone(),
                })
            };
        }
        let mut exist = facts
            .hierarchies
            .iter()
            .map(|facts| facts.directory.is_some());
        CgroupMount::V1 {
            namespaced: facts.cgroup_namespace
                && facts.cgroups_required
                && exist.all(|exists| exists),
            hierarchies: facts
                .hierarchies
                .iter()
                .filter_map(V1Hierarchy::plan)
                .collect(),
        }
    }

    /// The type of the mount itself, as mountinfo shows it.
    pub(super) fn fs_type(&self) -> &'static str {
        match self {
            CgroupMount::V2 | CgroupMount::V2Bind(_) => "cgroup2",
            CgroupMount::V1 { .. } => "tmpfs",
        }
    }

    /// The names of the hierarchies below the mount, in order. Empty for that of version 2.
    pub(super) fn names(&self) -> Vec<PathBuf> {
        let CgroupMount::V1 { hierarchies, .. } = self else {
            return vec![PathBuf::new()];
        };
        let names = hierarchies
            .iter()
            .map(|hierarchy| hierarchy.name.to_string_lossy());
        names.map(|name| PathBuf::from(&*name)).collect()
    }

    /// Opens the directories to bind-mount, in the order of the hierarchies.
    pub(super) fn open(&self, setter: Setter) -> nix::Result<Vec<Option<CgroupBind>>> {
        match self {
            CgroupMount::V2
            | CgroupMount::V1 {
                namespaced: true, ..
            } => Ok(Vec::new()),
            CgroupMount::V1 { hierarchies, .. } => hierarchies
                .iter()
                .map(|hierarchy| hierarchy.directories.open(setter))
                .collect(),
            CgroupMount::V2Bind(directories) => Ok(vec![directories.open(setter)?]),
        }
    }

    /// Init: mounts the cgroups on `target`. The caller may make the returned mount
    /// read-only when every other mount is in place.
    pub(super) fn apply(
        &self,
        context: &MountContext,
        target: &OwnedFd,
        attributes: Attributes,
        binds: Vec<Option<CgroupBind>>,
    ) -> Result<OwnedFd, Cause> {
        let mut binds = binds.into_iter();
        let hierarchies = match self {
            CgroupMount::V1 { hierarchies, .. } => hierarchies,
            CgroupMount::V2 => {
                let mount = new_file_system(
                    context.close_batch,
                    c"cgroup2",
                    c"cgroup",
                    &[],
                    &[],
                    attributes.set,
                )?;
                attach(mount.as_fd(), target.as_fd(), true)?;
                return Ok(mount);
            }
            CgroupMount::V2Bind(_) => {
                let bind = binds.next().flatten().ok_or(Errno::ENOENT)?;
                return Ok(bind.attach(context, target.as_fd(), attributes)?);
            }
        };
        let mut parameters = vec![Parameter::Value(c"mode".into(), c"755".into())];
        parameters.extend(parameter::context(context.label));
        let tmpfs = new_file_system(
            context.close_batch,
            c"tmpfs",
            c"cgroup",
            &[],
            &parameters,
            attributes.writable().set,
        )?;
        attach(tmpfs.as_fd(), target.as_fd(), true)?;
        for hierarchy in hierarchies {
            match binds.next() {
                Some(None) => {}
                bind => hierarchy.apply(context, &tmpfs, attributes, bind.flatten())?,
            }
        }
        if attributes.readonly() {
            context.setter.set(
                tmpfs.as_fd(),
                READONLY,
                Recursion::MountOnly,
                Some(context.proc),
            )?;
        }
        Ok(tmpfs)
    }
}

impl CgroupDirectories {
    /// `None` where neither directory exists.
    fn open(&self, setter: Setter) -> nix::Result<Option<CgroupBind>> {
        let open = |directory: &PathBuf| match open_tree(directory, OpenTree::Mount) {
            Err(Errno::ENOENT) => Ok(None),
            opened => opened.map(Some),
        };
        let container = self.container.as_ref().map(open).transpose()?.flatten();
        if let Some(tree) = container {
            return Ok(Some(CgroupBind {
                tree,
                belongs_to_caller: false,
            }));
        }
        let Some(tree) = open(&self.caller)? else {
            return Ok(None);
        };
        if setter == Setter::Detached {
            setter.set(tree.as_fd(), READONLY, Recursion::MountOnly, None)?;
        }
        Ok(Some(CgroupBind {
            tree,
            belongs_to_caller: true,
        }))
    }
}

impl V1Hierarchy {
    fn plan(facts: &V1HierarchyPaths) -> Option<V1Hierarchy> {
        let options =
            facts
                .controllers
                .iter()
                .flat_map(|controller| match controller.split_once('=') {
                    // A hierarchy without controllers is identified by its name alone.
                    Some((key, value)) => vec![
                        Some(Parameter::Flag(c"none".into())),
                        CString::new(key)
                            .ok()
                            .zip(CString::new(value).ok())
                            .map(|(key, value)| Parameter::Value(key, value)),
                    ],
                    None => vec![CString::new(controller.as_str()).ok().map(Parameter::Flag)],
                });
        let links = facts
            .controllers
            .iter()
            .filter(|controller| **controller != facts.name && !controller.contains('='));
        Some(V1Hierarchy {
            name: CString::new(facts.name.as_str()).ok()?,
            options: options.collect::<Option<_>>()?,
            links: links
                .map(|controller| CString::new(controller.as_str()).ok())
                .collect::<Option<_>>()?,
            directories: CgroupDirectories {
                container: facts.directory.clone(),
                caller: facts.callers.clone(),
            },
        })
    }

    fn apply(
        &self,
        context: &MountContext,
        tmpfs: &OwnedFd,
        attributes: Attributes,
        bind: Option<CgroupBind>,
    ) -> Result<(), Cause> {
        let name = self.name.as_c_str();
        mkdirat(tmpfs, name, Mode::from_bits_truncate(0o755))?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mount_point = nix::fcntl::openat(tmpfs, name, flags, Mode::empty())?;
        if let Some(bind) = bind {
            context
                .close_batch
                .add(bind.attach(context, mount_point.as_fd(), attributes)?);
        } else {
            let mount = new_file_system(
                context.close_batch,
                c"cgroup",
                name,
                &[],
                &self.options,
                attributes.set,
            )?;
            sys::move_mount(mount.as_fd(), mount_point.as_fd())?;
            context.close_batch.add(mount);
        }
        context.close_batch.add(mount_point);
        for link in &self.links {
            match symlinkat(name, tmpfs, link.as_c_str()) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

impl CgroupBind {
    pub(super) fn into_fd(self) -> OwnedFd {
        self.tree
    }

    /// Attaches the mount, made private and given its attributes.
    pub(super) fn attach(
        self,
        context: &MountContext,
        mount_point: BorrowedFd,
        attributes: Attributes,
    ) -> nix::Result<OwnedFd> {
        let tree = self.tree.as_fd();
        let readonly = if self.belongs_to_caller {
            READONLY.set
        } else {
            0
        };
        let attributes = Attributes {
            set: attributes.set | readonly,
            clear: attributes.clear & !READONLY.set,
        };
        match context.setter {
            Setter::Detached => {
                let all = MountAttr {
                    propagation: Propagation::Private.flag(),
                    ..attributes.into()
                };
                sys::mount_setattr(tree, OpenTree::Mount, &all)?;
                attach(tree, mount_point, true)?;
            }
            Setter::Attached => {
                attach(tree, mount_point, true)?;
                let proc = Some(context.proc);
                let (private, one) = (Propagation::Private, Recursion::MountOnly);
                propagate(context.setter, tree, private, one, proc)?;
                context
                    .setter
                    .set(tree, attributes, Recursion::MountOnly, proc)?;
            }
        }
        Ok(self.tree)
    }
}
