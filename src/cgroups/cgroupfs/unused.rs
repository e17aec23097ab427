//! Refuses a cgroup that existed before and is not free for a container: a process is in it, or
//! it is frozen and the container would never run.

use anyhow::{Context, Result, bail, ensure};

use super::events::has_line;
use super::processes::{listing, pids_below};
use crate::cgroups::directory::Directory;

/// # Errors
/// When the cgroup holds a process or is frozen. The texts are runc's.
pub(super) fn check_unused_v1(cgroup: &Directory) -> Result<()> {
    check_empty(cgroup)?;
    // Only the freezer hierarchy has this file.
    check_not_frozen(
        cgroup
            .read_page("freezer.state")
            .is_ok_and(|state| state != "THAWED"),
    )
}

/// # Errors
/// As [`check_unused_v1`].
pub(super) fn check_unused_v2(cgroup: &Directory) -> Result<()> {
    let path = cgroup.path().display();
    let events = cgroup
        .read_page("cgroup.events")
        .with_context(|| format!("read {path}/cgroup.events"))?;
    if has_line(&events, "populated 1") {
        check_empty(cgroup)?;
    }
    check_not_frozen(has_line(&events, "frozen 1"))
}

fn check_empty(cgroup: &Directory) -> Result<()> {
    let number = pids_below(cgroup.path())
        .with_context(|| listing(cgroup.path()))?
        .len();
    ensure!(
        number == 0,
        "linux.cgroupsPath: container's cgroup is not empty: {number} process(es) found"
    );
    Ok(())
}

fn check_not_frozen(frozen: bool) -> Result<()> {
    if frozen {
        bail!("linux.cgroupsPath: container's cgroup unexpectedly frozen");
    }
    Ok(())
}
