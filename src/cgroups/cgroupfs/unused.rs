//! Unused.

use anyhow::{Context, Result, bail, ensure};

use super::events::has_line;
use super::processes::{list_of, pids_below};
use crate::cgroups::directory::Directory;

/// Refuses a cgroup that was there before and in which somebody is, or stands still.
pub(super) fn check_unused_v1(leaf: &Directory) -> Result<()> {
    check_empty(leaf)?;
    // Only one of the trees has this file.
    ensure_running(
        leaf.line("freezer.state")
            .is_ok_and(|state| state != "THAWED"),
    )
}

/// As [`check_unused_v1`].
pub(super) fn check_unused_v2(leaf: &Directory) -> Result<()> {
    let path = leaf.path().display();
    let events = leaf
        .line("cgroup.events")
        .with_context(|| format!("read {path}/cgroup.events"))?;
    if has_line(&events, "populated 1") {
        check_empty(leaf)?;
    }
    ensure_running(has_line(&events, "frozen 1"))
}

fn check_empty(leaf: &Directory) -> Result<()> {
    let number = pids_below(leaf.path())
        .with_context(|| list_of(leaf.path()))?
        .len();
    ensure!(
        number == 0,
        "linux.cgroupsPath: container's cgroup is not empty: {number} process(es) found"
    );
    Ok(())
}

fn ensure_running(frozen: bool) -> Result<()> {
    if frozen {
        bail!("linux.cgroupsPath: container's cgroup unexpectedly frozen");
    }
    Ok(())
}
