//! Compares the restored processes with the bundle, before they run: the images may have come from
//! anywhere, and CRIU does what they say.

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::unistd::Pid;

use crate::cgroups::ExistingCgroups;
use crate::plan::Plan;
use crate::rootfs::Staged;
use crate::trusted_proc::Proc;

/// `init` is the container's process.
///
/// # Errors
/// When a process has, sees or may do more than the bundle allows.
pub(super) fn compare(
    init: Pid,
    (plan, staged): (&Plan, &Staged),
    cgroups: &ExistingCgroups,
    proc: &Proc,
) -> Result<()> {
    plan.namespaces.compare(init, proc)?;
    plan.rootfs.compare(init, staged, proc)?;
    plan.process.compare_label(init, proc)?;
    plan.process.compare(init, proc)?;
    let mounts = |pid: Pid| proc.link_text(&format!("{pid}/ns/mnt"));
    let own = mounts(init).context("/proc")?;
    for pid in cgroups.processes()? {
        // CRIU itself is in another mount namespace.
        match mounts(pid) {
            Ok(other) if other == own => plan.process.compare(pid, proc)?,
            Ok(_) | Err(Errno::ENOENT | Errno::ESRCH) => {}
            Err(errno) => return Err(errno).context("/proc"),
        }
    }
    Ok(())
}
