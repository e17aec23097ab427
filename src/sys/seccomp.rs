//! System call filters (seccomp(2)), for which neither libc nor nix has a wrapper.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use seccompiler::BpfProgramRef;

use super::check;

/// Installs a filter for this thread (seccomp(2), `SECCOMP_SET_MODE_FILTER`). It
/// cannot be removed, and is kept across execve(2) and inherited by children.
///
/// # Errors
/// `EACCES` without CAP_SYS_ADMIN in the effective set, unless no_new_privs is set.
/// `EINVAL` for a program that is empty, longer than 4096 instructions, or malformed, or for a flag
/// that the kernel lacks.
pub(crate) fn seccomp_set_filter(program: BpfProgramRef, flags: libc::c_ulong) -> nix::Result<()> {
    set_filter(program, flags).map(drop)
}

/// Installs a filter, and returns the descriptor from which another process reads the calls that the
/// filter passes to it, close-on-exec (seccomp(2), `SECCOMP_FILTER_FLAG_NEW_LISTENER`, Linux 5.0).
///
/// # Errors
/// As [`seccomp_set_filter`]. `EBUSY` if a filter with a listener is in force already, `EMFILE`
/// when no descriptor is left.
pub(super) fn seccomp_set_filter_with_listener(
    program: BpfProgramRef,
    flags: libc::c_ulong,
) -> nix::Result<OwnedFd> {
    let fd = set_filter(program, flags | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)?;
    // SAFETY: the kernel returned a new descriptor, and no other value owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Whether the kernel has a flag of `SECCOMP_SET_MODE_FILTER`. It checks the flags before it reads the
/// filter, which is absent here.
pub(crate) fn supports_seccomp_flag(flag: libc::c_ulong) -> bool {
    // This one is valid together with a listener only.
    let flags = match flag {
        libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV => {
            flag | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER
        }
        _ => flag,
    };
    let operation = libc::SECCOMP_SET_MODE_FILTER;
    let filter = std::ptr::null::<libc::sock_fprog>();
    // SAFETY: the kernel refuses the null pointer, and accesses no memory of this process.
    let done = check(unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, filter) });
    done == Err(Errno::EFAULT)
}

fn set_filter(program: BpfProgramRef, flags: libc::c_ulong) -> nix::Result<libc::c_long> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?,
        filter: program.as_ptr().cast_mut().cast(),
    };
    let operation = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: the kernel reads `len` instructions, which outlive the call and have the
    // kernel's layout (`repr(C)`). It does not write to them, although the pointer is
    // mutable.
    check(unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, &raw const program) })
}
