//! The annotation `rt.rootfs.overlay`: a copy-on-write layer over the root, which stays
//! unchanged.
//!
//! The lower layer is `root.path`. The upper layer is a tmpfs in the container's mount
//! namespace, which ends with the container. Init mounts it, because before Linux 6.15
//! overlayfs accepts no layer that is detached or from another mount namespace. Layers are
//! passed as /proc/self/fd/N of the host's /proc, so special characters in paths need no
//! escaping.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::AtFlags;
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::unistd::{Gid, Uid, fchdir, fchownat};

use super::detached::new_file_system;
use super::options::Parameter;
use crate::step::Cause;
use crate::sys::{self, CloseBatch};

/// Mounts an overlay on `lower`, detached, with a tmpfs as its upper layer. The tmpfs is
/// attached to `old_root` only while the overlay is made; the overlay then keeps it alive.
///
/// In a user namespace overlayfs stores whiteouts in `user.` attributes (`userxattr`, Linux
/// 5.11).
pub(super) fn create(
    lower: BorrowedFd,
    old_root: BorrowedFd,
    user_namespace: bool,
    close_batch: &CloseBatch,
) -> Result<OwnedFd, Cause> {
    let mode = [Parameter::Value(c"mode".into(), c"0700".into())];
    let tmpfs = new_file_system(close_batch, c"tmpfs", c"tmpfs", &[], &mode, 0)?;
    sys::move_mount(tmpfs.as_fd(), old_root)?;
    // The merged root has the attributes of the upper directory, so they are copied from
    // the lower one.
    let lower_stat = fstat(lower)?;
    mkdirat(
        &tmpfs,
        "upper",
        Mode::from_bits_truncate(lower_stat.st_mode & 0o7777),
    )?;
    mkdirat(&tmpfs, "work", Mode::from_bits_truncate(0o700))?;
    let (uid, gid) = (
        Uid::from_raw(lower_stat.st_uid),
        Gid::from_raw(lower_stat.st_gid),
    );
    fchownat(
        &tmpfs,
        "upper",
        Some(uid),
        Some(gid),
        AtFlags::AT_SYMLINK_NOFOLLOW,
    )?;
    let mut parameters = vec![
        layer_parameter(c"lowerdir", lower, ""),
        layer_parameter(c"upperdir", tmpfs.as_fd(), "/upper"),
        layer_parameter(c"workdir", tmpfs.as_fd(), "/work"),
    ];
    // `rt diff` relies on both, which the kernel's settings could change: a change of one hard
    // link does not show in the others, and a directory is not renamed without its content.
    // With `userxattr` no directory is.
    parameters.push(Parameter::Value(c"index".into(), c"off".into()));
    parameters.push(if user_namespace {
        Parameter::Flag(c"userxattr".into())
    } else {
        Parameter::Value(c"redirect_dir".into(), c"off".into())
    });
    let overlay = new_file_system(close_batch, c"overlay", c"overlay", &[], &parameters, 0)?;
    // The overlay holds the tmpfs. Left attached, it would prevent unmounting the old root.
    fchdir(&tmpfs)?;
    umount2(".", MntFlags::MNT_DETACH)?;
    close_batch.add(tmpfs);
    Ok(overlay)
}

fn layer_parameter(key: &std::ffi::CStr, directory: BorrowedFd, subdirectory: &str) -> Parameter {
    let path = format!("/proc/self/fd/{}{subdirectory}", directory.as_raw_fd());
    Parameter::Value(key.into(), CString::new(path).unwrap_or_default())
}
