//! Changes the attributes and the propagation type of mounts.
//!
//! On Linux 5.12 and later mount_setattr(2) changes a mount while it is still detached. On
//! older kernels mount(2) changes it through its descriptor as soon as it is attached.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::fstatfs;
use nix::sys::statvfs::FsFlags;
use nix::unistd::fchdir;

use super::options::{Attributes, Propagation, Recursion};
use crate::sys::{self, MountAttr, OpenTree};

pub(super) const READONLY: Attributes = Attributes {
    set: libc::MOUNT_ATTR_RDONLY,
    clear: 0,
};

/// The attributes of masks, and of bind-mounted device nodes of the host. Such an inode is shared with the
/// host: the read-only mount keeps the container from changing its mode, owner, times or
/// attributes. The device itself can still be written (mount_setattr(2)).
pub(super) const NODE_ATTRIBUTES: Attributes = Attributes {
    set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC,
    clear: 0,
};

/// When this kernel can change a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setter {
    /// Before it is attached (Linux 5.12).
    Detached,
    /// Only after it is attached.
    Attached,
}

/// The flags of fstatfs(2), of mount_setattr(2) and of mount(2) that mean the same.
const FLAGS: [(FsFlags, u64, MsFlags); 6] = [
    (
        FsFlags::ST_RDONLY,
        libc::MOUNT_ATTR_RDONLY,
        MsFlags::MS_RDONLY,
    ),
    (
        FsFlags::ST_NOSUID,
        libc::MOUNT_ATTR_NOSUID,
        MsFlags::MS_NOSUID,
    ),
    (FsFlags::ST_NODEV, libc::MOUNT_ATTR_NODEV, MsFlags::MS_NODEV),
    (
        FsFlags::ST_NOEXEC,
        libc::MOUNT_ATTR_NOEXEC,
        MsFlags::MS_NOEXEC,
    ),
    (
        FsFlags::ST_NOATIME,
        libc::MOUNT_ATTR_NOATIME,
        MsFlags::MS_NOATIME,
    ),
    (
        FsFlags::ST_NODIRATIME,
        libc::MOUNT_ATTR_NODIRATIME,
        MsFlags::MS_NODIRATIME,
    ),
];

impl Setter {
    /// Sets and clears attributes of one mount or of a whole tree. mount(2) takes no
    /// descriptor, so it is given a path below `proc`, the host's /proc.
    pub(super) fn set(
        self,
        target: BorrowedFd,
        attributes: Attributes,
        recursion: Recursion,
        proc: Option<BorrowedFd>,
    ) -> nix::Result<()> {
        if attributes.is_empty() {
            return Ok(());
        }
        match (self, proc) {
            (Setter::Detached, _) => {
                sys::mount_setattr(target, recursion.into(), &attributes.into())
            }
            (Setter::Attached, Some(proc)) => remount(target, attributes, proc),
            (Setter::Attached, None) => Err(Errno::ENOSYS),
        }
    }

    /// Makes the bind mount of a host's device node private, and sets [`NODE_ATTRIBUTES`].
    pub(super) fn restrict_node(
        self,
        node: BorrowedFd,
        proc: Option<BorrowedFd>,
    ) -> nix::Result<()> {
        let (private, one) = (Propagation::Private, Recursion::MountOnly);
        match self {
            Setter::Detached => {
                let all = MountAttr {
                    propagation: private.flag(),
                    ..NODE_ATTRIBUTES.into()
                };
                sys::mount_setattr(node, OpenTree::Mount, &all)
            }
            Setter::Attached => {
                propagate(self, node, private, one, proc)?;
                self.set(node, NODE_ATTRIBUTES, one, proc)
            }
        }
    }
}

/// Sets the propagation type of one mount or of a whole tree.
pub(super) fn propagate(
    setter: Setter,
    target: BorrowedFd,
    kind: Propagation,
    recursion: Recursion,
    proc: Option<BorrowedFd>,
) -> nix::Result<()> {
    match (setter, proc) {
        (Setter::Detached, _) => sys::mount_setattr(
            target,
            recursion.into(),
            &MountAttr {
                propagation: kind.flag(),
                ..MountAttr::default()
            },
        ),
        (Setter::Attached, Some(proc)) => {
            let recursive = match recursion {
                Recursion::MountOnly => MsFlags::empty(),
                Recursion::Recursive => MsFlags::MS_REC,
            };
            change(
                target,
                MsFlags::from_bits_retain(kind.flag()) | recursive,
                proc,
            )
        }
        (Setter::Attached, None) => Err(Errno::ENOSYS),
    }
}

/// mount(2) replaces all flags of a mount at once, so the current ones are read first.
fn remount(target: BorrowedFd, attributes: Attributes, proc: BorrowedFd) -> nix::Result<()> {
    let now = fstatfs(target)?.flags();
    let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    for (held, attribute, flag) in FLAGS {
        let kept = now.contains(held) && attributes.clear & attribute == 0;
        if kept || attributes.set & attribute != 0 {
            flags |= flag;
        }
    }
    if attributes.set & libc::MOUNT_ATTR_STRICTATIME != 0 {
        flags |= MsFlags::MS_STRICTATIME;
    }
    change(target, flags, proc)
}

/// The flags of mount(2) for a new mount with these `MOUNT_ATTR_*`.
pub(super) fn mount_flags(set: u64) -> MsFlags {
    let known = FLAGS
        .iter()
        .filter(|(_, attribute, _)| set & attribute != 0);
    let mut flags = known.fold(MsFlags::empty(), |flags, (.., flag)| flags | *flag);
    if set & libc::MOUNT_ATTR_STRICTATIME != 0 {
        flags |= MsFlags::MS_STRICTATIME;
    }
    if set & libc::MOUNT_ATTR_NOSYMFOLLOW != 0 {
        flags |= MsFlags::from_bits_retain(libc::MS_NOSYMFOLLOW);
    }
    flags
}

/// Calls mount(2) on the mount that a descriptor refers to. The path goes through the
/// host's /proc, so it does not depend on the container's files.
fn change(target: BorrowedFd, flags: MsFlags, proc: BorrowedFd) -> nix::Result<()> {
    fchdir(proc)?;
    let path = format!("self/fd/{}", target.as_raw_fd());
    mount(
        None::<&str>,
        path.as_str(),
        None::<&str>,
        flags,
        None::<&str>,
    )
}
