//! The descriptor-based mount calls: fsopen(2), fsconfig(2), fsmount(2),
//! open_tree(2), move_mount(2) (Linux 5.2) and mount_setattr(2) (Linux 5.12).

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::null;

use nix::errno::Errno;

use super::check;

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MountAttr {
    /// `MOUNT_ATTR_*` flags to set.
    pub(crate) set: u64,
    /// `MOUNT_ATTR_*` flags to clear. The kernel clears these first.
    pub(crate) clear: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`, or 0 to leave it unchanged.
    pub(crate) propagation: u64,
    /// Descriptor of the user namespace for `MOUNT_ATTR_IDMAP`.
    pub(crate) userns_fd: u64,
}

impl MountAttr {
    /// Makes a mount an idmapped one with the id maps of `namespace`, which must stay
    /// open until mount_setattr(2) returns.
    pub(crate) fn idmapped(namespace: BorrowedFd) -> MountAttr {
        MountAttr {
            set: libc::MOUNT_ATTR_IDMAP,
            userns_fd: u64::from(namespace.as_raw_fd().cast_unsigned()),
            ..MountAttr::default()
        }
    }
}

/// One call of fsconfig(2).
pub(crate) enum FsConfig<'a> {
    Flag(&'a CStr),
    String(&'a CStr, &'a CStr),
    Create,
    /// Applies the parameters to the superblock of a context of [`fspick`].
    Reconfigure,
}

/// Which mounts a call applies to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenTree {
    /// The mount itself.
    Mount,
    /// The mount and all mounts below it (`AT_RECURSIVE`).
    Recursive,
}

impl OpenTree {
    fn flags(self) -> u32 {
        match self {
            OpenTree::Mount => 0,
            OpenTree::Recursive => AT_RECURSIVE,
        }
    }
}

const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;
const FSCONFIG_CMD_RECONFIGURE: u32 = 7;
const FSPICK_CLOEXEC: u32 = 1;
const FSPICK_EMPTY_PATH: u32 = 8;
const FSOPEN_CLOEXEC: u32 = 1;
const FSMOUNT_CLOEXEC: u32 = 1;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
pub(super) const OPEN_TREE_CLONE: u32 = 1;
pub(super) const OPEN_TREE_CLOEXEC: u32 = libc::O_CLOEXEC as u32;
const AT_RECURSIVE: u32 = 0x8000;
pub(super) const AT_EMPTY_PATH: u32 = 0x1000;

fn owned(fd: libc::c_long) -> OwnedFd {
    // SAFETY: only called with a descriptor that the kernel has just returned, so no
    // other value owns it.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}

/// Opens a file system context for the type `fs` (fsopen(2)).
pub(crate) fn fsopen(fs: &CStr) -> nix::Result<OwnedFd> {
    // SAFETY: `fs` is NUL-terminated and outlives the call.
    check(unsafe { libc::syscall(libc::SYS_fsopen, fs.as_ptr(), FSOPEN_CLOEXEC) }).map(owned)
}

/// Opens a context for the superblock of an existing mount (fspick(2)). `EINVAL` when `mount` is not
/// the root of a mount.
pub(crate) fn fspick(mount: BorrowedFd) -> nix::Result<OwnedFd> {
    // SAFETY: the path is the empty string, which is NUL-terminated and static.
    check(unsafe {
        libc::syscall(
            libc::SYS_fspick,
            mount.as_raw_fd(),
            c"".as_ptr(),
            FSPICK_CLOEXEC | FSPICK_EMPTY_PATH,
        )
    })
    .map(owned)
}

/// Sets one parameter of a context, or creates its superblock (fsconfig(2)).
pub(crate) fn fsconfig(context: BorrowedFd, what: FsConfig) -> nix::Result<()> {
    let (command, key, value) = match what {
        FsConfig::Flag(key) => (FSCONFIG_SET_FLAG, key.as_ptr(), null()),
        FsConfig::String(key, value) => (FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr()),
        FsConfig::Create => (FSCONFIG_CMD_CREATE, null(), null()),
        FsConfig::Reconfigure => (FSCONFIG_CMD_RECONFIGURE, null(), null()),
    };
    // SAFETY: each pointer is null, where the command requires that, or points to a
    // NUL-terminated string that outlives the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            command,
            key,
            value,
            0,
        )
    })?;
    Ok(())
}

/// Creates a detached mount of a context's superblock, with `MOUNT_ATTR_*` attributes
/// (fsmount(2)).
pub(crate) fn fsmount(context: BorrowedFd, attributes: u64) -> nix::Result<OwnedFd> {
    // SAFETY: the call takes three numbers and accesses no memory of this process.
    check(unsafe {
        libc::syscall(
            libc::SYS_fsmount,
            context.as_raw_fd(),
            FSMOUNT_CLOEXEC,
            attributes as u32,
        )
    })
    .map(owned)
}

/// Creates a detached copy of the mount at `path` below `directory`, or at
/// `directory` itself if `path` is empty (open_tree(2), `OPEN_TREE_CLONE`).
pub(crate) fn open_tree(directory: BorrowedFd, path: &CStr, how: OpenTree) -> nix::Result<OwnedFd> {
    clone_tree(directory, path, how.flags())
}

/// The same for the mount itself, where a symbolic link at the end of `path` is not followed.
pub(crate) fn open_tree_nofollow(directory: BorrowedFd, path: &CStr) -> nix::Result<OwnedFd> {
    clone_tree(directory, path, libc::AT_SYMLINK_NOFOLLOW as u32)
}

fn clone_tree(directory: BorrowedFd, path: &CStr, flags: u32) -> nix::Result<OwnedFd> {
    // SAFETY: `path` is NUL-terminated and outlives the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            directory.as_raw_fd(),
            path.as_ptr(),
            OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | flags,
        )
    })
    .map(owned)
}

/// Attaches the detached mount `from` on the file or directory `to` (move_mount(2)).
pub(crate) fn move_mount(from: BorrowedFd, to: BorrowedFd) -> nix::Result<()> {
    // SAFETY: both paths are the empty string, which is NUL-terminated and static.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            from.as_raw_fd(),
            c"".as_ptr(),
            to.as_raw_fd(),
            c"".as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
        )
    })?;
    Ok(())
}

/// The id of the topmost mount at `path` below `directory`, or of the mount of
/// `directory` if `path` is empty (statx(2), `STATX_MNT_ID`, Linux 5.8). A symbolic
/// link at the end of `path` is not followed.
pub(crate) fn mount_id(directory: BorrowedFd, path: &CStr) -> nix::Result<u64> {
    // SAFETY: zeros are a valid `statx`, because it consists of numbers.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    let flags = (AT_EMPTY_PATH as libc::c_int) | libc::AT_NO_AUTOMOUNT | libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: `path` is NUL-terminated, the kernel writes one `statx` to `found`, and both
    // outlive the call.
    let done = unsafe {
        libc::statx(
            directory.as_raw_fd(),
            path.as_ptr(),
            flags,
            libc::STATX_MNT_ID,
            &raw mut found,
        )
    };
    check(done.into())?;
    Ok(found.stx_mnt_id)
}

/// Changes the attributes of a mount or, with [`OpenTree::Recursive`], also of all
/// mounts below it (mount_setattr(2)).
pub(crate) fn mount_setattr(mount: BorrowedFd, how: OpenTree, attr: &MountAttr) -> nix::Result<()> {
    // SAFETY: the kernel reads `attr`, which has the size that is passed.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            AT_EMPTY_PATH | how.flags(),
            std::ptr::from_ref(attr),
            std::mem::size_of::<MountAttr>(),
        )
    })?;
    Ok(())
}

/// Whether the kernel has mount_setattr(2), independent of the caller's privileges:
/// the kernel checks for unknown flags before it checks those.
pub(crate) fn has_mount_setattr() -> bool {
    // SAFETY: the kernel rejects the flags before it reads the path or the attributes.
    let result = check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            -1,
            c"".as_ptr(),
            u32::MAX,
            null::<MountAttr>(),
            std::mem::size_of::<MountAttr>(),
        )
    });
    result == Err(Errno::EINVAL)
}
