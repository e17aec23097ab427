//! Whether the kernel has a system call: each is called with arguments that it refuses before it does anything.

use std::ptr::null;

use nix::errno::Errno;

use super::check;

/// The error of a call that must fail. `EINVAL` and `EBADF` come from the call itself, so the kernel has it.
///
/// # Errors
/// Any other error: `ENOSYS` where the kernel lacks the call, or the choice of a seccomp filter.
pub(super) fn refused(result: nix::Result<libc::c_long>) -> nix::Result<()> {
    match result {
        Ok(_) | Err(Errno::EINVAL | Errno::EBADF) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// open_tree(2), which came with the rest of the mount API (Linux 5.2).
///
/// # Errors
/// Those of [`refused`].
pub(crate) fn try_open_tree() -> nix::Result<()> {
    // SAFETY: the kernel refuses the flags before it reads the path.
    refused(check(unsafe {
        libc::syscall(libc::SYS_open_tree, -1, null::<libc::c_char>(), u32::MAX)
    }))
}

/// pidfd_open(2) (Linux 5.3).
///
/// # Errors
/// Those of [`refused`].
pub(crate) fn try_pidfd_open() -> nix::Result<()> {
    // SAFETY: the call takes two numbers, and the first is not a pid.
    refused(check(unsafe { libc::syscall(libc::SYS_pidfd_open, -1, 0) }))
}

/// close_range(2) (Linux 5.9).
///
/// # Errors
/// Those of [`refused`].
pub(crate) fn try_close_range() -> nix::Result<()> {
    // SAFETY: the kernel refuses a range whose end is before its start, and closes nothing.
    refused(check(unsafe {
        libc::syscall(libc::SYS_close_range, 1, 0, 0)
    }))
}
