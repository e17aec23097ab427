//! Detached mounts: cloned with open_tree(2) or made with fsopen(2), attached with move_mount(2).

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;

use super::options::Parameter;
use super::root::is_directory;
use crate::step::Cause;
use crate::sys::{self, CloseBatch, FsConfig, OpenTree};

/// A detached copy of the mount at `path` on the machine; `EINVAL` for a path
/// that holds a NUL byte.
pub(super) fn open_tree(path: &Path, how: OpenTree) -> nix::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| Errno::EINVAL)?;
    sys::open_tree(nix::fcntl::AT_FDCWD, &path, how)
}

/// A detached mount of a new superblock.
pub(super) fn new_file_system(
    close_batch: &CloseBatch,
    name: &CStr,
    source: &CStr,
    superblock: &[CString],
    data: &[Parameter],
    attributes: u64,
) -> Result<OwnedFd, Cause> {
    let opened = sys::fsopen(name)?;
    let context = opened.as_fd();
    if !source.is_empty() {
        sys::fsconfig(context, FsConfig::String(c"source", source))?;
    }
    let superblock = superblock.iter().map(|flag| FsConfig::Flag(flag));
    let data = data.iter().map(|parameter| match parameter {
        Parameter::Flag(flag) => FsConfig::Flag(flag),
        Parameter::Value(key, value) => FsConfig::String(key, value),
    });
    for (place, parameter) in (0..).zip(superblock.chain(data)) {
        sys::fsconfig(context, parameter).map_err(|errno| Cause::Parameter(place, errno))?;
    }
    sys::fsconfig(context, FsConfig::Create)?;
    let mount = sys::fsmount(context, attributes)?;
    close_batch.add(opened);
    Ok(mount)
}

/// Attaches `mount`, which is a directory or is none. That `target` is the reverse
/// the kernel calls `EINVAL`, as it does many things; engines know the name that
/// mount(2) has for it.
pub(super) fn attach(mount: BorrowedFd, target: BorrowedFd, directory: bool) -> nix::Result<()> {
    match sys::move_mount(mount, target) {
        Err(Errno::EINVAL) if is_directory(target)? != directory => Err(Errno::ENOTDIR),
        done => done,
    }
}
