//! Refuses mounts that would let an image choose the files that security settings are
//! written to (CVE-2019-16884).

use std::path::Path;

use anyhow::ensure;

use super::filesystem::FileSystem;
use super::kind::Kind;

/// The only mount points allowed below /proc: single files that show a container its limits
/// (lxcfs) or a clock, and that no security setting depends on.
const BELOW_PROC: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// Checks a mount on `target`, an absolute and normalized path in the root.
///
/// # Errors
/// A mount on /proc of any other type than procfs or a bind mount, or below /proc on a path
/// that is not allowed there.
pub(super) fn refuse(target: &Path, kind: &Kind) -> anyhow::Result<()> {
    let path = target.display();
    if target == Path::new("/proc") {
        let is_proc = match kind {
            Kind::FileSystem(FileSystem { fs_type, .. }) => fs_type.as_c_str() == c"proc",
            // The type of a bind mount's source is checked when it is opened.
            Kind::Bind { .. } => true,
            Kind::Cgroup(_) | Kind::Generated(_) | Kind::Remount(_) => false,
        };
        ensure!(
            is_proc,
            "{:?} cannot be mounted because it is not of type proc",
            path.to_string()
        );
    } else if target.starts_with("/proc") {
        ensure!(
            BELOW_PROC
                .iter()
                .any(|allowed| target == Path::new(allowed)),
            "{:?} cannot be mounted because it is inside /proc",
            path.to_string()
        );
    }
    Ok(())
}
