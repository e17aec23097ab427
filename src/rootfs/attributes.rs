//! Changing a mount: mount_setattr(2) while it is still detached, or, on a
//! kernel before 5.12, mount(2) on its descriptor as soon as it is attached.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::fstatfs;
use nix::sys::statvfs::FsFlags;
use nix::unistd::fchdir;

use super::options::{Attributes, Propagation, Recursion};
use crate::sys::{self, MountAttr, OpenTree};

/// What a node of the machine is shown with. Its inode is everybody's: on a
/// read-only mount nobody can change its mode, owner, times or attributes. The
/// device behind it can be written all the same (mount_setattr(2)).
pub(super) const NODE: Attributes = Attributes {
    set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC,
    clear: 0,
};

/// When this kernel lets a mount be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setter {
    /// Before it is attached (Linux 5.12).
    Detached,
    /// Only afterwards.
    Attached,
}

/// The flags of mount(2) for what fstatfs(2) says and mount_setattr(2) sets.
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
    /// Sets and clears attributes of a mount or of its whole tree. `proc`, the
    /// machine's /proc, is how mount(2) is told a descriptor.
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

    /// Makes the copy of a node of the machine private, and its inode one that
    /// the container cannot change ([`NODE`]).
    pub(super) fn shield(self, node: BorrowedFd, proc: Option<BorrowedFd>) -> nix::Result<()> {
        let (private, one) = (Propagation::Private, Recursion::One);
        match self {
            Setter::Detached => {
                let all = MountAttr {
                    propagation: private.flag(),
                    ..NODE.into()
                };
                sys::mount_setattr(node, OpenTree::Mount, &all)
            }
            Setter::Attached => {
                propagate(self, node, private, one, proc)?;
                self.set(node, NODE, one, proc)
            }
        }
    }
}

/// Sets the propagation type of a mount or of its whole tree.
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
                Recursion::One => MsFlags::empty(),
                Recursion::Tree => MsFlags::MS_REC,
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

/// mount(2) sets all flags of a mount at once, so what stays is read first.
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

/// mount(2) on what a descriptor names, through the machine's /proc: paths of
/// the container are not asked.
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
