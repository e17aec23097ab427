//! Describes a failed step of the layers, and what remedies it.

use std::path::Path;

use nix::errno::Errno;
use nix::sys::statfs::{FsType, MSDOS_SUPER_MAGIC, NFS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, statfs};

use super::{EPHEMERAL, Layers, Upper};
use crate::annotations::key;
use crate::pathname::{Access, User, obstacle, obstacle_on_host};
use crate::step::Step;

impl Layers {
    /// The field in config.json and the operation. `item` is the index of a lower layer.
    pub(in crate::rootfs) fn describe(&self, step: Step, item: usize) -> Option<(String, String)> {
        let (root, above) = self.lower.split_last()?;
        let (key, operation) = match step {
            Step::Layer => (key::LOWER, above.get(item)?.display().to_string()),
            Step::UpperLayer => {
                let directory = self.directory().unwrap_or(Path::new(EPHEMERAL));
                (key::OVERLAY, directory.display().to_string())
            }
            Step::Overlay => {
                let key = match self.upper {
                    Upper::None => key::LOWER,
                    Upper::Memory(_) | Upper::Directory(_) => key::OVERLAY,
                };
                (key, format!("overlay on {}", root.display()))
            }
            _ => return None,
        };
        Some((format!("annotations: {key}"), operation))
    }

    /// What remedies an errno. `root` is the user who mounts the overlay, in
    /// a user namespace or not.
    pub(in crate::rootfs) fn hint(
        &self,
        step: Step,
        item: usize,
        errno: Errno,
        (root, user_namespace): (&User, bool),
    ) -> Option<String> {
        match (step, errno) {
            (Step::Layer, Errno::EACCES) => {
                let path = self.lower.get(item)?;
                obstacle_on_host(path, errno, Access::Search)
                    .or_else(|| obstacle(path, errno, root, Access::Read))
            }
            (Step::Layer, _) => obstacle_on_host(self.lower.get(item)?, errno, Access::Search),
            (Step::UpperLayer, _) => obstacle_on_host(self.directory()?, errno, Access::Search),
            (Step::Overlay, Errno::EINVAL) => Some(self.unsuitable()),
            (Step::Overlay, Errno::E2BIG) => {
                Some("before Linux 6.7 there is room for about 200 layers".to_owned())
            }
            (Step::Overlay, Errno::ENODEV) => Some("is overlay built into this kernel?".to_owned()),
            (Step::Overlay, Errno::ELOOP) => Some(
                "a layer lies in another one, or is mounted from the same directory".to_owned(),
            ),
            (Step::Overlay, Errno::EPERM) if user_namespace => {
                Some("overlay in a user namespace needs Linux 5.11 or later".to_owned())
            }
            _ => None,
        }
    }

    /// Which layer the kernel does not accept, as far as its file system tells.
    fn unsuitable(&self) -> String {
        let nested = "is the root already an overlay on an overlay? the kernel stacks two";
        match self.directory() {
            Some(upper) => unsuitable_upper(upper).unwrap_or_else(|| nested.to_owned()),
            None => nested.to_owned(),
        }
    }
}

/// Why a directory cannot hold an upper layer, if its file system is known for that.
pub(super) fn unsuitable_upper(path: &Path) -> Option<String> {
    const UNSUITABLE: [(FsType, &str); 3] = [
        (OVERLAYFS_SUPER_MAGIC, "an overlay itself"),
        (MSDOS_SUPER_MAGIC, "on vfat"),
        (NFS_SUPER_MAGIC, "on NFS"),
    ];
    let found = statfs(path).ok()?.filesystem_type();
    let (_, name) = UNSUITABLE.iter().find(|(magic, _)| *magic == found)?;
    Some(format!(
        "it is {name}, which cannot hold an upper layer; name a directory on ext4, xfs, btrfs or a tmpfs"
    ))
}
