//! `rt pause` and `rt resume`: freezes and thaws all processes of a container.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::state::{Container, State, Status, no_such_container};
use crate::trusted_proc::Proc;

/// Freezes all processes of the container `id`, and returns when they are frozen.
///
/// # Errors
/// When the container is neither created nor running, or has no cgroup to freeze.
pub(crate) fn pause(root: &Path, id: &str) -> Result<()> {
    match read(root, id)? {
        (state, Status::Created | Status::Running) => state.cgroups().pause(),
        (_, Status::Creating | Status::Paused | Status::Stopped) => {
            bail!("container not running")
        }
    }
}

/// Thaws the processes of the container `id`.
///
/// # Errors
/// When the container is not paused.
pub(crate) fn resume(root: &Path, id: &str) -> Result<()> {
    let (state, status) = read(root, id)?;
    ensure!(status == Status::Paused, "container not paused");
    state.cgroups().resume()
}

fn read(root: &Path, id: &str) -> Result<(State, Status)> {
    let container = Container::open(root, id)?.ok_or_else(no_such_container)?;
    let state = container.state()?.ok_or_else(no_such_container)?;
    let status = container.status(&state, &Proc::open().context("/proc")?)?;
    Ok((state, status))
}
