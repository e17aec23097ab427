//! A mount of type `cgroup`: what the container sees of its own cgroups.
//!
//! Version 2 is one file system. Version 1 is a tmpfs with one directory for
//! each hierarchy: in a cgroup namespace a mount of the hierarchy itself, which
//! then begins at the container; without one the container's own directory,
//! bound, so that no container sees the machine's tree. Version 2 without a
//! cgroup namespace is bound as well: a new mount of it would set the options of
//! the machine's (`nsdelegate`) anew, and a user namespace may make none. A
//! container without cgroups of its own is in the caller's, of which it may
//! change nothing: of version 2 it sees them read-only, of version 1 none.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::symlinkat;

use super::attributes::{Setter, propagate};
use super::filesystem::new_file_system;
use super::mount::{Stage, attach};
use super::options::{Attributes, Parameter, Propagation, Recursion};
use super::sources::open_tree;
use crate::step::Cause;
use crate::sys::{self, MountAttr, OpenTree};

/// What the rest of the plan knows and a mount depends on.
#[derive(Debug)]
pub(crate) struct Facts {
    /// mount_setattr(2) is there.
    pub(crate) mount_setattr: bool,
    /// The container is in another user namespace than the machine's first.
    pub(crate) user_namespace: bool,
    /// The container sees its own cgroup as the root.
    pub(crate) cgroup_namespace: bool,
    /// The machine's hierarchies of version 1; none on version 2.
    pub(crate) hierarchies: Vec<HierarchyFacts>,
    /// A directory of the runtime's that the container is to see, and where.
    pub(crate) notify: Option<(PathBuf, &'static str)>,
    /// The machine's tree of version 2.
    pub(crate) unified: Option<UnifiedFacts>,
}

/// The tree of version 2, as a container may get to see it.
#[derive(Debug)]
pub(crate) struct UnifiedFacts {
    pub(crate) mount: PathBuf,
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
}

const READONLY: Attributes = Attributes {
    set: libc::MOUNT_ATTR_RDONLY,
    clear: 0,
};

/// How the container's cgroups are shown to it.
#[derive(Debug)]
pub(super) enum CgroupMount {
    V2,
    V2Bound {
        directory: Option<PathBuf>,
        callers: PathBuf,
    },
    V1 {
        namespaced: bool,
        hierarchies: Vec<Hierarchy>,
    },
}

#[derive(Debug)]
pub(super) struct Hierarchy {
    name: CString,
    /// Options of the file system: one for each controller.
    options: Vec<Parameter>,
    /// Controllers that are found under their own name by a link, when several
    /// share a hierarchy.
    links: Vec<CString>,
    directory: Option<PathBuf>,
}

impl CgroupMount {
    pub(super) fn plan(facts: &Facts) -> CgroupMount {
        if facts.hierarchies.is_empty() {
            return match &facts.unified {
                Some(tree) if !facts.cgroup_namespace || tree.directory.is_none() => {
                    CgroupMount::V2Bound {
                        // Of root's containers, which share the view, all of it.
                        directory: match facts.user_namespace || facts.cgroup_namespace {
                            true => tree.directory.clone(),
                            false => Some(tree.mount.clone()),
                        },
                        callers: tree.callers.clone(),
                    }
                }
                _ => CgroupMount::V2,
            };
        }
        CgroupMount::V1 {
            namespaced: facts.cgroup_namespace
                && facts.hierarchies.iter().any(|one| one.directory.is_some()),
            hierarchies: facts
                .hierarchies
                .iter()
                .filter_map(Hierarchy::plan)
                .collect(),
        }
    }

    /// The container's own directories, detached; `None` for a hierarchy in
    /// which it has none.
    pub(super) fn open(&self, setter: Setter) -> nix::Result<Vec<Option<OwnedFd>>> {
        let own = |directory: &Option<PathBuf>| match directory {
            None => Ok(None),
            Some(directory) => match open_tree(directory, OpenTree::Mount) {
                Err(Errno::ENOENT) => Ok(None),
                opened => opened.map(Some),
            },
        };
        match self {
            CgroupMount::V2
            | CgroupMount::V1 {
                namespaced: true, ..
            } => Ok(Vec::new()),
            CgroupMount::V1 { hierarchies, .. } => {
                let directories = hierarchies.iter().map(|hierarchy| &hierarchy.directory);
                directories.map(own).collect()
            }
            CgroupMount::V2Bound { directory, callers } => {
                if let Some(tree) = own(directory)? {
                    return Ok(vec![Some(tree)]);
                }
                // It is not the container's: nothing in there is to be changed.
                let tree = open_tree(callers, OpenTree::Mount)?;
                if setter == Setter::Detached {
                    setter.set(tree.as_fd(), READONLY, Recursion::One, None)?;
                }
                Ok(vec![Some(tree)])
            }
        }
    }

    /// Init: attaches it on `target`. What it returns can become read-only
    /// when everything is in place.
    pub(super) fn apply(
        &self,
        stage: &Stage,
        target: &OwnedFd,
        attributes: Attributes,
        own: Vec<Option<OwnedFd>>,
    ) -> Result<OwnedFd, Cause> {
        let mut own = own.into_iter();
        let hierarchies = match self {
            CgroupMount::V1 { hierarchies, .. } => hierarchies,
            CgroupMount::V2 => {
                let mount =
                    new_file_system(stage.spent, c"cgroup2", c"cgroup", &[], &[], attributes.set)?;
                attach(mount.as_fd(), target.as_fd(), true)?;
                return Ok(mount);
            }
            CgroupMount::V2Bound { directory, .. } => {
                let mount = own.next().flatten().ok_or(Errno::EBADF)?;
                let callers = match directory {
                    Some(_) => 0,
                    None => READONLY.set,
                };
                let kept = Attributes {
                    set: attributes.set | callers,
                    clear: attributes.clear & !libc::MOUNT_ATTR_RDONLY,
                };
                attach_bound(stage, mount.as_fd(), target.as_fd(), kept)?;
                return Ok(mount);
            }
        };
        let mode = [Parameter::Value(c"mode".into(), c"755".into())];
        let top = new_file_system(
            stage.spent,
            c"tmpfs",
            c"cgroup",
            &[],
            &mode,
            attributes.writable().set,
        )?;
        attach(top.as_fd(), target.as_fd(), true)?;
        for hierarchy in hierarchies {
            match own.next() {
                Some(None) => {}
                own => hierarchy.apply(stage, &top, attributes, own.flatten())?,
            }
        }
        if attributes.readonly() {
            stage
                .setter
                .set(top.as_fd(), READONLY, Recursion::One, Some(stage.proc))?;
        }
        Ok(top)
    }
}

impl Hierarchy {
    fn plan(facts: &HierarchyFacts) -> Option<Hierarchy> {
        let options =
            facts
                .controllers
                .iter()
                .flat_map(|controller| match controller.split_once('=') {
                    // A hierarchy without controllers goes by its name alone.
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
        Some(Hierarchy {
            name: CString::new(facts.name.as_str()).ok()?,
            options: options.collect::<Option<_>>()?,
            links: links
                .map(|controller| CString::new(controller.as_str()).ok())
                .collect::<Option<_>>()?,
            directory: facts.directory.clone(),
        })
    }

    fn apply(
        &self,
        stage: &Stage,
        top: &OwnedFd,
        attributes: Attributes,
        own: Option<OwnedFd>,
    ) -> Result<(), Cause> {
        let name = self.name.as_c_str();
        mkdirat(top, name, Mode::from_bits_truncate(0o755))?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let place = nix::fcntl::openat(top, name, flags, Mode::empty())?;
        if let Some(bound) = own {
            attach_bound(stage, bound.as_fd(), place.as_fd(), attributes)?;
            stage.spent.add(bound);
        } else {
            let mount = new_file_system(
                stage.spent,
                c"cgroup",
                name,
                &[],
                &self.options,
                attributes.set,
            )?;
            sys::move_mount(mount.as_fd(), place.as_fd())?;
            stage.spent.add(mount);
        }
        stage.spent.add(place);
        for link in &self.links {
            match symlinkat(name, top, link.as_c_str()) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

/// Attaches the copy of a cgroup's directory, private and with its attributes.
fn attach_bound(
    stage: &Stage,
    own: BorrowedFd,
    place: BorrowedFd,
    attributes: Attributes,
) -> nix::Result<()> {
    match stage.setter {
        Setter::Detached => {
            let all = MountAttr {
                propagation: Propagation::Private.flag(),
                ..attributes.into()
            };
            sys::mount_setattr(own, OpenTree::Mount, &all)?;
            attach(own, place, true)
        }
        Setter::Attached => {
            attach(own, place, true)?;
            let proc = Some(stage.proc);
            propagate(
                stage.setter,
                own,
                Propagation::Private,
                Recursion::One,
                proc,
            )?;
            stage.setter.set(own, attributes, Recursion::One, proc)
        }
    }
}
