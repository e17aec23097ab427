//! `rt update`: changes the resource limits of a container.

use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::state::{Container, State, Status, no_such_container, not_running};
use crate::bundle::Resources;
use crate::log;
use crate::resctrl;
use crate::trusted_proc::Proc;

/// Changes the limits of the container `id` that `resources` and `resctrl` name. Those of cgroups are not written to
/// `state.json`.
///
/// # Errors
/// When the container is not created, running or paused, or the kernel refuses a limit. All
/// limits are then as before.
pub(crate) fn update(
    root: &Path,
    id: &str,
    resources: &Resources,
    resctrl: Option<&resctrl::Update>,
) -> Result<()> {
    let (container, mut state) = Container::find(root, id)?;
    if resctrl.is_some() {
        // No other command may save the state meanwhile, or take it away.
        ensure!(container.lock()?, no_such_container(root, id));
        state = container
            .state()?
            .ok_or_else(|| no_such_container(root, id))?;
    }
    match container.status(&state, &Proc::open().context("/proc")?)? {
        Status::Created | Status::Running | Status::Paused => {}
        status @ (Status::Creating | Status::Stopped) => return Err(not_running(status)),
    }
    match resctrl {
        None => state.cgroups().update(resources),
        Some(update) => update_all(&container, &mut state, resources, update),
    }
}

fn update_all(
    container: &Container,
    state: &mut State,
    resources: &Resources,
    update: &resctrl::Update,
) -> Result<()> {
    let (before, flag) = (state.clone(), update.flag());
    let groups = state.resctrl.as_mut();
    let groups = groups.with_context(|| format!("{flag}: the container has no linux.intelRdt"))?;
    let previous = groups.update(update)?;
    let save = |state: &State| state.save(container.as_fd());
    let updated = save(state).and_then(|()| {
        let updated = state.cgroups().update(resources);
        updated.inspect_err(|_| {
            if let Err(error) = save(&before) {
                log::warn(&format!("not put back: {}", log::format_error(&error)));
            }
        })
    });
    updated.inspect_err(|_| previous.restore())
}
