//! `rt update`: other limits for a container.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::state::Status;
use super::{Container, existing, missing};
use crate::bundle::Resources;
use crate::trusted_proc::Proc;

/// Changes the limits of the container `id` that `asked` names. Nothing of it
/// is remembered: the cgroups know.
///
/// # Errors
/// When its process has ended, or a limit is refused; all is as before then.
pub(crate) fn update(root: &Path, id: &str, asked: &Resources) -> Result<()> {
    let container = Container::unlocked(root, id)?.ok_or_else(missing)?;
    let state = container.state()?.ok_or_else(missing)?;
    match container.status(&state, &Proc::open().context("/proc")?)? {
        Status::Created | Status::Running | Status::Paused => existing(&state).update(asked),
        Status::Creating | Status::Stopped => bail!("container not running"),
    }
}
