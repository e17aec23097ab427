//! Extended attributes of open files (xattr(7)).

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;

/// The kernel's limit on the size of a list of names and of a value, in bytes
/// (limits.h, `XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const MAX_SIZE: usize = 65536;

/// The names of a file's attributes.
pub(crate) fn flistxattr(file: BorrowedFd) -> nix::Result<Vec<CString>> {
    // SAFETY: with a size of 0 the kernel writes nothing and returns the length needed.
    let length = unsafe { libc::flistxattr(file.as_raw_fd(), std::ptr::null_mut(), 0) };
    if check(length as libc::c_long)? == 0 {
        return Ok(Vec::new());
    }
    let mut names = vec![0u8; MAX_SIZE];
    // SAFETY: the kernel writes at most `names.len()` bytes to `names`.
    let length =
        unsafe { libc::flistxattr(file.as_raw_fd(), names.as_mut_ptr().cast(), names.len()) };
    names.truncate(check(length as libc::c_long)? as usize);
    // Each name ends with a NUL.
    let names = names.split_inclusive(|byte| *byte == 0);
    let names = names.filter_map(|name| CStr::from_bytes_with_nul(name).ok());
    Ok(names.map(CStr::to_owned).collect())
}

/// The value of one attribute.
pub(crate) fn fgetxattr(file: BorrowedFd, name: &CStr) -> nix::Result<Vec<u8>> {
    let mut value = vec![0u8; MAX_SIZE];
    // SAFETY: `name` is NUL-terminated and outlives the call. The kernel writes at most
    // `value.len()` bytes to `value`.
    let length = unsafe {
        libc::fgetxattr(
            file.as_raw_fd(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
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
