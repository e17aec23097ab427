//! The annotation `rt.rootfs.overlay`: a copy-on-write layer over a root that
//! stays as it is.
//!
//! The lower layer is the file system of `root.path`; what the container
//! changes lies on a tmpfs of its own mount namespace and goes with it. Made by
//! init, because kernels before 6.15 accept no layer that is detached or from
//! another mount namespace. Layers are named by descriptor, through the
//! machine's /proc, so that no character of a path is special.

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

/// A detached overlay of `lower`, whose changes live in memory. The tmpfs is
/// attached on top of `machine`, the old root, for the moment that the kernel
/// looks at it; the overlay keeps it alive.
///
/// In a user namespace the kernel keeps what was removed in attributes of the
/// kind that users may set (`userxattr`, Linux 5.11).
pub(super) fn build(
    lower: BorrowedFd,
    machine: BorrowedFd,
    user_namespace: bool,
    close_batch: &CloseBatch,
) -> Result<OwnedFd, Cause> {
    let mode = [Parameter::Value(c"mode".into(), c"0700".into())];
    let memory = new_file_system(close_batch, c"tmpfs", c"tmpfs", &[], &mode, 0)?;
    sys::move_mount(memory.as_fd(), machine)?;
    // The merged root has the attributes of the upper one: they are the lower one's.
    let root = fstat(lower)?;
    mkdirat(
        &memory,
        "upper",
        Mode::from_bits_truncate(root.st_mode & 0o7777),
    )?;
    mkdirat(&memory, "work", Mode::from_bits_truncate(0o700))?;
    let (uid, gid) = (Uid::from_raw(root.st_uid), Gid::from_raw(root.st_gid));
    fchownat(
        &memory,
        "upper",
        Some(uid),
        Some(gid),
        AtFlags::AT_SYMLINK_NOFOLLOW,
    )?;
    let mut layers = vec![
        layer(c"lowerdir", lower, ""),
        layer(c"upperdir", memory.as_fd(), "/upper"),
        layer(c"workdir", memory.as_fd(), "/work"),
    ];
    if user_namespace {
        layers.push(Parameter::Flag(c"userxattr".into()));
    }
    let overlay = new_file_system(close_batch, c"overlay", c"overlay", &[], &layers, 0)?;
    // The overlay holds the layer; left where it is, it would cover the old root from being unmounted.
    fchdir(&memory)?;
    umount2(".", MntFlags::MNT_DETACH)?;
    close_batch.add(memory);
    Ok(overlay)
}

fn layer(key: &std::ffi::CStr, directory: BorrowedFd, below: &str) -> Parameter {
    let path = format!("/proc/self/fd/{}{below}", directory.as_raw_fd());
    Parameter::Value(key.into(), CString::new(path).unwrap_or_default())
}
