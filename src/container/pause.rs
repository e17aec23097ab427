//! `rt pause` and `rt resume`: all processes of a container stand still, and go on.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::state::{State, Status};
use super::{Container, existing, missing};
use crate::trusted_proc::Proc;

/// Holds all processes of the container `id` still, and returns when they are.
///
/// # Errors
/// When it is neither created nor running, or has no cgroup to freeze.
pub(crate) fn pause(root: &Path, id: &str) -> Result<()> {
    match find(root, id)? {
        (state, Status::Created | Status::Running) => existing(&state).pause(),
        (_, Status::Creating | Status::Paused | Status::Stopped) => {
            bail!("container not running")
        }
    }
}

/// Lets the processes of the container `id` go on.
///
/// # Errors
/// When it is not paused.
pub(crate) fn resume(root: &Path, id: &str) -> Result<()> {
    let (state, status) = find(root, id)?;
    ensure!(status == Status::Paused, "container not paused");
    existing(&state).resume()
}

fn find(root: &Path, id: &str) -> Result<(State, Status)> {
    let container = Container::unlocked(root, id)?.ok_or_else(missing)?;
    let state = container.state()?.ok_or_else(missing)?;
    let status = container.status(&state, &Proc::open().context("/proc")?)?;
    Ok((state, status))
}
