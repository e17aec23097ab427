//! Leaving the machine's file systems: a private mount namespace, the new root
//! on top of the old one, pivot_root(2), and the old one gone.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, chroot, fchdir, pivot_root};
use procfs::FromRead;
use procfs::process::{MountInfo, MountInfos};

use super::attributes::{Setter, propagate};
use super::options::{Propagation, Recursion};
use crate::step::Cause;
use crate::sys;
use crate::trusted_proc::Proc;

const DIRECTORY: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

/// Cuts this mount namespace off: nothing mounted or unmounted here reaches the
/// machine. The whole tree, because unmounting the old root would otherwise
/// unmount its shared parts everywhere.
pub(super) fn isolate(setter: Setter) -> nix::Result<OwnedFd> {
    let machine = open("/", DIRECTORY, Mode::empty())?;
    match setter {
        Setter::Detached => propagate(
            setter,
            machine.as_fd(),
            Propagation::Private,
            Recursion::Tree,
            None,
        )?,
        Setter::Attached => {
            let flags = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
            mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)?;
        }
    }
    Ok(machine)
}

/// Attaches the new root on top of `place`, or moves it there.
pub(super) fn attach(root: BorrowedFd, place: BorrowedFd) -> nix::Result<()> {
    sys::move_mount(root, place)
}

/// Makes the mount `root` the root of the namespace and drops what was before.
pub(super) fn pivot(root: BorrowedFd) -> nix::Result<()> {
    fchdir(root)?;
    // Both are ".": the old root ends up on top of the new one, and goes (pivot_root(2), NOTES).
    pivot_root(".", ".")?;
    // Once, unless something was mounted over the machine's root as well: ".."
    // of the root is whatever lies on top of it.
    let own = sys::mount_id(root, c"")?;
    while sys::mount_id(root, c"..")? != own {
        umount2(".", MntFlags::MNT_DETACH)?;
    }
    chdir("/")
}

/// For a root that pivot_root(2) does not accept (an initramfs): the machine's
/// mounts stay below, so the full /proc and /sys among them go first. Those
/// that are mounted in `root` already are the container's.
pub(super) fn cover(root: BorrowedFd, proc: &Proc) -> Result<(), Cause> {
    let file = proc.file("self/mountinfo", OFlag::O_RDONLY)?;
    let mounts = MountInfos::from_read(file).map_err(|_| Errno::EIO)?;
    let root = i32::try_from(sys::mount_id(root, c"")?).map_err(|_| Errno::EOVERFLOW)?;
    let inside = |mount: &MountInfo| {
        let mut id = mount.mnt_id;
        // Up the tree; the root of the namespace is its own parent, or nobody's that is listed.
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
            // Locked, or below one that is gone already.
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

/// chroot(2) into a descriptor, and to its top.
pub(super) fn enter(root: BorrowedFd) -> nix::Result<()> {
    fchdir(root)?;
    chroot(".")?;
    chdir("/")
}

/// The directory `path` as this mount namespace has it.
pub(super) fn directory(path: &PathBuf) -> nix::Result<OwnedFd> {
    open(path, DIRECTORY, Mode::empty())
}
