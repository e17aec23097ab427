//! `rt update`: changes the resource limits of a container.

use std::path::Path;

use anyhow::{Context, Result};

use super::state::{Container, Status, not_running};
use crate::bundle::Resources;
use crate::trusted_proc::Proc;

/// Changes the limits of the container `id` that `resources` names. They are written to
/// the cgroups only, not to `state.json`.
///
/// # Errors
/// When the container is not created, running or paused, or the kernel refuses a limit. All
/// limits are then as before.
pub(crate) fn update(root: &Path, id: &str, resources: &Resources) -> Result<()> {
    let (container, state) = Container::find(root, id)?;
    match container.status(&state, &Proc::open().context("/proc")?)? {
        Status::Created | Status::Running | Status::Paused => state.cgroups().update(resources),
        status @ (Status::Creating | Status::Stopped) => Err(not_running(status)),
    }
}
