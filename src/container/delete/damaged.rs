//! `rt delete --force` of a container whose `state.json` cannot be read, for example because
//! the disk was full. Without it the id could never be used again.
//!
//! Only what provably belongs to the container is killed and removed: the process and the
//! cgroups that the readable part of `state.json` names. If it names no cgroup, the default
//! cgroups of a container with this id are used. Everything else is left alone, with a warning.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, bail, ensure};
use nix::errno::Errno;

use crate::cgroups::{CgroupMode, Cgroups, ExistingCgroups};
use crate::container::state::{Container, State, ids};
use crate::container::teardown;
use crate::host::Host;
use crate::log;
use crate::network;
use crate::trusted_proc::Proc;

/// Deletes a container whose lock this process holds. `reason` says why its state cannot be
/// read.
///
/// # Errors
/// When its processes cannot be killed, or its files cannot be removed.
pub(super) fn delete(container: &Container, reason: &Error, proc: &Proc) -> Result<()> {
    log::warn(&format!(
        "{}: only what provably belongs to the container is removed",
        log::format_error(reason)
    ));
    let mut state = State::recover(container.as_fd(), &container.id);
    teardown::kill_and_wait(&state, proc)?;
    if state.cgroup_paths.is_empty() {
        let removed = default_cgroups(container, proc).and_then(|cgroups| {
            cgroups.kill(libc::SIGKILL)?;
            cgroups.remove()
        });
        if let Err(error) = removed {
            log::warn(&format!("left behind: {}", log::format_error(&error)));
        }
    } else if state.cgroups_created.is_empty() {
        let has_id = |path: &&PathBuf| path.ends_with(&container.id);
        let directories: BTreeSet<_> = state
            .cgroup_paths
            .values()
            .filter(has_id)
            .cloned()
            .collect();
        state.cgroups_created = directories.into_iter().collect();
    }
    // Its annotations may be unreadable.
    network::release(container.owner(), None)?;
    teardown::remove(container, &state)
}

/// The cgroups that a container with this id has when its configuration names no path, if
/// they exist.
///
/// # Errors
/// When another container or the host may use them.
fn default_cgroups(container: &Container, proc: &Proc) -> Result<ExistingCgroups> {
    let host = Host::probe(proc)?;
    let mut paths = Cgroups::plan(&container.id, None, CgroupMode::ByPrivileges, &host)?.paths();
    paths.retain(|_, path| path.is_dir());
    let directories: BTreeSet<PathBuf> = paths.values().cloned().collect();
    for path in &directories {
        let subject = || format!("cgroup {}", path.display());
        refuse_other_containers(container, path).with_context(subject)?;
        refuse_host_processes(path, proc).with_context(subject)?;
    }
    Ok(ExistingCgroups::new(
        paths,
        directories.into_iter().collect(),
    ))
}

/// # Errors
/// When another container uses the cgroup at `path`, or one below it.
fn refuse_other_containers(container: &Container, path: &Path) -> Result<()> {
    for id in ids(&container.root)?
        .iter()
        .filter(|id| **id != container.id)
    {
        let Ok(Some(other)) = Container::open(&container.root, id) else {
            continue;
        };
        let Ok(Some(state)) = other.state() else {
            continue;
        };
        let mut paths = state.cgroup_paths.values();
        ensure!(
            !paths.any(|other| other.starts_with(path)),
            "container {id} is in it"
        );
    }
    Ok(())
}

/// A container's processes are in the cgroup itself and in a mount namespace other than the
/// host's. A cgroup that only groups other cgroups holds no process.
///
/// # Errors
/// When the processes in the cgroup at `path` cannot all belong to one container.
fn refuse_host_processes(path: &Path, proc: &Proc) -> Result<()> {
    let cgroup = ExistingCgroups::new(
        BTreeMap::from([(String::new(), path.to_owned())]),
        Vec::new(),
    );
    let processes = cgroup.processes()?;
    if processes.is_empty() {
        return Ok(());
    }
    ensure!(cgroup.has_own()?, "its processes are in cgroups below it");
    let namespace = |process: &str| match proc.link_text(&format!("{process}/ns/mnt")) {
        Ok(name) => Ok(Some(name)),
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EACCES | Errno::EPERM) => Ok(None),
        Err(errno) => Err(errno),
    };
    let (own, of_pid_1) = (namespace("self")?, namespace("1")?);
    for pid in processes {
        let of_process = namespace(&pid.to_string())?;
        if of_process.is_some() && (of_process == own || of_process == of_pid_1) {
            bail!("process {pid} is in the mount namespace of the host");
        }
    }
    Ok(())
}
