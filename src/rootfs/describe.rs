//! A failure in words: what a step was about to do to the file system, and where
//! config.json asked for it.

use std::borrow::Cow;

use nix::errno::Errno;

use super::filesystem::FileSystem;
use super::filesystem::needs_of;
use super::kind::Kind;
use super::mount::Mount;
use super::{Entry, Rootfs};
use crate::step::Step;

impl Rootfs {
    /// The place in config.json and the deed, for a position in this plan.
    pub(crate) fn describe(&self, step: Step, item: u16) -> Option<(String, String)> {
        let index = usize::from(item);
        let path = self.path.display();
        let root = |what: String| Some(("root.path".to_owned(), what));
        match step {
            Step::OpenRoot => root(path.to_string()),
            Step::OpenSource => {
                let source = self.mounts.get(index)?.describe_source();
                Some((self.mount_place(index), source))
            }
            Step::MapIds => {
                let target = self.mounts.get(index)?.target.display();
                Some((self.mount_place(index), format!("map the ids of {target}")))
            }
            Step::OpenNull => Some(("linux.maskedPaths".into(), "/dev/null".into())),
            Step::Propagation => root("cut the mount namespace off from the machine's".into()),
            Step::Overlay => Some((
                "annotations: rt.rootfs.overlay".into(),
                format!("overlay on {path}"),
            )),
            Step::Root => root(format!("attach {path}")),
            Step::Pivot => root(format!("enter {path}")),
            Step::MountPoint => {
                let target = self.mounts.get(index)?.target.display();
                Some((self.mount_place(index), format!("mount point {target}")))
            }
            Step::Mount => Some((self.mount_place(index), self.mounts.get(index)?.describe())),
            Step::CopyUp => {
                let target = self.mounts.get(index)?.target.display();
                let what = format!("take over what {target} holds");
                Some((self.mount_place(index), what))
            }
            Step::MountInPlace => {
                let target = self.mounts.get(index)?.target.display();
                Some((self.mount_place(index), format!("find {target} again")))
            }
            Step::Terminal => Some(("process.terminal".into(), "open /dev/pts/ptmx".into())),
            Step::Console => Some(("process.terminal".into(), "bind on /dev/console".into())),
            Step::RootPropagation => Some(("linux.rootfsPropagation".into(), "set it".into())),
            Step::ReadonlyRoot => Some(("root.readonly".into(), "make read-only".into())),
            _ => self
                .devices
                .describe(step, index)
                .or_else(|| self.masks.describe(step, index)),
        }
    }

    /// The same for one parameter of a file system of `mounts`, which the kernel does not take.
    /// Other steps make file systems of `rt`'s own, with parameters that nobody has written.
    pub(crate) fn describe_parameter(
        &self,
        step: Step,
        item: u16,
        place: u16,
    ) -> Option<(String, String)> {
        let index = usize::from(item);
        let mount = self.mounts.get(index)?;
        match (step, &mount.kind) {
            (Step::Mount | Step::OpenSource, Kind::FileSystem(filesystem)) => {
                let parameter = filesystem.parameter(place)?;
                let what = format!("{} with {parameter:?}", mount.describe());
                Some((format!("{}.options", self.mount_place(index)), what))
            }
            _ => None,
        }
    }

    fn mount_place(&self, index: usize) -> String {
        match index < self.configured {
            true => format!("mounts[{index}]"),
            false => "NOTIFY_SOCKET".to_owned(),
        }
    }

    /// What nearly always helps, for a failure of this plan.
    pub(crate) fn hint(&self, step: Step, item: u16, errno: Errno) -> Option<Cow<'static, str>> {
        if (step, errno) == (Step::MountPoint, Errno::EROFS) {
            return Some(self.readonly_above(item));
        }
        let mount = self.mounts.get(usize::from(item));
        let hint = match (step, errno, mount.map(|mount| &mount.kind)) {
            (Step::Mount | Step::OpenSource, Errno::ENODEV, Some(Kind::FileSystem(_))) => {
                Some("is the file system built into this kernel?")
            }
            (Step::Mount, Errno::EPERM, Some(Kind::FileSystem(FileSystem { name, .. })))
                if self.user_namespace =>
            {
                needs_of(name)
            }
            (Step::Mount, Errno::EINVAL, Some(Kind::FileSystem(FileSystem { name, .. })))
                if self.user_namespace && name.as_c_str() == c"devpts" =>
            {
                Some("is the group of gid= mapped in the user namespace?")
            }
            (Step::OpenSource, Errno::EINVAL, Some(Kind::Bind { .. })) if self.user_namespace => {
                Some("with mounts below that are locked in a user namespace, only rbind binds it")
            }
            (Step::OpenSource, Errno::EMFILE | Errno::ETOOMANYREFS | Errno::EAGAIN, _) => {
                Some("more mounts than the hard limit of open files (RLIMIT_NOFILE) has room for")
            }
            (Step::Mount | Step::OpenSource, Errno::E2BIG, Some(Kind::FileSystem(_))) => {
                Some("longer than 4095 bytes together, the most that mount(2) takes")
            }
            (Step::MapIds, Errno::EINVAL, _) => {
                Some("does this kernel map the ids of that file system?")
            }
            (Step::MapIds, Errno::EPERM, _) => {
                Some("a file system can be mapped by root of the user namespace that mounted it")
            }
            (Step::OpenDevice | Step::OpenDefaultDevice, ..) => {
                Some("a user namespace gets the machine's devices, bound, for it can make none")
            }
            (Step::CopyUp, Errno::ENOSPC, _) => Some("is its size too small for the copy?"),
            (Step::Mount, Errno::ENOTDIR, _) => {
                Some("a directory can be mounted on a directory, a file on a file")
            }
            (Step::Overlay, Errno::EINVAL, _) => {
                Some("is the root already an overlay on an overlay? the kernel stacks two")
            }
            (Step::Pivot, Errno::EINVAL, _) if self.entry == Entry::Pivot => {
                Some("is the machine's root an initramfs? --no-pivot may help")
            }
            _ => None,
        };
        hint.map(Cow::Borrowed)
    }

    /// What nobody can make a mount point in: the mount that is there already
    /// where it would be, or the root.
    fn readonly_above(&self, item: u16) -> Cow<'static, str> {
        let item = usize::from(item);
        let earlier = self.mounts.get(..item).unwrap_or_default();
        let target = self.mounts.get(item).map(|mount| &mount.target);
        let holds = |mount: &&Mount| target.is_some_and(|own| own.starts_with(&mount.target));
        let last = (0..)
            .zip(earlier.iter().filter(holds))
            .max_by_key(|(number, mount)| (mount.target.components().count(), *number));
        match last {
            Some((_, mount)) => Cow::Owned(format!(
                "the mount point is missing and the mount on {} is read-only",
                mount.target.display()
            )),
            None => "the mount point is missing and the root file system is read-only".into(),
        }
    }
}
