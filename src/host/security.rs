//! The security modules of the kernel.

use std::fs;

use anyhow::{Context, Result};
use nix::sys::statfs::{FsType, statfs};
use nix::sys::statvfs::FsFlags;

/// Whether AppArmor is enabled in the kernel (apparmor(7)).
pub(crate) fn enforces_apparmor() -> bool {
    fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text == b"Y\n")
}

/// Whether SELinux is enabled: its file system is mounted and may be written to, and a policy is
/// loaded. In a container it is read-only or not there (is_selinux_enabled(3)).
pub(crate) fn uses_selinux() -> bool {
    let mounted = statfs("/sys/fs/selinux").is_ok_and(|selinuxfs| {
        selinuxfs.filesystem_type() == FsType(libc::SELINUX_MAGIC)
            && !selinuxfs.flags().contains(FsFlags::ST_RDONLY)
    });
    // Before a policy is loaded every process has this label.
    mounted && fs::read("/proc/self/attr/current").is_ok_and(|label| label != b"kernel\0")
}

/// Whether SELinux is in enforcing mode. Its file system is mounted only where it is enabled.
pub(crate) fn enforces_selinux() -> bool {
    fs::read("/sys/fs/selinux/enforce").is_ok_and(|text| text == b"1")
}

/// The names of the active modules.
///
/// # Errors
/// When securityfs is not mounted, as in most containers.
pub(crate) fn security_modules() -> Result<Vec<String>> {
    let path = "/sys/kernel/security/lsm";
    let names = fs::read_to_string(path).context(path)?;
    Ok(names.trim().split(',').map(str::to_owned).collect())
}
