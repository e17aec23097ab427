//! Describes a failed step: the field in config.json that asked for it, and the operation.

use std::borrow::Cow;

use nix::errno::Errno;

use super::filesystem::FileSystem;
use super::filesystem::user_namespace_requirement;
use super::kind::Kind;
use super::mount::Mount;
use super::{Entry, Rootfs};
use crate::step::Step;

impl Rootfs {
    /// The field in config.json and the operation, for a position in this plan.
    pub(crate) fn describe(&self, step: Step, item: u16) -> Option<(String, String)> {
        let index = usize::from(item);
        let path = self.path.display();
        let root = |operation: String| Some(("root.path".to_owned(), operation));
        match step {
            Step::OpenRoot => root(path.to_string()),
            Step::OpenSource => {
                let source = self.mounts.get(index)?.describe_source();
                Some((self.mount_field(index), source))
            }
            Step::MapIds => {
                let target = self.mounts.get(index)?.target.display();
                Some((self.mount_field(index), format!("map the ids of {target}")))
            }
            Step::OpenNull => Some(("linux.maskedPaths".into(), "/dev/null".into())),
            Step::Propagation => root("make all mounts private".into()),
            Step::Overlay => Some((
                "annotations: rt.rootfs.overlay".into(),
                format!("overlay on {path}"),
            )),
            Step::Root => root(format!("attach {path}")),
            Step::Pivot => root(format!("enter {path}")),
            Step::MountPoint => {
                let target = self.mounts.get(index)?.target.display();
                Some((self.mount_field(index), format!("mount point {target}")))
            }
            Step::Mount => Some((self.mount_field(index), self.mounts.get(index)?.describe())),
            Step::CopyUp => {
                let target = self.mounts.get(index)?.target.display();
                let operation = format!("copy the content of {target}");
                Some((self.mount_field(index), operation))
            }
            Step::MountInPlace => {
                let target = self.mounts.get(index)?.target.display();
                Some((
                    self.mount_field(index),
                    format!("check the mount on {target}"),
                ))
            }
            Step::Terminal => Some(("process.terminal".into(), "open /dev/pts/ptmx".into())),
            Step::Console => Some(("process.terminal".into(), "bind on /dev/console".into())),
            Step::RootPropagation => Some((
                "linux.rootfsPropagation".into(),
                "set the propagation".into(),
            )),
            Step::ReadonlyRoot => Some(("root.readonly".into(), "make read-only".into())),
            _ => self
                .devices
                .describe(step, index)
                .or_else(|| self.masks.describe(step, index)),
        }
    }

    /// The same for a single mount option that the kernel refused. Steps other than `Mount`
    /// and `OpenSource` make only file systems of `rt`'s own, with fixed options.
    pub(crate) fn describe_parameter(
        &self,
        step: Step,
        item: u16,
        position: u16,
    ) -> Option<(String, String)> {
        let index = usize::from(item);
        let mount = self.mounts.get(index)?;
        match (step, &mount.kind) {
            (Step::Mount | Step::OpenSource, Kind::FileSystem(filesystem)) => {
                let parameter = filesystem.parameter(position)?;
                let operation = format!("{} with {parameter:?}", mount.describe());
                Some((format!("{}.options", self.mount_field(index)), operation))
            }
            _ => None,
        }
    }

    pub(super) fn mount_field(&self, index: usize) -> String {
        if index < self.configured_mounts {
            format!("mounts[{index}]")
        } else {
            "NOTIFY_SOCKET".to_owned()
        }
    }

    /// The most likely remedy for a failure of this plan.
    pub(crate) fn hint(&self, step: Step, item: u16, errno: Errno) -> Option<Cow<'static, str>> {
        if (step, errno) == (Step::MountPoint, Errno::EROFS) {
            return Some(self.readonly_parent_hint(item));
        }
        let mount = self.mounts.get(usize::from(item));
        let hint = match (step, errno, mount.map(|mount| &mount.kind)) {
            (Step::Mount | Step::OpenSource, Errno::ENODEV, Some(Kind::FileSystem(_))) => {
                Some("is the file system built into this kernel?")
            }
            (Step::Mount, Errno::EPERM, Some(Kind::FileSystem(FileSystem { fs_type, .. })))
                if self.user_namespace =>
            {
                user_namespace_requirement(fs_type)
            }
            (Step::Mount, Errno::EINVAL, Some(Kind::FileSystem(FileSystem { fs_type, .. })))
                if self.user_namespace && fs_type.as_c_str() == c"devpts" =>
            {
                Some("is the group of gid= mapped in the user namespace?")
            }
            (Step::OpenSource, Errno::EINVAL, Some(Kind::Bind { .. })) if self.user_namespace => {
                Some("mounts below it are locked in a user namespace; use rbind")
            }
            (Step::OpenSource, Errno::EMFILE | Errno::ETOOMANYREFS | Errno::EAGAIN, _) => {
                Some("too many mounts for the hard limit of open files (RLIMIT_NOFILE)")
            }
            (Step::Mount | Step::OpenSource, Errno::E2BIG, Some(Kind::FileSystem(_))) => {
                Some("longer than 4095 bytes together, the most that mount(2) takes")
            }
            (Step::MapIds, Errno::EINVAL, _) => {
                Some("does this kernel map the ids of that file system?")
            }
            (Step::MapIds, Errno::EPERM, _) => {
                Some("only root of the user namespace that mounted a file system can map its ids")
            }
            (Step::OpenDevice | Step::OpenDefaultDevice, ..) => Some(
                "in a user namespace devices cannot be created, so the host's are bind-mounted",
            ),
            (Step::CopyUp, Errno::ENOSPC, _) => Some("is its size too small for the copy?"),
            (Step::Mount, Errno::ENOTDIR, _) => {
                Some("a directory can be mounted on a directory, a file on a file")
            }
            (Step::Overlay, Errno::EINVAL, _) => {
                Some("is the root already an overlay on an overlay? the kernel stacks two")
            }
            (Step::Pivot, Errno::EINVAL, _) if self.entry == Entry::Pivot => {
                Some("is the host's root an initramfs? --no-pivot may help")
            }
            _ => None,
        };
        hint.map(Cow::Borrowed)
    }

    /// Names the read-only mount, or the root, in which the mount point cannot be created.
    fn readonly_parent_hint(&self, item: u16) -> Cow<'static, str> {
        let item = usize::from(item);
        let earlier = self.mounts.get(..item).unwrap_or_default();
        let target = self.mounts.get(item).map(|mount| &mount.target);
        let contains_target =
            |mount: &&Mount| target.is_some_and(|own| own.starts_with(&mount.target));
        let parent = (0..)
            .zip(earlier.iter().filter(contains_target))
            .max_by_key(|(number, mount)| (mount.target.components().count(), *number));
        match parent {
            Some((_, mount)) => Cow::Owned(format!(
                "the mount point is missing and the mount on {} is read-only",
                mount.target.display()
            )),
            None => "the mount point is missing and the root file system is read-only".into(),
        }
    }
}
