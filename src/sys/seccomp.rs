//! System call filters (seccomp(2)), for which neither libc nor nix has a wrapper.

use nix::errno::Errno;
use seccompiler::BpfProgramRef;

use super::check;

/// Installs a filter for this thread (seccomp(2), `SECCOMP_SET_MODE_FILTER`). It
/// cannot be removed, and is kept across execve(2) and inherited by children.
///
/// # Errors
/// `EACCES` without CAP_SYS_ADMIN in the effective set, unless no_new_privs is set.
/// `EINVAL` for a program that is empty, longer than 4096 instructions, or malformed.
pub(crate) fn seccomp_set_filter(program: BpfProgramRef) -> nix::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?,
        filter: program.as_ptr().cast_mut().cast(),
    };
    let (operation, flags) = (libc::SECCOMP_SET_MODE_FILTER, 0);
    // SAFETY: the kernel reads `len` instructions, which outlive the call and have the
    // kernel's layout (`repr(C)`). It does not write to them, although the pointer is
    // mutable.
    check(unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, &raw const program) })?;
    Ok(())
}
