//! `rt ps`: the pids of a container's processes.

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

use super::state::Container;
use crate::trusted_proc::Proc;

/// The pids of all processes of the container `id`, in ascending order, in the caller's pid
/// namespace. These are the processes in its cgroups and in cgroups below. Without a cgroup of
/// its own, they are the processes of its own pid namespace, or else init alone.
///
/// # Errors
/// When there is no such container, or its cgroups or /proc cannot be read.
pub(crate) fn processes(root: &Path, id: &str) -> Result<Vec<Pid>> {
    let (_, state) = Container::find(root, id)?;
    let proc = Proc::open().context("/proc")?;
    if !state.cgroup_paths.is_empty() {
        return state.cgroups().processes();
    }
    if !state.is_alive(&proc)? {
        return Ok(Vec::new());
    }
    let init = state.init_process_pid;
    if state.own_pid_namespace {
        in_namespace_of(&proc, init).context("/proc")
    } else {
        Ok(vec![Pid::from_raw(init)])
    }
}

/// The processes in the pid namespace of `init`, and in the namespaces nested in it.
fn in_namespace_of(proc: &Proc, init: i32) -> nix::Result<Vec<Pid>> {
    let namespace = pid_namespace(proc, init)?;
    let mut found = BTreeSet::from([init]);
    // Each process outside of the namespace, with its parent.
    let mut outside = BTreeMap::new();
    for pid in all_pids(proc)? {
        let own = pid_namespace(proc, pid)?;
        if own.is_some() && own == namespace {
            found.insert(pid);
        } else {
            outside.insert(pid, parent(proc, pid)?);
        }
    }
    // PID 1 of a nested namespace has a parent in the namespace around it.
    loop {
        let is_child = |parent: &Option<i32>| parent.is_some_and(|pid| found.contains(&pid));
        let children = outside.iter().filter(|(_, parent)| is_child(parent));
        let children: Vec<i32> = children.map(|(pid, _)| *pid).collect();
        if children.is_empty() {
            return Ok(found.into_iter().map(Pid::from_raw).collect());
        }
        outside.retain(|pid, _| !children.contains(pid));
        found.extend(children);
    }
}

/// The pids of all processes that /proc shows.
fn all_pids(proc: &Proc) -> nix::Result<Vec<i32>> {
    let directory = proc.file(".", OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    let listed = fs::read_dir(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    let listed =
        listed.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    let names = listed.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.parse().ok()).collect())
}

/// The name of a process's pid namespace, such as `pid:[4026531836]`. `None` when the process
/// has ended, or this user may not read the link.
fn pid_namespace(proc: &Proc, pid: i32) -> nix::Result<Option<std::ffi::OsString>> {
    match proc.link_text(&format!("{pid}/ns/pid")) {
        Ok(name) => Ok(Some(name)),
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EACCES) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// `None` when the process has ended.
fn parent(proc: &Proc, pid: i32) -> nix::Result<Option<i32>> {
    match proc.read_record(&format!("{pid}/stat")) {
        Ok(text) => Ok(Stat::from_read(text.as_bytes()).ok().map(|stat| stat.ppid)),
        Err(Errno::ENOENT | Errno::ESRCH) => Ok(None),
        Err(errno) => Err(errno),
    }
}
