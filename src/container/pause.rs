//! `rt pause` and `rt resume`: freezes and thaws all processes of a container.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::state::{Container, State, Status, not_running};
use crate::trusted_proc::Proc;

/// Freezes all processes of the container `id`, and returns when they are frozen.
///
/// # Errors
/// When the container is neither created nor running, or has no cgroup to freeze.
pub(crate) fn pause(root: &Path, id: &str) -> Result<()> {
    match read(root, id)? {
        (state, Status::Created | Status::Running) => state.cgroups().pause(),
        (_, Status::Paused) => bail!("container not running: already paused"),
        (_, status @ (Status::Creating | Status::Stopped)) => Err(not_running(status)),
    }
}

/// Thaws the processes of the container `id`.
///
/// # Errors
/// When the container is not paused.
pub(crate) fn resume(root: &Path, id: &str) -> Result<()> {
    let (state, status) = read(root, id)?;
    ensure!(status == Status::Paused, "container not paused: {status}");
    state.cgroups().resume()
}

fn read(root: &Path, id: &str) -> Result<(State, Status)> {
    let (container, state) = Container::find(root, id)?;
    let status = container.status(&state, &Proc::open().context("/proc")?)?;
    Ok((state, status))
}
