//! Puts the process of an exec into the cgroups of a container.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::existing::ExistingCgroups;
use crate::cgroups::directory::{Directory, write_whole};
use crate::cgroups::systemd::record::UnitRecord;
use crate::host::UNIFIED;
use crate::step::{Cause, Progress, Step};
use crate::sys::{self, CloseBatch, MountAttr, OpenTree};

/// `--cgroup`: the cgroup below the container's in which a process shall run, by controller.
/// The key `""` is for all controllers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SubCgroups(BTreeMap<String, PathBuf>);

/// The cgroups of a container, open for one process to enter.
#[derive(Default)]
pub(crate) struct CgroupJoin {
    /// v2: the directory to create the process in.
    clone_into: Option<Directory>,
    /// v1: the file `tasks` in each hierarchy, with the path of the cgroup.
    tasks: Vec<(OwnedFd, PathBuf)>,
    /// The unit whose cgroup that is, with the systemd driver.
    unit: Option<UnitRecord>,
}

impl SubCgroups {
    /// Parses arguments of the form `[controller[,controller]:]path`. A controller may occur
    /// once. A path without controllers is for all of them, and must be the only argument.
    ///
    /// # Errors
    /// When an argument has another form. The texts are runc's.
    pub(crate) fn parse(arguments: &[String]) -> Result<SubCgroups> {
        let mut below = SubCgroups::default();
        for argument in arguments {
            let Some((controllers, path)) = argument.split_once(':') else {
                ensure!(
                    arguments.len() == 1,
                    "invalid --cgroup argument: {argument} (missing <controller>: prefix)"
                );
                below.0.insert(String::new(), argument.into());
                continue;
            };
            for controller in controllers.split(',') {
                ensure!(
                    !controller.is_empty(),
                    "invalid --cgroup argument: {argument} (empty <controller> prefix)"
                );
                let earlier = below.0.insert(controller.to_owned(), path.into());
                ensure!(
                    earlier.is_none(),
                    "invalid --cgroup argument(s): controller {controller} specified multiple times"
                );
            }
        }
        Ok(below)
    }

    /// The path for `controller`, relative to the container's cgroup. It may contain `..`; the
    /// kernel refuses a path that leads out when the directory is opened.
    fn path_for(&self, controller: &str) -> PathBuf {
        let path = self.0.get(controller).or_else(|| self.0.get(""));
        let parts = path.map(|path| path.components()).into_iter().flatten();
        let relative =
            parts.filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
        relative.collect()
    }
}

impl ExistingCgroups {
    /// Opens the container's cgroups, or the cgroups that `below` names below them.
    ///
    /// # Errors
    /// When a cgroup is gone, or `below` names a controller or cgroup that the container does
    /// not have.
    pub(crate) fn join(&self, below: &SubCgroups) -> Result<CgroupJoin> {
        let is_known = |name: &String| name.is_empty() || self.paths().contains_key(name);
        if let Some(name) = below.0.keys().find(|name| !is_known(name)) {
            bail!("--cgroup: unknown controller {name}: the container has no cgroup of it");
        }
        ensure!(
            below.0.is_empty() || !self.paths().is_empty(),
            "--cgroup: the container has no cgroup of its own"
        );
        let mut cgroup_join = CgroupJoin::default();
        cgroup_join.unit = self.unit.clone().filter(|_| below.0.is_empty());
        let mut opened = BTreeSet::new();
        let is_hybrid = self.unified().is_none();
        for (controller, path) in self.paths() {
            let relative = below.path_for(controller);
            if controller == UNIFIED {
                let cgroup = open_below(path, &relative);
                // A container that makes cgroups in the v1 hierarchies need not make the same
                // ones in the v2 hierarchy beside them.
                let cgroup = if is_hybrid && !relative.as_os_str().is_empty() {
                    cgroup.or_else(|_| open_below(path, Path::new("")))
                } else {
                    cgroup
                };
                cgroup_join.clone_into = Some(cgroup?);
            } else if opened.insert((path, relative.clone())) {
                let file = open_tasks(path, &relative)?;
                cgroup_join.tasks.push((file, path.join(relative)));
            }
        }
        Ok(cgroup_join)
    }
}

impl Drop for CgroupJoin {
    /// Closes the files together: their descriptors have neighbouring numbers.
    fn drop(&mut self) {
        let close_batch = CloseBatch::default();
        let tasks = self.tasks.drain(..);
        tasks.for_each(|(file, _)| close_batch.add(file));
    }
}

impl CgroupJoin {
    /// The v2 directory to create the process in (clone3(2), `CLONE_INTO_CGROUP`).
    pub(crate) fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        self.clone_into.as_ref().map(AsFd::as_fd)
    }

    /// Takes the unit whose systemd can move the process, for a user whom the kernel does not let
    /// create it in the cgroup. The process is then created in the caller's. `None` when there is no
    /// such unit.
    pub(crate) fn leave_to_systemd(&mut self) -> Option<UnitRecord> {
        let unit = self.unit.take()?;
        self.clone_into = None;
        Some(unit)
    }

    /// Replaces the v2 directory by a read-only mount that has it as its root, so that `..`
    /// leads nowhere. Needed for a process whose descriptors the container can reach.
    ///
    /// # Errors
    /// `EPERM` without CAP_SYS_ADMIN.
    pub(crate) fn detach(&mut self) -> Result<()> {
        let Some(directory) = &mut self.clone_into else {
            return Ok(());
        };
        let subject = || directory.path().display().to_string();
        let mount = read_only_mount(directory.as_fd()).with_context(subject)?;
        directory.replace_fd(mount);
        Ok(())
    }

    /// The descriptors that [`CgroupJoin::enter`] writes to.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.tasks.iter().map(|(file, _)| file.as_fd())
    }

    /// Uses the v2 cgroup of the container's first process instead of the container's own. This
    /// is for a container that has moved its processes into cgroups below and enabled
    /// controllers for these: its own cgroup then takes no process (cgroup-v2.rst, "No Internal
    /// Process Constraint").
    ///
    /// `init_cgroup` is the path from /proc/PID/cgroup, which starts at the root of a cgroup
    /// namespace.
    ///
    /// # Errors
    /// When that cgroup is not below the container's.
    pub(crate) fn follow(&mut self, init_cgroup: &Path) -> Result<()> {
        let Some(cgroup) = &mut self.clone_into else {
            return Ok(());
        };
        let relative = relative_to(cgroup.path(), init_cgroup);
        let relative =
            relative.with_context(|| format!("{}: takes no process", cgroup.path().display()))?;
        *cgroup = open_below(cgroup.path(), relative)?;
        Ok(())
    }

    /// Moves the calling process into each v1 cgroup. It writes to `tasks`, not to
    /// cgroup.procs: a thread that moves only itself does not take the kernel's lock on all
    /// threads (kernel/cgroup/cgroup.c, `cgroup_procs_write_start`).
    pub(crate) fn enter(&self, at: &Progress) -> Result<(), Cause> {
        for (item, (file, _)) in self.tasks.iter().enumerate() {
            at.at(Step::JoinCgroup, item);
            write_whole(file, "0")?;
        }
        Ok(())
    }

    /// The configuration field and the action, for an item of the step in
    /// [`CgroupJoin::enter`].
    pub(crate) fn describe(&self, step: Step, item: u16) -> Option<(String, String)> {
        let (_, path) = self.tasks.get(usize::from(item))?;
        let field = "linux.cgroupsPath".to_owned();
        let action = format!("write \"0\" to {}/tasks", path.display());
        (step == Step::JoinCgroup).then_some((field, action))
    }
}

/// The part of `in_namespace` below the cgroup at `path`. What the two have in common is the end
/// of `path` and the beginning of `in_namespace`, which may start at a namespace's root.
fn relative_to<'a>(path: &Path, in_namespace: &'a Path) -> Option<&'a Path> {
    let mut ancestors = in_namespace.ancestors().skip(1);
    let common =
        ancestors.find(|above| path.ends_with(above.strip_prefix("/").unwrap_or(above)))?;
    in_namespace.strip_prefix(common).ok()
}

/// A read-only copy of the mount that `directory` is on, with `directory` as its root.
fn read_only_mount(directory: BorrowedFd) -> nix::Result<OwnedFd> {
    let mount = sys::open_tree(directory, c"", OpenTree::Mount)?;
    let read_only = MountAttr {
        set: libc::MOUNT_ATTR_RDONLY,
        ..MountAttr::default()
    };
    match sys::mount_setattr(mount.as_fd(), OpenTree::Mount, &read_only) {
        // Linux before 5.12 cannot make the mount read-only. What can be written through it
        // then are the limits of the container itself.
        Err(Errno::ENOSYS) => {}
        done => done?,
    }
    Ok(mount)
}

/// Opens the file `tasks`. `path` is trusted; the container may have made what is at `below`.
fn open_tasks(path: &Path, below: &Path) -> Result<OwnedFd> {
    let opened = if below.as_os_str().is_empty() {
        let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        open(&path.join("tasks"), flags, Mode::empty())
    } else {
        open_below(path, below)?.file("tasks", OFlag::O_WRONLY)
    };
    opened.with_context(|| path.join(below).join("tasks").display().to_string())
}

fn open_below(path: &Path, below: &Path) -> Result<Directory> {
    let cgroup = Directory::open(path).with_context(|| path.display().to_string())?;
    if below.as_os_str().is_empty() {
        return Ok(cgroup);
    }
    match cgroup.below(below) {
        // The path leads out of the container's cgroup, or through a symbolic link. The text
        // is runc's.
        Err(Errno::EXDEV | Errno::ELOOP) => {
            bail!("bad sub cgroup path: {}", below.display())
        }
        opened => opened.with_context(|| format!("--cgroup {}", path.join(below).display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<SubCgroups> {
        let arguments: Vec<String> = arguments.iter().map(|it| (*it).to_owned()).collect();
        SubCgroups::parse(&arguments)
    }

    #[test]
    fn a_path_is_for_all_controllers_or_for_some() {
        let below = parse(&["/a/./b/"]).unwrap();
        assert_eq!(below.path_for("memory"), Path::new("a/b"));
        assert_eq!(below.path_for(""), Path::new("a/b"));
        let below = parse(&["cpu,cpuacct:x", "memory:../y"]).unwrap();
        assert_eq!(below.path_for("cpuacct"), Path::new("x"));
        assert_eq!(below.path_for("memory"), Path::new("../y"));
        assert_eq!(below.path_for("pids"), Path::new(""));
        assert_eq!(parse(&[]).unwrap(), SubCgroups::default());
    }

    #[test]
    fn the_cgroup_of_init_is_found_below_the_containers() {
        let path = Path::new("/sys/fs/cgroup/x/c1");
        assert_eq!(
            relative_to(path, Path::new("/x/c1/sub/a")),
            Some(Path::new("sub/a"))
        );
        assert_eq!(
            relative_to(Path::new("/c/a"), Path::new("/a/a")),
            Some(Path::new("a"))
        );
    }

    #[test]
    fn errors_of_the_cgroup_flag_have_runcs_texts() {
        for (arguments, text) in [
            (
                &["a", "b"] as &[&str],
                "invalid --cgroup argument: a (missing <controller>: prefix)",
            ),
            (
                &[":a"],
                "invalid --cgroup argument: :a (empty <controller> prefix)",
            ),
            (
                &["cpu:a", "cpu:b"],
                "invalid --cgroup argument(s): controller cpu specified multiple times",
            ),
        ] {
            assert_eq!(parse(arguments).unwrap_err().to_string(), text);
        }
    }
}
