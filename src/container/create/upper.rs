//! Refuses an upper layer that another container writes to.
//!
//! Init asks the kernel about every overlay of the host, but the kernel answers only outside of
//! user namespaces. The states of the containers below the same `--root` always tell.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::sys::stat::stat;

use crate::container::state::{Container, State, Status, ids};
use crate::trusted_proc::Proc;

/// Compares the upper layer in `state`, which this command holds the lock of, with those of all
/// containers that have not ended.
///
/// # Errors
/// When one has the same.
pub(super) fn refuse_shared(container: &Container, state: &State, proc: &Proc) -> Result<()> {
    let Some(upper) = upper_of(state) else {
        return Ok(());
    };
    let identity = |path: &Path| stat(path).map(|stat| (stat.st_dev, stat.st_ino));
    let own = identity(upper).with_context(|| upper.display().to_string())?;
    for id in ids(&container.root)? {
        let Some(other) = Container::open(&container.root, &id)?.filter(|_| id != container.id)
        else {
            continue;
        };
        // A state that cannot be read names no layer.
        let Ok(Some(state)) = other.state() else {
            continue;
        };
        if upper_of(&state).is_none_or(|upper| identity(upper) != Ok(own)) {
            continue;
        }
        let status = other.status(&state, proc)?;
        ensure!(
            status == Status::Stopped,
            "annotations: rt.rootfs.overlay: {}: is the upper layer of the container {id} ({status}); stop it, or name another directory",
            upper.display()
        );
    }
    Ok(())
}

fn upper_of(state: &State) -> Option<&Path> {
    state.layers.as_ref()?.upper.as_deref()
}
