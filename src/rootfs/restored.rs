//! Compares the mounts of a restored process with the plan.

use std::collections::HashSet;
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use libc::{MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::Pid;
use procfs::process::{MountInfo, MountInfos};

use super::mask::ListedPath;
use super::root::{Links, Root};
use super::{Rootfs, Staged};
use crate::trusted_proc::Proc;

/// File systems of the kernel that show the same to all, or what their namespace has.
const OF_KERNEL: [&str; 5] = ["proc", "sysfs", "mqueue", "cgroup", "cgroup2"];

/// The attributes that take something from the container, with their names in mountinfo.
const RESTRICTIONS: [(u64, &str); 4] = [
    (MOUNT_ATTR_RDONLY, "ro"),
    (MOUNT_ATTR_NOSUID, "nosuid"),
    (MOUNT_ATTR_NODEV, "nodev"),
    (MOUNT_ATTR_NOEXEC, "noexec"),
];

impl Rootfs {
    /// # Errors
    /// When the process `pid` sees a file system of the host that config.json does not give it, or
    /// when a mount is not restricted as config.json demands.
    pub(crate) fn compare(&self, pid: Pid, staged: &Staged, proc: &Proc) -> Result<()> {
        let found = proc.mounts(&pid.to_string()).context("mountinfo")?;
        let host = proc.mounts("self").context("mountinfo")?;
        let of_host: HashSet<&str> = host.iter().map(|mount| mount.majmin.as_str()).collect();
        for mount in &found {
            let is_given = mount.mount_point == Path::new("/")
                || OF_KERNEL.contains(&mount.fs_type.as_str())
                || staged
                    .mounts
                    .iter()
                    .any(|(key, _)| *key == mount.mount_point)
                || self.is_planned_device(mount);
            ensure!(
                is_given || !of_host.contains(mount.majmin.as_str()),
                "mounts: the images have a mount of the host on {}, and config.json has none",
                mount.mount_point.display()
            );
        }
        self.compare_restrictions(&found)?;
        self.compare_masks(pid, &found, proc)
    }

    fn compare_restrictions(&self, found: &MountInfos) -> Result<()> {
        let root = topmost(found, Path::new("/"));
        ensure!(
            !self.readonly || root.is_some_and(is_readonly),
            "root.readonly: the root of the images is writable"
        );
        for (item, mount) in self.mounts.iter().enumerate() {
            let Some(found) = topmost(found, &mount.target) else {
                // The path may have led through a link.
                continue;
            };
            for (attribute, name) in RESTRICTIONS {
                ensure!(
                    mount.attributes.set & attribute == 0 || found.mount_options.contains_key(name),
                    "{}: the images have it without {name}",
                    self.mount_field(item)
                );
            }
        }
        Ok(())
    }

    /// A node of the host's /dev that the container gets, or that covers a masked file.
    fn is_planned_device(&self, mount: &MountInfo) -> bool {
        let covers = |listed: &ListedPath| listed.path == mount.mount_point;
        if mount.root == "/null" && self.masks.masked.iter().any(covers) {
            return true;
        }
        let below_dev = Path::new("/dev").join(mount.root.trim_start_matches('/'));
        let mut planned = self.devices.bind_mounts();
        planned.any(|path| path == mount.mount_point) && below_dev == mount.mount_point
    }

    fn compare_masks(&self, pid: Pid, found: &MountInfos, proc: &Proc) -> Result<()> {
        let root = proc.link(&format!("{pid}/root"), OFlag::O_PATH | OFlag::O_DIRECTORY);
        let root = Root::new(root.context("/proc")?);
        // The mount that a path leads to, if it is the root of one.
        let mount_at = |path: &Path| -> Result<Option<Option<&MountInfo>>> {
            let target = match root.open(path, OFlag::O_PATH, Links::Follow) {
                Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
                target => target.with_context(|| path.display().to_string())?,
            };
            let name = proc.link_text(&format!("self/fd/{}", target.as_raw_fd()));
            let name = name.context("/proc")?;
            Ok(Some(topmost(found, Path::new(&name))))
        };
        for ListedPath { path, .. } in &self.masks.masked {
            let masked = mount_at(path)?.is_none_or(|mount| mount.is_some_and(is_readonly));
            ensure!(
                masked,
                "linux.maskedPaths: the images do not mask {}",
                path.display()
            );
        }
        for ListedPath { path, .. } in &self.masks.readonly {
            let readonly = mount_at(path)?.is_none_or(|mount| mount.is_some_and(is_readonly));
            ensure!(
                readonly,
                "linux.readonlyPaths: {} is writable in the images",
                path.display()
            );
        }
        Ok(())
    }
}

/// The last mount on a path.
fn topmost<'a>(mounts: &'a MountInfos, path: &Path) -> Option<&'a MountInfo> {
    mounts.iter().rfind(|mount| mount.mount_point == path)
}

fn is_readonly(mount: &MountInfo) -> bool {
    mount.mount_options.contains_key("ro")
}
