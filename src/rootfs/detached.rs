//! Detached mounts: cloned by open_tree(2) or made by fsmount(2), attached by
//! move_mount(2).

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;

use super::parameter::Parameter;
use super::root::is_directory;
use crate::step::Cause;
use crate::sys::{self, CloseBatch, FsConfig, OpenTree};

/// Clones the mount at `path` on the host, detached.
///
/// # Errors
/// `EINVAL` if the path holds a NUL byte; else those of open_tree(2).
pub(super) fn open_tree(path: &Path, how: OpenTree) -> nix::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| Errno::EINVAL)?;
    sys::open_tree(nix::fcntl::AT_FDCWD, &path, how)
}

/// Makes a new file system, mounted but detached.
///
/// # Errors
/// [`Cause::Parameter`] with the position of the first parameter that the kernel refuses,
/// counted over `superblock` and then `data`.
pub(super) fn new_file_system(
    close_batch: &CloseBatch,
    fs_type: &CStr,
    source: &CStr,
    superblock: &[CString],
    data: &[Parameter],
    attributes: u64,
) -> Result<OwnedFd, Cause> {
    let opened = sys::fsopen(fs_type)?;
    let context = opened.as_fd();
    if !source.is_empty() {
        sys::fsconfig(context, FsConfig::String(c"source", source))?;
    }
    set_parameters(context, superblock, data)?;
    sys::fsconfig(context, FsConfig::Create)?;
    let mount = sys::fsmount(context, attributes)?;
    close_batch.add(opened);
    Ok(mount)
}

/// Sets the parameters of a context, but does not apply them yet.
///
/// # Errors
/// As [`new_file_system`].
pub(super) fn set_parameters(
    context: BorrowedFd,
    superblock: &[CString],
    data: &[Parameter],
) -> Result<(), Cause> {
    let superblock = superblock.iter().map(|flag| FsConfig::Flag(flag));
    let data = data.iter().map(|parameter| match parameter {
        Parameter::Flag(flag) => FsConfig::Flag(flag),
        Parameter::Value(key, value) => FsConfig::String(key, value),
    });
    for (position, parameter) in (0..).zip(superblock.chain(data)) {
        sys::fsconfig(context, parameter).map_err(|errno| Cause::Parameter(position, errno))?;
    }
    Ok(())
}

/// Attaches `mount`; `directory` says whether its root is one. Where `target` is of the
/// other kind, move_mount(2) fails with `EINVAL`. This returns `ENOTDIR` as mount(2) does,
/// because container engines look for it.
pub(super) fn attach(mount: BorrowedFd, target: BorrowedFd, directory: bool) -> nix::Result<()> {
    match sys::move_mount(mount, target) {
        Err(Errno::EINVAL) if is_directory(target)? != directory => Err(Errno::ENOTDIR),
        result => result,
    }
}
