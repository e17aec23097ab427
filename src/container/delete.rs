//! `rt delete`: removes what create made, and nothing else.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::state::{State, Status};
use super::{Container, damaged, directory, existing, hooks, kill, missing};
use crate::trusted_proc::Proc;

/// How long a killed process may take to end, in milliseconds: the kernel may
/// have to write out what it wrote.
const PATIENCE: u16 = 10_000;

/// Deletes the container `id` (runtime.md, "Delete"). One that is created and
/// not started is killed first; with `force` a running one too, and a missing
/// one is no error.
///
/// # Errors
/// When it runs, or cannot be removed.
pub(crate) fn delete(root: &Path, id: &str, force: bool) -> Result<()> {
    delete_named(root, id, force)?;
    match force {
        true => directory::sweep(root, id),
        false => Ok(()),
    }
}

fn delete_named(root: &Path, id: &str, force: bool) -> Result<()> {
    let nothing = || if force { Ok(()) } else { Err(missing()) };
    let Some(container) = Container::unlocked(root, id)? else {
        return nothing();
    };
    if container.is_busy() {
        // With a process that may never be done: a hook of its start may hang.
        see_to(&container, force)?;
    }
    if !container.lock()? {
        return nothing();
    }
    let proc = Proc::open().context("/proc")?;
    let state = match container.state() {
        Ok(Some(state)) => state,
        Ok(None) if force => return damaged::free(&container, &anyhow!("no state.json"), &proc),
        Ok(None) => return container.remove(),
        Err(error) if force => return damaged::free(&container, &error, &proc),
        Err(error) => return Err(error),
    };
    let status = container.status(&state, &proc)?;
    match status {
        Status::Running | Status::Paused if !force => {
            bail!(not_stopped(id, status))
        }
        Status::Running | Status::Paused | Status::Created => end(&state, &proc)?,
        // Left of a `create` that was killed.
        Status::Stopped if state.creating => end(&state, &proc)?,
        Status::Stopped | Status::Creating => {}
    }
    destroy(&container, &state)
}

/// Ends the process of a container that somebody else holds, if it may.
fn see_to(container: &Container, force: bool) -> Result<()> {
    let state = match container.state() {
        Ok(Some(state)) => state,
        // It shows again when nobody holds it any more.
        Ok(None) => return Ok(()),
        Err(_) if force => return Ok(()),
        Err(error) => return Err(error),
    };
    let proc = Proc::open().context("/proc")?;
    match container.status(&state, &proc)? {
        status @ (Status::Running | Status::Paused) if !force => {
            bail!(not_stopped(&container.id, status))
        }
        // A `create` that waits for a hook undoes what it has made then.
        _ if force => end(&state, &proc),
        _ => Ok(()),
    }
}

fn not_stopped(id: &str, status: Status) -> String {
    format!("cannot delete container {id} that is not stopped: {status}")
}

/// Deletes a container whose process has ended, unless somebody else has.
pub(super) fn after_run(container: &Container, state: &State) -> Result<()> {
    match container.lock()? {
        true => destroy(container, state),
        false => Ok(()),
    }
}

/// Ends and deletes a container whose hook has failed, unless somebody else has.
pub(super) fn after_failure(container: &Container, state: &State, proc: &Proc) -> Result<()> {
    if !container.lock()? {
        return Ok(());
    }
    end(state, proc)?;
    destroy(container, state)
}

/// Kills the container's process and waits until it has ended.
pub(super) fn end(state: &State, proc: &Proc) -> Result<()> {
    let Some(pidfd) = kill::init(state, proc)? else {
        return Ok(());
    };
    kill::end_first(state, pidfd.as_fd())?;
    wait(pidfd.as_fd())
}

/// A pidfd becomes readable when its process has ended (pidfd_open(2)).
fn wait(pidfd: BorrowedFd) -> Result<()> {
    let mut ended = [PollFd::new(pidfd, PollFlags::POLLIN)];
    loop {
        match poll(&mut ended, PollTimeout::from(PATIENCE)) {
            Ok(0) => bail!(
                "its process was killed and has not ended after {} s",
                PATIENCE / 1000
            ),
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("wait for its process"),
        }
    }
}

/// Removes processes that outlived the first one, cgroups, and the state; then
/// calls the poststop hooks.
pub(super) fn destroy(container: &Container, state: &State) -> Result<()> {
    kill::survivors(state).kill(libc::SIGKILL)?;
    existing(state).remove()?;
    container.remove()?;
    hooks::call_poststop(state)
}
