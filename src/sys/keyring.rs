//! Session keyrings (keyctl(2)), for which neither libc nor nix has a wrapper.

use std::ffi::CStr;

use super::check;

/// The serial number of a key or keyring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeySerial(libc::c_long);

/// Joins the session keyring called `name`, and creates it if it does not exist
/// (keyctl(2), `KEYCTL_JOIN_SESSION_KEYRING`). `ENOSYS` from a kernel without key
/// management.
pub(crate) fn join_session_keyring(name: &CStr) -> nix::Result<KeySerial> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: the kernel reads `name` up to its NUL, and it outlives the call.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) })
        .map(KeySerial)
}

/// Writes `type;uid;gid;permissions;description` and a NUL to `text`, and
/// returns their length in bytes (keyctl(2), `KEYCTL_DESCRIBE`). If `text` is
/// shorter than that, the kernel writes nothing to it.
pub(crate) fn describe_key(key: KeySerial, text: &mut [u8]) -> nix::Result<usize> {
    const KEYCTL_DESCRIBE: libc::c_long = 6;
    // SAFETY: the kernel writes at most `text.len()` bytes to `text`, which is borrowed mutably.
    check(unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_DESCRIBE,
            key.0,
            text.as_mut_ptr(),
            text.len(),
        )
    })
    .map(|length| length as usize)
}

/// Sets the permission bits of `key` (keyctl(2), `KEYCTL_SETPERM`).
pub(crate) fn set_key_permissions(key: KeySerial, permissions: u32) -> nix::Result<()> {
    const KEYCTL_SETPERM: libc::c_long = 5;
    // SAFETY: this operation takes two numbers and accesses no memory of this process.
    check(unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_SETPERM,
            key.0,
            libc::c_ulong::from(permissions),
        )
    })?;
    Ok(())
}
