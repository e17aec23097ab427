//! `rt kill`: a signal to the container's process, or to all of them.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::unistd::Pid;

use super::state::{State, Status};
use super::{Container, existing, missing};
use crate::cgroups::Existing;
use crate::log;
use crate::sys;
use crate::trusted_proc::Proc;

/// Whom a signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// The container's first process.
    First,
    /// All of its processes, also those that are left when the first has ended.
    All,
}

/// Sends `signal` to the process of the container `id` (runtime.md, "Kill"), or
/// to all. SIGKILL reaches all in any case, also where no pid namespace ties
/// them to the first one.
///
/// # Errors
/// When it is neither created nor running, and no others can be left of it that
/// SIGKILL is for; for all processes, when it is being
/// made or there is no cgroup that knows them.
pub(crate) fn kill(root: &Path, id: &str, signal: i32, whom: Whom) -> Result<()> {
    let container = Container::unlocked(root, id)?.ok_or_else(missing)?;
    let state = container.state()?.ok_or_else(missing)?;
    let proc = Proc::open().context("/proc")?;
    let status = container.status(&state, &proc)?;
    match (status, whom) {
        (Status::Created | Status::Running | Status::Paused, _) => {}
        (Status::Stopped, Whom::All) => return survivors(&state).kill(signal),
        // SIGKILL is for all of them, as long as there is a cgroup that knows them.
        (Status::Stopped, Whom::First)
            if signal == libc::SIGKILL && survivors(&state).is_there() =>
        {
            return survivors(&state).kill(signal);
        }
        (Status::Stopped, Whom::First) | (Status::Creating, _) => bail!("container not running"),
    }
    if whom == Whom::All && signal != libc::SIGKILL {
        ensure!(
            !state.cgroup_paths.is_empty(),
            "--all: the container has no cgroup of its own, by which its processes could be found"
        );
        return existing(&state).kill(signal);
    }
    let Some(pidfd) = init(&state, &proc)? else {
        bail!("container not running")
    };
    if signal == libc::SIGKILL {
        return end(&state, pidfd.as_fd());
    }
    match sys::pidfd_send_signal(pidfd.as_fd(), signal) {
        Err(Errno::ESRCH) => bail!("container not running"),
        done => done.with_context(|| format!("signal {signal}")),
    }
}

/// SIGKILL for every process. In a pid namespace of their own the kernel ends
/// them with the first one.
fn end(state: &State, init: BorrowedFd) -> Result<()> {
    if !state.own_pid_namespace {
        if state.cgroup_paths.is_empty() {
            log::warn(
                "only its first process is killed: others have neither a cgroup nor a pid namespace to be found by",
            );
        }
        existing(state).kill(libc::SIGKILL)?;
    }
    end_first(state, init)
}

/// SIGKILL for the first process, which may have ended.
pub(super) fn end_first(state: &State, init: BorrowedFd) -> Result<()> {
    match sys::pidfd_send_signal(init, libc::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => return Err(errno).context("kill"),
    }
    existing(state).let_die()
}

/// The cgroups in which processes may be left when the first one has ended: in
/// a pid namespace of their own there are none, and none without a first one.
pub(super) fn survivors(state: &State) -> Existing {
    // Its maker was killed before it had one: whoever is in a cgroup of that name is another's.
    match state.init_process_pid == 0 || state.own_pid_namespace {
        true => Existing::new(BTreeMap::new(), Vec::new()),
        false => existing(state),
    }
}

/// A descriptor for the container's first process: opened first and compared
/// then, so that it cannot be another process of the same number.
pub(super) fn init(state: &State, proc: &Proc) -> Result<Option<OwnedFd>> {
    match find(state)? {
        Some(pidfd) if state.alive(proc)? => Ok(Some(pidfd)),
        Some(_) | None => Ok(None),
    }
}

/// A descriptor for whatever process has the number of the container's first one.
pub(super) fn find(state: &State) -> Result<Option<OwnedFd>> {
    if state.init_process_pid <= 0 {
        return Ok(None);
    }
    match sys::pidfd_open(Pid::from_raw(state.init_process_pid)) {
        Ok(pidfd) => Ok(Some(pidfd)),
        Err(Errno::ESRCH) => Ok(None),
        Err(errno) => Err(errno).context("pidfd_open"),
    }
}
