//! A mount of type `cgroup`: what the container sees of its own cgroups.
//!
//! Version 2 is one file system. Version 1 is a tmpfs with one directory for
//! each hierarchy. In a cgroup namespace of its own the container gets a mount of
//! the hierarchy itself, which then begins at the container; else its own
//! directory, bound: whoever could write above it would leave it, and its limits
//! with it. (A namespace that it joins begins wherever somebody was. A new mount
//! of version 2 outside of any would also set the options of the machine's,
//! `nsdelegate`, anew, and a user namespace may make none.) A container without
//! cgroups of its own is in the caller's, of which it may change nothing: it sees
//! them read-only. Version 2 beside version 1 is seen by those who name it.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::symlinkat;

use super::attributes::{Setter, propagate};
use super::context::Stage;
use super::detached::{attach, new_file_system, open_tree};
use super::facts::{Facts, HierarchyFacts, UnifiedFacts};
use super::options::{Attributes, Parameter, Propagation, Recursion};
use crate::step::Cause;
use crate::sys::{self, MountAttr, OpenTree};

const READONLY: Attributes = Attributes {
    set: libc::MOUNT_ATTR_RDONLY,
    clear: 0,
};

/// How the container's cgroups are shown to it.
#[derive(Debug)]
pub(super) enum CgroupMount {
    V2,
    V2Bound(Directories),
    V1 {
        namespaced: bool,
        hierarchies: Vec<Hierarchy>,
    },
}

/// What of a hierarchy can be bound.
#[derive(Debug)]
pub(super) struct Directories {
    /// The container's own.
    own: Option<PathBuf>,
    /// The caller's, which is shown read-only where there is no own.
    callers: PathBuf,
}

/// A directory that was opened, detached.
pub(super) struct Bound {
    tree: OwnedFd,
    /// It is not the container's: nothing in there is to be changed.
    callers: bool,
}

#[derive(Debug)]
pub(super) struct Hierarchy {
    name: CString,
    /// Options of the file system: one for each controller.
    options: Vec<Parameter>,
    /// Controllers that are found under their own name by a link, when several
    /// share a hierarchy.
    links: Vec<CString>,
    directories: Directories,
}

impl CgroupMount {
    /// `name` is `cgroup` or `cgroup2`.
    pub(super) fn plan(name: &str, facts: &Facts) -> CgroupMount {
        let unified = facts.unified.as_ref();
        let unified = unified.filter(|_| facts.hierarchies.is_empty() || name == "cgroup2");
        if let Some(UnifiedFacts { directory, callers }) = unified {
            return match facts.cgroup_namespace && directory.is_some() {
                true => CgroupMount::V2,
                false => CgroupMount::V2Bound(Directories {
                    own: directory.clone(),
                    callers: callers.clone(),
                }),
            };
        }
        let mut own = facts.hierarchies.iter().map(|one| one.directory.is_some());
        CgroupMount::V1 {
            namespaced: facts.cgroup_namespace && facts.certain_cgroups && own.all(|own| own),
            hierarchies: facts
                .hierarchies
                .iter()
                .filter_map(Hierarchy::plan)
                .collect(),
        }
    }

    /// What is to be bound, in the order of the hierarchies.
    pub(super) fn open(&self, setter: Setter) -> nix::Result<Vec<Option<Bound>>> {
        match self {
            CgroupMount::V2
            | CgroupMount::V1 {
                namespaced: true, ..
            } => Ok(Vec::new()),
            CgroupMount::V1 { hierarchies, .. } => {
                let all = hierarchies.iter();
                all.map(|one| one.directories.open(setter)).collect()
            }
            CgroupMount::V2Bound(directories) => Ok(vec![directories.open(setter)?]),
        }
    }

    /// Init: attaches it on `target`. What it returns can become read-only
    /// when everything is in place.
    pub(super) fn apply(
        &self,
        stage: &Stage,
        target: &OwnedFd,
        attributes: Attributes,
        bound: Vec<Option<Bound>>,
    ) -> Result<OwnedFd, Cause> {
        let mut bound = bound.into_iter();
        let hierarchies = match self {
            CgroupMount::V1 { hierarchies, .. } => hierarchies,
            CgroupMount::V2 => {
                let mount = new_file_system(
                    stage.close_batch,
                    c"cgroup2",
                    c"cgroup",
                    &[],
                    &[],
                    attributes.set,
                )?;
                attach(mount.as_fd(), target.as_fd(), true)?;
                return Ok(mount);
            }
            CgroupMount::V2Bound(_) => {
                let bound = bound.next().flatten().ok_or(Errno::ENOENT)?;
                return Ok(bound.attach(stage, target.as_fd(), attributes)?);
            }
        };
        let mode = [Parameter::Value(c"mode".into(), c"755".into())];
        let top = new_file_system(
            stage.close_batch,
            c"tmpfs",
            c"cgroup",
            &[],
            &mode,
            attributes.writable().set,
        )?;
        attach(top.as_fd(), target.as_fd(), true)?;
        for hierarchy in hierarchies {
            match bound.next() {
                Some(None) => {}
                bound => hierarchy.apply(stage, &top, attributes, bound.flatten())?,
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

impl Directories {
    /// `None` where neither is in sight.
    fn open(&self, setter: Setter) -> nix::Result<Option<Bound>> {
        let open = |directory: &PathBuf| match open_tree(directory, OpenTree::Mount) {
            Err(Errno::ENOENT) => Ok(None),
            opened => opened.map(Some),
        };
        let own = self.own.as_ref().map(open).transpose()?.flatten();
        if let Some(tree) = own {
            let callers = false;
            return Ok(Some(Bound { tree, callers }));
        }
        let Some(tree) = open(&self.callers)? else {
            return Ok(None);
        };
        if setter == Setter::Detached {
            setter.set(tree.as_fd(), READONLY, Recursion::One, None)?;
        }
        let callers = true;
        Ok(Some(Bound { tree, callers }))
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
            directories: Directories {
                own: facts.directory.clone(),
                callers: facts.callers.clone(),
            },
        })
    }

    fn apply(
        &self,
        stage: &Stage,
        top: &OwnedFd,
        attributes: Attributes,
        bound: Option<Bound>,
    ) -> Result<(), Cause> {
        let name = self.name.as_c_str();
        mkdirat(top, name, Mode::from_bits_truncate(0o755))?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let place = nix::fcntl::openat(top, name, flags, Mode::empty())?;
        if let Some(bound) = bound {
            stage
                .close_batch
                .add(bound.attach(stage, place.as_fd(), attributes)?);
        } else {
            let mount = new_file_system(
                stage.close_batch,
                c"cgroup",
                name,
                &[],
                &self.options,
                attributes.set,
            )?;
            sys::move_mount(mount.as_fd(), place.as_fd())?;
            stage.close_batch.add(mount);
        }
        stage.close_batch.add(place);
        for link in &self.links {
            match symlinkat(name, top, link.as_c_str()) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

impl Bound {
    pub(super) fn into_fd(self) -> OwnedFd {
        self.tree
    }

    /// Attaches it, private and with its attributes.
    fn attach(
        self,
        stage: &Stage,
        place: BorrowedFd,
        attributes: Attributes,
    ) -> nix::Result<OwnedFd> {
        let tree = self.tree.as_fd();
        let readonly = match self.callers {
            true => READONLY.set,
            false => 0,
        };
        let attributes = Attributes {
            set: attributes.set | readonly,
            clear: attributes.clear & !READONLY.set,
        };
        match stage.setter {
            Setter::Detached => {
                let all = MountAttr {
                    propagation: Propagation::Private.flag(),
                    ..attributes.into()
                };
                sys::mount_setattr(tree, OpenTree::Mount, &all)?;
                attach(tree, place, true)?;
            }
            Setter::Attached => {
                attach(tree, place, true)?;
                let proc = Some(stage.proc);
                let (private, one) = (Propagation::Private, Recursion::One);
                propagate(stage.setter, tree, private, one, proc)?;
                stage.setter.set(tree, attributes, Recursion::One, proc)?;
            }
        }
        Ok(self.tree)
    }
}
