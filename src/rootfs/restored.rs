//! Compares the mounts of a restored process with the plan.

use std::collections::HashSet;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use libc::{MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::Pid;
use procfs::process::{MountInfo, MountInfos};

use super::mask::ListedPath;
use super::options::Attributes;
use super::root::{Links, Root};
use super::{Rootfs, Staged, StagedMount};
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

/// The masked and the read-only paths of config.json that exist, without links.
struct Covered {
    masked: Vec<PathBuf>,
    readonly: Vec<PathBuf>,
}

impl Rootfs {
    /// `may_mount` says whether the container may have mounted something itself: it has CAP_SYS_ADMIN.
    ///
    /// # Errors
    /// When the container's process `pid` sees a file system that config.json does not give it, or
    /// when a mount is not restricted as config.json demands.
    pub(crate) fn compare(
        &self,
        pid: Pid,
        (staged, may_mount): (&Staged, bool),
        proc: &Proc,
    ) -> Result<()> {
        let found = proc.mounts(&pid.to_string()).context("mountinfo")?;
        let of_host = devices_of_host(proc)?;
        for mount in &found {
            let is_given = if may_mount {
                mount.mount_point == Path::new("/")
                    || OF_KERNEL.contains(&mount.fs_type.as_str())
                    || !of_host.contains(&mount.majmin)
                    || staged.mounts.iter().any(|one| one.key == mount.mount_point)
                    || mount.root == "/null"
            } else {
                is_planned(mount, staged, &found) || covers(mount, &of_host, &found)
            };
            ensure!(
                is_given,
                "mounts: the images have a {} on {}, and config.json has none",
                mount.fs_type,
                mount.mount_point.display()
            );
        }
        self.compare_restrictions(staged, &found)?;
        compare_masks(&self.covered(pid, proc)?, &found)
    }

    /// The same for `process`, a path below /proc, that is in another mount namespace than the container's
    /// process `init`.
    ///
    /// # Errors
    /// When it sees a file system of the host that `init` does not see.
    pub(crate) fn compare_other(&self, process: &str, init: Pid, proc: &Proc) -> Result<()> {
        let of_init = proc.mounts(&init.to_string()).context("mountinfo")?;
        let of_host = devices_of_host(proc)?;
        for mount in &proc.mounts(process).context("mountinfo")? {
            let is_part = |one: &MountInfo| {
                one.majmin == mount.majmin && Path::new(&mount.root).starts_with(&one.root)
            };
            ensure!(
                OF_KERNEL.contains(&mount.fs_type.as_str())
                    || !of_host.contains(&mount.majmin)
                    || of_init.iter().any(is_part),
                "mounts: the images have a {} of the host on {} for another process than the container's",
                mount.fs_type,
                mount.mount_point.display()
            );
        }
        Ok(())
    }

    fn compare_restrictions(&self, staged: &Staged, found: &MountInfos) -> Result<()> {
        let root = topmost(found, Path::new("/"));
        ensure!(
            !self.readonly || root.is_some_and(is_readonly),
            "root.readonly: the root of the images is writable"
        );
        for (item, mount) in self.mounts.iter().enumerate() {
            let key = staged.key_of(item).unwrap_or(&mount.target);
            let below = |one: &&MountInfo| one.mount_point.starts_with(key);
            for (attribute, name) in RESTRICTIONS {
                let has_it = |one: &MountInfo| one.mount_options.contains_key(name);
                let is_set = |attributes: &Attributes| attributes.set & attribute != 0;
                let itself = || topmost(found, key).is_none_or(has_it);
                ensure!(
                    (!is_set(&mount.attributes) || itself())
                        && (!is_set(&mount.recursive) || found.iter().filter(below).all(has_it)),
                    "{}: the images have it without {name}",
                    self.mount_field(item)
                );
            }
        }
        Ok(())
    }

    /// Resolves the paths as the process `pid` does.
    fn covered(&self, pid: Pid, proc: &Proc) -> Result<Covered> {
        let root = proc.link(&format!("{pid}/root"), OFlag::O_PATH | OFlag::O_DIRECTORY);
        let root = Root::new(root.context("/proc")?);
        let resolve = |listed: &[ListedPath]| -> Result<Vec<PathBuf>> {
            let mut resolved = Vec::new();
            for ListedPath { path, .. } in listed {
                let target = match root.open(path, OFlag::O_PATH, Links::Follow) {
                    Err(Errno::ENOENT | Errno::ENOTDIR) => continue,
                    target => target.with_context(|| path.display().to_string())?,
                };
                let name = proc.link_text(&format!("self/fd/{}", target.as_raw_fd()));
                resolved.push(name.context("/proc")?.into());
            }
            Ok(resolved)
        };
        Ok(Covered {
            masked: resolve(&self.masks.masked)?,
            readonly: resolve(&self.masks.readonly)?,
        })
    }
}

/// Whether config.json has this mount, of this file system, or `rt` adds it.
fn is_planned(mount: &MountInfo, staged: &Staged, found: &MountInfos) -> bool {
    let path = &mount.mount_point;
    if path == Path::new("/") {
        return mount.majmin == staged.root_device;
    }
    if path == Path::new("/dev/console") {
        return mount.fs_type == "devpts" && is_in(found, mount);
    }
    let is_staged = |one: &StagedMount| one.key == *path && one.device == mount.majmin;
    staged.mounts.iter().any(is_staged)
        || (staged.others.iter()).any(|(key, fs_type)| key == path && *fs_type == mount.fs_type)
}

/// Whether it takes something from the container and gives it nothing: an empty device on a file, memory that the
/// container fills, or a read-only copy of what is there.
fn covers(mount: &MountInfo, of_host: &HashSet<String>, found: &MountInfos) -> bool {
    let copies = |one: &MountInfo| {
        let path = mount.mount_point.strip_prefix(&one.mount_point);
        let is_below = |path| Path::new(&one.root).join(path) == Path::new(&mount.root);
        one.majmin == mount.majmin && one.mnt_id != mount.mnt_id && path.is_ok_and(is_below)
    };
    mount.root == "/null"
        || mount.fs_type == "tmpfs" && !of_host.contains(&mount.majmin)
        || is_readonly(mount) && found.iter().any(copies)
}

fn compare_masks(covered: &Covered, found: &MountInfos) -> Result<()> {
    for path in &covered.masked {
        ensure!(
            topmost(found, path).is_some_and(is_readonly),
            "linux.maskedPaths: the images do not mask {}",
            path.display()
        );
    }
    for path in &covered.readonly {
        ensure!(
            topmost(found, path).is_some_and(is_readonly),
            "linux.readonlyPaths: {} is writable in the images",
            path.display()
        );
    }
    Ok(())
}

/// The devices of the file systems that this process sees, as in mountinfo.
fn devices_of_host(proc: &Proc) -> Result<HashSet<String>> {
    let host = proc.mounts("self").context("mountinfo")?;
    Ok(host.into_iter().map(|mount| mount.majmin).collect())
}

/// The last mount on a path.
fn topmost<'a>(mounts: &'a MountInfos, path: &Path) -> Option<&'a MountInfo> {
    mounts.iter().rfind(|mount| mount.mount_point == path)
}

/// Whether it shows a part of a file system that is mounted elsewhere.
fn is_in(mounts: &MountInfos, part: &MountInfo) -> bool {
    mounts
        .iter()
        .any(|mount| mount.majmin == part.majmin && mount.mount_point != part.mount_point)
}

fn is_readonly(mount: &MountInfo) -> bool {
    mount.mount_options.contains_key("ro")
}
