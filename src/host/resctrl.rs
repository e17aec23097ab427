//! Where the host has its resctrl file system.

use std::path::PathBuf;

use anyhow::{Context, Result};
use procfs::process::MountInfo;

use crate::trusted_proc::Proc;

/// The mount points of the whole resctrl file system in the mount namespace of the runtime. All show the same groups.
///
/// # Errors
/// When /proc/self/mountinfo cannot be read.
pub(crate) fn resctrl_mounts(proc: &Proc) -> Result<Vec<PathBuf>> {
    let is_whole = |mount: &MountInfo| mount.fs_type == "resctrl" && mount.root == "/";
    let found = proc
        .mounts("self")
        .context("/proc/self/mountinfo")?
        .into_iter()
        .filter(is_whole);
    Ok(found.map(|mount| mount.mount_point).collect())
}
