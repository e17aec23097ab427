//! The way into a container's cgroups for a process that joins it later.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::existing::Existing;
use crate::cgroups::directory::{Directory, put};
use crate::host::UNIFIED;
use crate::step::{Cause, Progress, Step};
use crate::sys::{self, CloseBatch, MountAttr, OpenTree};

/// Below the container's cgroup, where a process is to be: `--cgroup`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Below(BTreeMap<String, PathBuf>);

/// The cgroups of a container, open for one process to come in.
#[derive(Default)]
pub(crate) struct CgroupJoin {
    /// Version 2: to be born in.
    clone_into: Option<Directory>,
    /// Version 1: the file `tasks` in each tree, with the cgroup's path.
    tasks: Vec<(OwnedFd, PathBuf)>,
}

impl Below {
    /// Reads `[controller[,controller]:]path`, each controller at most once. With
    /// none the path is for all of them, and there is no other.
    ///
    /// # Errors
    /// In runc's words.
    pub(crate) fn parse(all: &[String]) -> Result<Below> {
        let mut below = Below::default();
        for one in all {
            let Some((controllers, path)) = one.split_once(':') else {
                ensure!(
                    all.len() == 1,
                    "invalid --cgroup argument: {one} (missing <controller>: prefix)"
                );
                below.0.insert(String::new(), one.into());
                continue;
            };
            for controller in controllers.split(',') {
                ensure!(
                    !controller.is_empty(),
                    "invalid --cgroup argument: {one} (empty <controller> prefix)"
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

    /// Relative to the container's cgroup; the kernel keeps `..` from leading out.
    fn of(&self, controller: &str) -> PathBuf {
        let path = self.0.get(controller).or_else(|| self.0.get(""));
        let parts = path.map(|path| path.components()).into_iter().flatten();
        let inside =
            parts.filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
        inside.collect()
    }
}

impl Existing {
    /// Opens the container's cgroups, or what is `below` them.
    ///
    /// # Errors
    /// When one is gone, or `below` names none of the container's.
    pub(crate) fn join(&self, below: &Below) -> Result<CgroupJoin> {
        let known = |name: &String| name.is_empty() || self.paths().contains_key(name);
        if let Some(name) = below.0.keys().find(|name| !known(name)) {
            bail!("--cgroup: unknown controller {name}: the container has no cgroup of it");
        }
        ensure!(
            below.0.is_empty() || !self.paths().is_empty(),
            "--cgroup: the container has no cgroup of its own"
        );
        let mut cgroup_join = CgroupJoin::default();
        let mut seen = BTreeSet::new();
        // Who makes cgroups below those of version 1 need not do so in version 2.
        let beside = self.unified().is_none();
        for (controller, path) in self.paths() {
            let relative = below.of(controller);
            if controller == UNIFIED {
                cgroup_join.clone_into = Some(match beside && !relative.as_os_str().is_empty() {
                    true => enter(path, &relative).or_else(|_| enter(path, Path::new("")))?,
                    false => enter(path, &relative)?,
                });
            } else if seen.insert((path, relative.clone())) {
                let file = tasks(path, &relative)?;
                cgroup_join.tasks.push((file, path.join(relative)));
            }
        }
        Ok(cgroup_join)
    }
}

impl Drop for CgroupJoin {
    /// Many descriptors with neighbouring numbers: closed by few calls.
    fn drop(&mut self) {
        let close_batch = CloseBatch::default();
        let tasks = self.tasks.drain(..);
        tasks.for_each(|(file, _)| close_batch.add(file));
    }
}

impl CgroupJoin {
    /// Version 2: the directory to be born in (clone3(2), `CLONE_INTO_CGROUP`).
    pub(crate) fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        self.clone_into.as_ref().map(AsFd::as_fd)
    }

    /// For a process that the container can look into: its directory is a read-only
    /// mount that begins there, so that `..` leads nowhere.
    ///
    /// # Errors
    /// `EPERM` without CAP_SYS_ADMIN.
    pub(crate) fn detach(&mut self) -> Result<()> {
        let Some(directory) = &mut self.clone_into else {
            return Ok(());
        };
        let subject = || directory.path().display().to_string();
        let mount = detached(directory.as_fd()).with_context(subject)?;
        directory.replace(mount);
        Ok(())
    }

    /// What [`CgroupJoin::enter`] needs.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.tasks.iter().map(|(file, _)| file.as_fd())
    }

    /// Version 2: the container has moved its processes further down, and none
    /// may be beside its cgroups with controllers: where its first process is.
    /// `own` is that, as /proc/PID/cgroup names it, from the root of a namespace.
    ///
    /// # Errors
    /// When it is not below the container's cgroup.
    pub(crate) fn follow(&mut self, own: &Path) -> Result<()> {
        let Some(door) = &mut self.clone_into else {
            return Ok(());
        };
        let relative = below(door.path(), own);
        let relative =
            relative.with_context(|| format!("{}: takes no process", door.path().display()))?;
        *door = enter(door.path(), relative)?;
        Ok(())
    }

    /// The process that joins: moves itself into each cgroup of version 1. A
    /// thread that moves itself spares the kernel the lock on all of them
    /// (kernel/cgroup/cgroup.c, `cgroup_procs_write_start`).
    pub(crate) fn enter(&self, at: &Progress) -> Result<(), Cause> {
        for (item, (file, _)) in self.tasks.iter().enumerate() {
            at.at(Step::JoinCgroup, item);
            put(file, "0")?;
        }
        Ok(())
    }

    /// The place and the deed, for a position in [`CgroupJoin::enter`].
    pub(crate) fn describe(&self, step: Step, item: u16) -> Option<(String, String)> {
        let (_, path) = self.tasks.get(usize::from(item))?;
        let place = "linux.cgroupsPath".to_owned();
        let what = format!("write \"0\" to {}/tasks", path.display());
        (step == Step::JoinCgroup).then_some((place, what))
    }
}

/// The part of `own` that is below the cgroup at `path`, which ends as `own` begins.
fn below<'a>(path: &Path, own: &'a Path) -> Option<&'a Path> {
    let mut above = own.ancestors().skip(1);
    let common = above.find(|above| path.ends_with(above.strip_prefix("/").unwrap_or(above)))?;
    own.strip_prefix(common).ok()
}

/// A copy of the directory's mount that begins with it.
fn detached(directory: BorrowedFd) -> nix::Result<OwnedFd> {
    let mount = sys::open_tree(directory, c"", OpenTree::Mount)?;
    let read_only = MountAttr {
        set: libc::MOUNT_ATTR_RDONLY,
        ..MountAttr::default()
    };
    match sys::mount_setattr(mount.as_fd(), OpenTree::Mount, &read_only) {
        // Before Linux 5.12: the limits in it are the container's own.
        Err(Errno::ENOSYS) => {}
        done => done?,
    }
    Ok(mount)
}

/// The path is our own; what is below it may be anybody's.
fn tasks(path: &Path, below: &Path) -> Result<OwnedFd> {
    let opened = if below.as_os_str().is_empty() {
        let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        open(&path.join("tasks"), flags, Mode::empty())
    } else {
        enter(path, below)?.file("tasks", OFlag::O_WRONLY)
    };
    opened.with_context(|| path.join(below).join("tasks").display().to_string())
}

fn enter(path: &Path, below: &Path) -> Result<Directory> {
    let own = Directory::open(path).with_context(|| path.display().to_string())?;
    if below.as_os_str().is_empty() {
        return Ok(own);
    }
    match own.below(below) {
        // In runc's words: it leads out, or through a link.
        Err(Errno::EXDEV | Errno::ELOOP) => {
            bail!("bad sub cgroup path: {}", below.display())
        }
        done => done.with_context(|| format!("--cgroup {}", path.join(below).display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(all: &[&str]) -> Result<Below> {
        let all: Vec<String> = all.iter().map(|one| (*one).to_owned()).collect();
        Below::parse(&all)
    }

    #[test]
    fn a_path_is_for_all_or_for_some() {
        let below = parsed(&["/a/./b/"]).unwrap();
        assert_eq!(below.of("memory"), Path::new("a/b"));
        assert_eq!(below.of(""), Path::new("a/b"));
        let below = parsed(&["cpu,cpuacct:x", "memory:../y"]).unwrap();
        assert_eq!(below.of("cpuacct"), Path::new("x"));
        assert_eq!(below.of("memory"), Path::new("../y"));
        assert_eq!(below.of("pids"), Path::new(""));
        assert_eq!(parsed(&[]).unwrap(), Below::default());
    }

    #[test]
    fn further_down_is_found_by_name() {
        let path = Path::new("/sys/fs/cgroup/x/c1");
        assert_eq!(
            below(path, Path::new("/x/c1/sub/a")),
            Some(Path::new("sub/a"))
        );
        assert_eq!(
            below(Path::new("/c/a"), Path::new("/a/a")),
            Some(Path::new("a"))
        );
    }

    #[test]
    fn faults_are_in_the_words_of_runc() {
        for (all, words) in [
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
            assert_eq!(parsed(all).unwrap_err().to_string(), words);
        }
    }
}
