//! mount(2), for options that are too long for fsconfig(2).
//!
//! mount(2) always attaches. So it mounts on a directory that no other process can see, and
//! the mount is cloned from there.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::CloneFlags;
use nix::sys::stat::{Mode, mkdirat};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::fchdir;

use super::attributes::Setter;
use super::detached::new_file_system;
use super::parameter::Parameter;
use super::pivot;
use crate::step::Cause;
use crate::sys::{self, Cloned, CloseBatch, OpenTree};

/// The arguments of mount(2).
pub(super) struct MountArgs<'a> {
    pub(super) fs_type: &'a CStr,
    pub(super) source: &'a CStr,
    pub(super) flags: MsFlags,
    pub(super) data: &'a str,
}

/// Makes a detached mount. A tmpfs on top of `target` holds the mount point meanwhile.
pub(super) fn mount_detached(
    target: BorrowedFd,
    args: &MountArgs,
    close_batch: &CloseBatch,
) -> Result<OwnedFd, Cause> {
    const MOUNT_POINT: &str = "mount_point";
    let mode = [Parameter::Value(c"mode".into(), c"0700".into())];
    let tmpfs = new_file_system(close_batch, c"tmpfs", c"tmpfs", &[], &mode, 0)?;
    sys::move_mount(tmpfs.as_fd(), target)?;
    mkdirat(&tmpfs, MOUNT_POINT, Mode::S_IRWXU)?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mount_point = openat(&tmpfs, MOUNT_POINT, flags, Mode::empty())?;
    fchdir(&mount_point)?;
    let (source, fs_type) = (Some(args.source), Some(args.fs_type));
    mount(source, ".", fs_type, args.flags, Some(args.data))?;
    let mounted = openat(&tmpfs, MOUNT_POINT, flags, Mode::empty())?;
    let detached = sys::open_tree(mounted.as_fd(), c"", OpenTree::Mount)?;
    fchdir(&tmpfs)?;
    umount2(".", MntFlags::MNT_DETACH)?;
    for descriptor in [tmpfs, mount_point, mounted] {
        close_batch.add(descriptor);
    }
    Ok(detached)
}

/// The same in a child process with a mount namespace of its own, for mounts made while
/// this process is still in the host's. The child has the same privileges and cgroups.
pub(super) fn mount_detached_in_child(setter: Setter, args: &MountArgs) -> Result<OwnedFd, Cause> {
    let (receiver, sender) = sys::socketpair()?;
    let pid = match sys::clone3(CloneFlags::CLONE_NEWNS, None)? {
        Cloned::Parent { pid, .. } => pid,
        Cloned::Child => {
            let sent = pivot::make_mounts_private(setter)
                .map_err(Cause::from)
                .and_then(|target| mount_detached(target.as_fd(), args, &CloseBatch::default()))
                .and_then(|mount| Ok(sys::send_descriptor(sender.as_fd(), b"m", mount.as_fd())?));
            sys::exit(match sent {
                Ok(()) => 0,
                // The only parameters here are those of the tmpfs, which every kernel
                // accepts.
                Err(Cause::Errno(errno) | Cause::Parameter(_, errno)) => errno as i32,
                Err(_) => Errno::EIO as i32,
            })
        }
    };
    drop(sender);
    match waitpid(pid, Some(WaitPidFlag::__WALL))? {
        WaitStatus::Exited(_, 0) => Ok(sys::receive_descriptor(receiver.as_fd())?),
        WaitStatus::Exited(_, errno) => Err(Errno::from_raw(errno).into()),
        _ => Err(Errno::EIO.into()),
    }
}
