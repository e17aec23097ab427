//! `rt ps`: which processes of the machine are a container's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::Pid;
use procfs::FromRead;
use procfs::process::Stat;

use super::{Container, existing, missing};
use crate::trusted_proc::Proc;

/// All processes of the container `id`, ascending, as this process numbers
/// them: those in its cgroups, and below. One without cgroups of its own has
/// its first process, with all others of its pid namespace if that is its own.
///
/// # Errors
/// When there is no such container, or the kernel does not list them.
pub(crate) fn processes(root: &Path, id: &str) -> Result<Vec<Pid>> {
    let container = Container::unlocked(root, id)?.ok_or_else(missing)?;
    let state = container.state()?.ok_or_else(missing)?;
    let proc = Proc::open().context("/proc")?;
    if !state.cgroup_paths.is_empty() {
        return existing(&state).processes();
    }
    if !state.alive(&proc)? {
        return Ok(Vec::new());
    }
    let init = state.init_process_pid;
    if state.own_pid_namespace {
        of_namespace(&proc, init).context("/proc")
    } else {
        Ok(vec![Pid::from_raw(init)])
    }
}

/// The processes of the pid namespace of `init`, and of those that were made in it.
fn of_namespace(proc: &Proc, init: i32) -> nix::Result<Vec<Pid>> {
    let namespace = pid_namespace(proc, init)?;
    let mut found = BTreeSet::from([init]);
    let mut others = BTreeMap::new();
    for pid in numbers(proc)? {
        let own = pid_namespace(proc, pid)?;
        if own.is_some() && own == namespace {
            found.insert(pid);
        } else {
            others.insert(pid, parent(proc, pid)?);
        }
    }
    // The first process of a namespace below was born by one of these, and so on.
    loop {
        let is_child = |parent: &Option<i32>| parent.is_some_and(|pid| found.contains(&pid));
        let children = others.iter().filter(|(_, parent)| is_child(parent));
        let children: Vec<i32> = children.map(|(pid, _)| *pid).collect();
        if children.is_empty() {
            return Ok(found.into_iter().map(Pid::from_raw).collect());
        }
        others.retain(|pid, _| !children.contains(pid));
        found.extend(children);
    }
}

/// The number of every process of the machine.
fn numbers(proc: &Proc) -> nix::Result<Vec<i32>> {
    let directory = proc.file(".", OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    let listed = fs::read_dir(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    let listed =
        listed.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    let names = listed.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.parse().ok()).collect())
}

/// What tells the pid namespace of a process from others; `None` when it is
/// gone, or not ours to ask.
fn pid_namespace(proc: &Proc, pid: i32) -> nix::Result<Option<std::ffi::OsString>> {
    match proc.link_text(&format!("{pid}/ns/pid")) {
        Ok(name) => Ok(Some(name)),
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EACCES) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// `None` when it is gone.
fn parent(proc: &Proc, pid: i32) -> nix::Result<Option<i32>> {
    match proc.read(&format!("{pid}/stat")) {
        Ok(text) => Ok(Stat::from_read(text.as_bytes()).ok().map(|stat| stat.ppid)),
        Err(Errno::ENOENT | Errno::ESRCH) => Ok(None),
        Err(errno) => Err(errno),
    }
}
