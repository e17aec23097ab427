//! Hints at what remedies a failed step of the root file system, where that is nearly always
//! the same. The runtime computes them after the failure, from the plan and from a look at the
//! files.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, FUSE_SUPER_MAGIC, NFS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC,
    statfs,
};

use super::filesystem::{FileSystem, user_namespace_requirement};
use super::kind::Kind;
use super::mount::Mount;
use super::remount::Remount;
use super::{Entry, Rootfs};
use crate::annotations::key;
use crate::pathname::{Access, User, View, obstacle_on_host};
use crate::step::{Cause, Failure, Step};

impl Rootfs {
    /// The most likely remedy for a failure of this plan. `root` is the user who makes mount
    /// points.
    pub(crate) fn hint(&self, failure: Failure, root: &User) -> Option<String> {
        let Failure { step, item, cause } = failure;
        let item = usize::from(item);
        let errno = match cause {
            Cause::Errno(errno) | Cause::Parameter(_, errno) => errno,
            Cause::Refused(_) | Cause::Exit(_) | Cause::Signal(_) | Cause::TimedOut(_) => {
                return None;
            }
        };
        let looked_up = match step {
            Step::OpenRoot | Step::Root => obstacle_on_host(&self.path, errno, Access::Search),
            Step::OpenSource => self.source_hint(item, errno),
            Step::Layer | Step::UpperLayer | Step::Overlay => {
                let layers = self.layers.as_ref()?;
                return layers.hint(step, item, errno, (root, self.user_namespace));
            }
            Step::MountPoint => self.mount_point_hint(item, errno, root),
            Step::MapIds if errno == Errno::EINVAL => self.idmap_hint(item),
            _ if errno == Errno::EROFS => {
                let path = self.devices.path(step, item);
                path.map(|path| self.readonly_hint(&path, usize::MAX))
            }
            _ => None,
        };
        looked_up.or_else(|| self.usual_hint(step, item, errno).map(str::to_owned))
    }

    /// A hint that needs no look at any file.
    fn usual_hint(&self, step: Step, item: usize, errno: Errno) -> Option<&'static str> {
        let hint = match (step, errno) {
            (Step::OpenSource, Errno::EMFILE | Errno::ETOOMANYREFS | Errno::EAGAIN) => {
                "too many mounts for the hard limit of open files (RLIMIT_NOFILE)"
            }
            (Step::Mount, Errno::ENOTDIR) => {
                "a directory can be mounted on a directory, a file on a file"
            }
            (Step::Mount | Step::OpenSource, _) => match &self.mounts.get(item)?.kind {
                Kind::Bind { .. } => self.bind_hint(step, errno)?,
                Kind::FileSystem(filesystem) => self.file_system_hint(filesystem, step, errno)?,
                Kind::Remount(_) => Remount::hint(errno)?,
                Kind::Cgroup(_) | Kind::Generated(_) => return None,
            },
            (Step::MapIds, Errno::EPERM) => {
                "only root of the user namespace that mounted a file system can map its ids"
            }
            (Step::OpenDevice | Step::OpenDefaultDevice, _) => {
                "in a user namespace devices cannot be created, so the host's are bind-mounted"
            }
            (Step::Device | Step::DefaultDevice, Errno::EPERM) => {
                "a device node needs CAP_MKNOD in the host's user namespace"
            }
            (Step::CopyUp, Errno::ENOSPC) => "is its size too small for the copy?",
            (Step::Pivot, Errno::EINVAL) if self.entry == Entry::Pivot => {
                "is the host's root an initramfs? --no-pivot may help"
            }
            (Step::Terminal, Errno::ENOENT) if !self.mounts_devpts() => {
                "a terminal needs a mount of type devpts on /dev/pts"
            }
            _ => return None,
        };
        Some(hint)
    }

    fn bind_hint(&self, step: Step, errno: Errno) -> Option<&'static str> {
        Some(match (step, errno) {
            (Step::OpenSource, Errno::EINVAL) if self.user_namespace => {
                "mounts below it are locked in a user namespace; use rbind"
            }
            (Step::OpenSource, Errno::EPERM) if self.user_namespace => {
                "a user namespace keeps nosuid, nodev, noexec and ro of the host's mount"
            }
            (_, Errno::ENOSPC) => "the mount namespace is full, see fs.mount-max",
            _ => return None,
        })
    }

    fn file_system_hint(
        &self,
        filesystem: &FileSystem,
        step: Step,
        errno: Errno,
    ) -> Option<&'static str> {
        let fs_type = filesystem.fs_type.as_c_str();
        Some(match (step, errno) {
            (_, Errno::ENODEV) => "is the file system built into this kernel?",
            (Step::Mount, Errno::EPERM) if self.user_namespace => {
                user_namespace_requirement(fs_type)?
            }
            (Step::Mount, Errno::EINVAL) if self.user_namespace && fs_type == c"devpts" => {
                "is the group of gid= mapped in the user namespace?"
            }
            (_, Errno::EINVAL) => {
                "does this kernel's file system have the option, and take its value?"
            }
            (_, Errno::ENOTBLK) => "the source is not a block device",
            (_, Errno::E2BIG) => "longer than 4095 bytes together, the most that mount(2) takes",
            _ => return None,
        })
    }

    fn mounts_devpts(&self) -> bool {
        let target = Path::new("/dev/pts");
        self.mounts.iter().any(|mount| mount.target == target)
    }

    /// Why the source of a mount cannot be opened.
    fn source_hint(&self, item: usize, errno: Errno) -> Option<String> {
        let mount = self.mounts.get(item)?;
        let Kind::Bind { source, .. } = &mount.kind else {
            return None;
        };
        if self.path_in_root(item).is_some() {
            let is_missing = matches!(errno, Errno::ENOENT | Errno::ENOTDIR);
            let hint = "it is looked up inside the root, where earlier mounts may hide files";
            return is_missing.then(|| hint.to_owned());
        }
        obstacle_on_host(source, errno, Access::Lookup)
            .or_else(|| (errno == Errno::ENOENT).then(|| "create it on the host".to_owned()))
    }

    /// Why a mount point cannot be created.
    fn mount_point_hint(&self, item: usize, errno: Errno, user: &User) -> Option<String> {
        let target = &self.mounts.get(item)?.target;
        if errno == Errno::EROFS {
            return Some(self.readonly_hint(target, item));
        }
        if let Some((index, mount)) = self.cover(target, item) {
            let name = mount.kernel_file_system()?;
            let mount = self.name_of(index, mount);
            return matches!(errno, Errno::EPERM | Errno::EACCES | Errno::ENOENT)
                .then(|| format!("nothing can be created in {name}, which {mount} shows"));
        }
        let root = self.open_path()?;
        let hides = |path: &Path| self.cover(path, item).is_some();
        let view = View::below(root.as_fd(), Some(&hides));
        view.obstacle(target, errno, user, Access::Write)
    }

    /// Which file system cannot map ids.
    fn idmap_hint(&self, item: usize) -> Option<String> {
        let question = "does this kernel map the ids of that file system?";
        let known = match &self.mounts.get(item)?.kind {
            Kind::Bind { source, .. } => idmap_support(source),
            _ => None,
        };
        Some(match known {
            Some(known) => format!("{question} {known}"),
            None => question.to_owned(),
        })
    }

    /// Names the mount among the first `before`, or else the root, that keeps `path` from being
    /// created.
    pub(crate) fn readonly_hint(&self, path: &Path, before: usize) -> String {
        let Some((index, mount)) = self.cover(path, before) else {
            return match &self.layers {
                Some(layers) if !layers.is_writable() => format!(
                    "no layer of the root has it, and there is no upper layer to make it in; make it in a layer, or set {} to \"ephemeral\"",
                    key::OVERLAY
                ),
                _ => format!("{} is on a read-only file system", self.path.display()),
            };
        };
        let name = self.name_of(index, mount);
        match &mount.kind {
            _ if mount.attributes.readonly() => format!("{name} is read-only"),
            Kind::Bind { source, .. } => {
                format!("{name} has a read-only source, {}", source.display())
            }
            _ => format!("{name} is read-only"),
        }
    }

    /// Names the mount that forbids the execution of the file at `path`.
    pub(crate) fn noexec_hint(&self, path: &Path) -> Option<String> {
        let (index, mount) = self.cover(path, usize::MAX)?;
        let name = self.name_of(index, mount);
        (mount.attributes.noexec()).then(|| format!("{name} has the option noexec"))
    }

    /// Whether a mount hides the file at `path` in the root that the host sees.
    pub(crate) fn hides(&self, path: &Path) -> bool {
        self.cover(path, usize::MAX).is_some()
    }

    /// The root as the host sees it, without the container's mounts.
    pub(crate) fn open_path(&self) -> Option<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        open(&self.path, flags, Mode::empty()).ok()
    }

    /// The mount that `path` lies on after the first `before` mounts: the last one above it.
    fn cover(&self, path: &Path, before: usize) -> Option<(usize, &Mount)> {
        let earlier = self.mounts.iter().enumerate().take(before);
        let mut covering = earlier.filter(|(_, mount)| path.starts_with(&mount.target));
        covering.next_back()
    }

    fn name_of(&self, index: usize, mount: &Mount) -> String {
        format!("{} on {}", self.mount_field(index), mount.target.display())
    }
}

impl Mount {
    /// The file system of the kernel that it shows, in which only the kernel creates files.
    fn kernel_file_system(&self) -> Option<&'static str> {
        let names: [(&str, &CStr, &str); 3] = [
            ("procfs", c"proc", "/proc"),
            ("sysfs", c"sysfs", "/sys"),
            ("devpts", c"devpts", "/dev/pts"),
        ];
        let is_shown = |fs_type: &CStr, directory: &str| match &self.kind {
            Kind::FileSystem(filesystem) => filesystem.fs_type.as_c_str() == fs_type,
            Kind::Bind { source, .. } => source.starts_with(directory),
            Kind::Cgroup(_) | Kind::Generated(_) | Kind::Remount(_) => false,
        };
        let mut names = names.into_iter();
        let found = names.find(|(_, fs_type, directory)| is_shown(fs_type, directory));
        found.map(|(name, ..)| name)
    }
}

/// Since when the ids of the file system at `path` can be mapped, where not all kernels can.
fn idmap_support(path: &Path) -> Option<&'static str> {
    Some(match statfs(path).ok()?.filesystem_type() {
        TMPFS_MAGIC => "tmpfs: since Linux 6.3",
        BTRFS_SUPER_MAGIC => "btrfs: since Linux 5.15",
        FUSE_SUPER_MAGIC => "FUSE: since Linux 6.12, if its server allows it",
        OVERLAYFS_SUPER_MAGIC => "overlay: no kernel does, but its layers can be mapped",
        NFS_SUPER_MAGIC => "NFS: no kernel does",
        _ => return None,
    })
}
