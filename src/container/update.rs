//! `rt update`: changes the resource limits of a container.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::state::{Container, Status, no_such_container};
use crate::bundle::Resources;
use crate::trusted_proc::Proc;

/// ProcessOverrides the limits of the container `id` that `resources` names. They are written to
/// the cgroups only, not to `state.json`.
///
/// # Errors
/// When the container is not created, running or paused, or the kernel refuses a limit. All
/// limits are then as before.
pub(crate) fn update(root: &Path, id: &str, resources: &Resources) -> Result<()> {
    let container = Container::open(root, id)?.ok_or_else(no_such_container)?;
    let state = container.state()?.ok_or_else(no_such_container)?;
    match container.status(&state, &Proc::open().context("/proc")?)? {
        Status::Created | Status::Running | Status::Paused => state.cgroups().update(resources),
        Status::Creating | Status::Stopped => bail!("container not running"),
    }
}
