//! `rt delete --force` of a container whose state cannot be read: an id must not be
//! lost for ever because a disk was full.
//!
//! What can be shown to be the container's is ended: the process and the cgroups
//! that a readable part of its state names, else the cgroups of a container of this
//! id whose configuration names none. Everything else is left alone, and warned of.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, bail, ensure};
use nix::errno::Errno;

use super::directory::Container;
use super::state::State;
use super::{delete, ids};
use crate::cgroups::{CgroupMode, Cgroups, Existing};
use crate::host::Host;
use crate::log;
use crate::trusted_proc::Proc;

/// Frees the id of a container that this process holds the lock of; `why` it has
/// no state.
///
/// # Errors
/// When what is the container's cannot be ended or removed.
pub(super) fn free(container: &Container, why: &Error, proc: &Proc) -> Result<()> {
    log::warn(&format!(
        "{}: what cannot be shown to be the container's is left alone",
        log::sentence(why)
    ));
    let mut state = State::salvage(container.as_fd(), &container.id);
    delete::end(&state, proc)?;
    if state.cgroup_paths.is_empty() {
        let ended = by_name(container, proc).and_then(|cgroups| {
            cgroups.kill(libc::SIGKILL)?;
            cgroups.remove()
        });
        if let Err(error) = ended {
            log::warn(&format!("left behind: {}", log::sentence(&error)));
        }
    } else if state.cgroups_created.is_empty() {
        let named = |path: &&PathBuf| path.ends_with(&container.id);
        let leaves: BTreeSet<_> = state.cgroup_paths.values().filter(named).cloned().collect();
        state.cgroups_created = leaves.into_iter().collect();
    }
    delete::destroy(container, &state)
}

/// The cgroups that a container of this id has unless its configuration names
/// others, if they are there.
///
/// # Errors
/// When they cannot be shown to be its own, and why.
fn by_name(container: &Container, proc: &Proc) -> Result<Existing> {
    let host = Host::probe(proc)?;
    let mut paths = Cgroups::plan(&container.id, None, CgroupMode::ByPrivileges, &host)?.paths();
    paths.retain(|_, path| path.is_dir());
    let leaves: BTreeSet<PathBuf> = paths.values().cloned().collect();
    for path in &leaves {
        let subject = || format!("cgroup {}", path.display());
        refuse_others(container, path).with_context(subject)?;
        refuse_the_machines(path, proc).with_context(subject)?;
    }
    Ok(Existing::new(paths, leaves.into_iter().collect()))
}

/// # Errors
/// When another container is in the cgroup at `path`, or below it.
fn refuse_others(container: &Container, path: &Path) -> Result<()> {
    for id in ids(&container.root)?
        .iter()
        .filter(|id| **id != container.id)
    {
        let Ok(Some(other)) = Container::unlocked(&container.root, id) else {
            continue;
        };
        let Ok(Some(state)) = other.state() else {
            continue;
        };
        let mut theirs = state.cgroup_paths.values();
        ensure!(
            !theirs.any(|theirs| theirs.starts_with(path)),
            "container {id} is in it"
        );
    }
    Ok(())
}

/// A cgroup that others have made for cgroups below it holds no process itself,
/// and the processes of the machine are in its mount namespace.
///
/// # Errors
/// When the processes in the cgroup at `path` are not those of one container.
fn refuse_the_machines(path: &Path, proc: &Proc) -> Result<()> {
    let cgroup = Existing::new(
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
    let (own, first) = (namespace("self")?, namespace("1")?);
    for pid in processes {
        let theirs = namespace(&pid.to_string())?;
        if theirs.is_some() && (theirs == own || theirs == first) {
            bail!("process {pid} is in the mount namespace of the machine");
        }
    }
    Ok(())
}
