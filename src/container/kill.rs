//! `rt kill`: a signal to the container's process.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::unistd::Pid;

use super::state::{State, Status};
use super::{Container, existing, missing};
use crate::sys;
use crate::trusted_proc::Proc;

/// Sends `signal` to the process of the container `id` (runtime.md, "Kill").
/// SIGKILL reaches all of its processes, also where no pid namespace ties them
/// to the first one.
///
/// # Errors
/// When it is neither created nor running.
pub(crate) fn kill(root: &Path, id: &str, signal: i32) -> Result<()> {
    let container = Container::unlocked(root, id)?.ok_or_else(missing)?;
    let state = container.state()?.ok_or_else(missing)?;
    let proc = Proc::open().context("/proc")?;
    let status = container.status(&state, &proc)?;
    if matches!(status, Status::Stopped | Status::Creating) {
        bail!("container not running");
    }
    let Some(pidfd) = init(&state, &proc)? else {
        bail!("container not running")
    };
    if signal == libc::SIGKILL && !state.own_pid_namespace {
        existing(&state).kill(signal)?;
    }
    match sys::pidfd_send_signal(pidfd.as_fd(), signal) {
        // Of the signal to all.
        Err(Errno::ESRCH) if signal == libc::SIGKILL && !state.own_pid_namespace => {}
        Err(Errno::ESRCH) => bail!("container not running"),
        done => done.with_context(|| format!("signal {signal}"))?,
    }
    if signal == libc::SIGKILL && status == Status::Paused {
        // Who is frozen by version 1 does not even die.
        existing(&state).freeze(false)?;
    }
    Ok(())
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
