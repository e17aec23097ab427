//! Leaving the host's root: a private mount namespace, pivot_root(2) or chroot(2), and the
//! old root unmounted.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, chroot, fchdir, pivot_root};
use procfs::process::MountInfo;

use super::attributes::{Setter, propagate};
use super::options::{Propagation, Recursion};
use crate::step::Cause;
use crate::sys;
use crate::trusted_proc::Proc;

const DIRECTORY: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

/// Makes all mounts of this namespace private, so no mount or unmount propagates to the
/// host. All of them, because unmounting the old root would otherwise unmount its shared
/// mounts on the host too. Returns the old root.
pub(super) fn make_mounts_private(setter: Setter) -> nix::Result<OwnedFd> {
    let old_root = open("/", DIRECTORY, Mode::empty())?;
    match setter {
        Setter::Detached => propagate(
            setter,
            old_root.as_fd(),
            Propagation::Private,
            Recursion::Recursive,
            None,
        )?,
        Setter::Attached => {
            let flags = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
            mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)?;
        }
    }
    Ok(old_root)
}

/// Attaches the new root on top of `target`, or moves it there.
pub(super) fn attach_root(root: BorrowedFd, target: BorrowedFd) -> nix::Result<()> {
    sys::move_mount(root, target)
}

/// Makes the mount `root` the root of the mount namespace and unmounts the old root.
pub(super) fn pivot_to(root: BorrowedFd) -> nix::Result<()> {
    fchdir(root)?;
    // With "." twice the old root ends up on top of the new one, where it is unmounted
    // (pivot_root(2), NOTES).
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    // Once is enough unless another mount covered the old root: ".." of the root is the
    // topmost mount on it.
    let own = sys::mount_id(root, c"")?;
    while sys::mount_id(root, c"..")? != own {
        umount2(".", MntFlags::MNT_DETACH)?;
    }
    chdir("/")
}

/// For a root that pivot_root(2) does not accept (an initramfs). The host's mounts stay
/// below, so its full /proc and /sys are unmounted or covered. Those mounted in `root` are
/// the container's and stay.
pub(super) fn hide_host_proc_and_sys(root: BorrowedFd, proc: &Proc) -> Result<(), Cause> {
    let mounts = proc.mounts("self")?;
    let root = i32::try_from(sys::mount_id(root, c"")?).map_err(|_| Errno::EOVERFLOW)?;
    let inside = |mount: &MountInfo| {
        let mut id = mount.mnt_id;
        // Walks up the mount tree. The parent of the namespace's root is itself, or is not
        // listed.
        for _ in 0..mounts.0.len() {
            if id == root {
                return true;
            }
            match mounts.iter().find(|parent| parent.mnt_id == id) {
                Some(parent) => id = parent.pid,
                None => break,
            }
        }
        false
    };
    for mounted in mounts
        .iter()
        .filter(|mount| matches!(mount.fs_type.as_str(), "proc" | "sysfs") && !inside(mount))
    {
        match umount2(&mounted.mount_point, MntFlags::MNT_DETACH) {
            Ok(()) | Err(Errno::ENOENT) => {}
            // The mount is locked, or its parent was just unmounted.
            Err(_) => match mount(
                Some("tmpfs"),
                &mounted.mount_point,
                Some("tmpfs"),
                MsFlags::empty(),
                None::<&str>,
            ) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno.into()),
            },
        }
    }
    Ok(())
}

/// Calls chroot(2) on a descriptor, and changes to the new root.
pub(super) fn change_root(root: BorrowedFd) -> nix::Result<()> {
    fchdir(root)?;
    chroot(".")?;
    chdir("/")
}

/// Opens the directory `path` in this mount namespace.
pub(super) fn open_directory(path: &Path) -> nix::Result<OwnedFd> {
    open(path, DIRECTORY, Mode::empty())
}
