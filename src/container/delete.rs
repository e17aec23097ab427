//! `rt delete`: removes what `rt create` made, and nothing else.

mod damaged;

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};

use super::state::{Container, State, Status, no_such_container, remove_leftovers};
use super::teardown;
use crate::network::{self, Owner};
use crate::trusted_proc::Proc;

/// Deletes the container `id` (runtime.md, "Delete"). A created container is killed first.
/// With `force`, a running container is killed too, and a missing container is no error.
///
/// # Errors
/// When the container is running, or cannot be removed.
pub(crate) fn delete(root: &Path, id: &str, force: bool) -> Result<()> {
    delete_container(root, id, force)?;
    if force {
        remove_leftovers(root, id)?;
    }
    Ok(())
}

fn delete_container(root: &Path, id: &str, force: bool) -> Result<()> {
    let not_found = || {
        if force {
            // The directory may have been removed by hand.
            network::release(Owner { root, id }, None)
        } else {
            Err(no_such_container(root, id))
        }
    };
    let Some(container) = Container::open(root, id)? else {
        return not_found();
    };
    let is_locked = container.is_locked_by_other();
    if is_locked {
        // The command that holds the lock may hang in a hook. Killing the container's process
        // lets that command finish.
        kill_locked(&container, force)?;
    }
    if !container.lock()? {
        // That command has removed it, as this one was to do.
        return if is_locked { Ok(()) } else { not_found() };
    }
    let proc = Proc::open().context("/proc")?;
    let state = match container.state() {
        Ok(Some(state)) => state,
        Ok(None) if force => {
            return damaged::delete(&container, &anyhow!("no state.json"), &proc);
        }
        Ok(None) => return container.remove(),
        Err(error) if force => return damaged::delete(&container, &error, &proc),
        Err(error) => return Err(error),
    };
    let status = container.status(&state, &proc)?;
    match status {
        Status::Running | Status::Paused if !force => {
            bail!(not_stopped(id, status))
        }
        Status::Running | Status::Paused | Status::Created => {
            teardown::kill_and_wait(&state, &proc)?
        }
        // The `create` command was killed, and its process may be alive.
        Status::Stopped if state.creating => teardown::kill_and_wait(&state, &proc)?,
        Status::Stopped | Status::Creating => {}
    }
    teardown::remove(&container, &state)
}

/// Kills the process of a container whose lock another command holds, if the status and
/// `force` allow it.
fn kill_locked(container: &Container, force: bool) -> Result<()> {
    let state = match container.state() {
        Ok(Some(state)) => state,
        // The state is read again under the lock.
        Ok(None) => return Ok(()),
        Err(_) if force => return Ok(()),
        Err(error) => return Err(error),
    };
    let proc = Proc::open().context("/proc")?;
    match container.status(&state, &proc)? {
        status @ (Status::Running | Status::Paused) if !force => {
            bail!(not_stopped(&container.id, status))
        }
        // A `create` command that waits for a hook then rolls back what it has made.
        _ if force => teardown::kill_and_wait(&state, &proc),
        // The hook may be what calls this.
        Status::Creating => bail!(not_stopped(&container.id, Status::Creating)),
        // `start` may be waiting for a hook.
        Status::Created => teardown::kill_and_wait(&state, &proc),
        Status::Running | Status::Paused | Status::Stopped => Ok(()),
    }
}

fn not_stopped(id: &str, status: Status) -> String {
    format!("cannot delete container {id} that is not stopped: {status} (--force kills it first)")
}

/// Deletes a container after `rt run`, unless another command has deleted it.
pub(super) fn delete_stopped(container: &Container, state: &State) -> Result<()> {
    if container.lock()? {
        teardown::remove(container, state)?;
    }
    Ok(())
}

/// Kills and deletes a container whose start has failed, unless another command has
/// deleted it.
pub(super) fn delete_failed(container: &Container, state: &State, proc: &Proc) -> Result<()> {
    if !container.lock()? {
        return Ok(());
    }
    teardown::kill_and_wait(state, proc)?;
    teardown::remove(container, state)
}
