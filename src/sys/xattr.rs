//! Extended attributes (xattr(7)).

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::unistd::fchdir;

use super::check;

/// The kernel's limit on the size of a list of names and of a value, in bytes
/// (limits.h, `XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const MAX_SIZE: usize = 65536;

/// The names of a file's attributes.
pub(crate) fn flistxattr(file: BorrowedFd) -> nix::Result<Vec<CString>> {
    // SAFETY: `names_from` passes a buffer with its size, or no buffer and 0.
    names_from(|buffer, size| unsafe { libc::flistxattr(file.as_raw_fd(), buffer.cast(), size) })
}

/// The value of one attribute.
pub(crate) fn fgetxattr(file: BorrowedFd, name: &CStr) -> nix::Result<Vec<u8>> {
    // SAFETY: `name` is NUL-terminated and outlives the call. `value_from` passes a buffer
    // with its size.
    value_from(|buffer, size| unsafe {
        libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), buffer.cast(), size)
    })
}

/// All attributes of a file, by name. A file system without attributes has none.
pub(crate) fn xattrs(file: BorrowedFd) -> nix::Result<Vec<(CString, Vec<u8>)>> {
    all_of(flistxattr(file), |name| fgetxattr(file, name))
}

/// As [`xattrs`], for the entry `name` of a directory: symbolic links, FIFOs and devices are
/// not opened. It changes the working directory, because getxattrat(2) is too new (Linux
/// 6.13).
pub(crate) fn xattrs_in(
    directory: BorrowedFd,
    name: &CStr,
) -> nix::Result<Vec<(CString, Vec<u8>)>> {
    fchdir(directory)?;
    // SAFETY: `name` is NUL-terminated and outlives the call. `names_from` passes a buffer
    // with its size, or no buffer and 0.
    let names =
        names_from(|buffer, size| unsafe { libc::llistxattr(name.as_ptr(), buffer.cast(), size) });
    all_of(names, |attribute| {
        // SAFETY: both names are NUL-terminated and outlive the call. `value_from` passes a
        // buffer with its size.
        value_from(|buffer, size| unsafe {
            libc::lgetxattr(name.as_ptr(), attribute.as_ptr(), buffer.cast(), size)
        })
    })
}

/// The sorted names with their values. An attribute that was removed meanwhile is skipped.
fn all_of(
    names: nix::Result<Vec<CString>>,
    value: impl Fn(&CStr) -> nix::Result<Vec<u8>>,
) -> nix::Result<Vec<(CString, Vec<u8>)>> {
    let mut names = match names {
        Err(Errno::EOPNOTSUPP) => return Ok(Vec::new()),
        names => names?,
    };
    names.sort_unstable();
    let mut all = Vec::with_capacity(names.len());
    for name in names {
        match value(&name) {
            Err(Errno::ENODATA) => {}
            value => all.push((name, value?)),
        }
    }
    Ok(all)
}

/// The list that a system call writes to a buffer of a given size.
fn names_from(list: impl Fn(*mut u8, usize) -> isize) -> nix::Result<Vec<CString>> {
    // With a size of 0 the kernel writes nothing and returns the length needed.
    if check(list(std::ptr::null_mut(), 0) as libc::c_long)? == 0 {
        return Ok(Vec::new());
    }
    let names = value_from(list)?;
    // Each name ends with a NUL.
    let names = names.split_inclusive(|byte| *byte == 0);
    let names = names.filter_map(|name| CStr::from_bytes_with_nul(name).ok());
    Ok(names.map(CStr::to_owned).collect())
}

/// The bytes that a system call writes to a buffer of a given size.
fn value_from(get: impl Fn(*mut u8, usize) -> isize) -> nix::Result<Vec<u8>> {
    let mut value = vec![0u8; MAX_SIZE];
    let length = get(value.as_mut_ptr(), value.len());
    value.truncate(check(length as libc::c_long)? as usize);
    Ok(value)
}

/// Sets one attribute, whether it exists or not.
pub(crate) fn fsetxattr(file: BorrowedFd, name: &CStr, value: &[u8]) -> nix::Result<()> {
    // SAFETY: `name` is NUL-terminated. The kernel reads it and `value.len()` bytes of
    // `value`, and both outlive the call.
    let done = unsafe {
        libc::fsetxattr(
            file.as_raw_fd(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    check(done.into())?;
    Ok(())
}
