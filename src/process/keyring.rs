//! A session keyring of the container's own: the caller's keys stay behind.

use std::ffi::CString;

use anyhow::Context;
use nix::errno::Errno;

use crate::sys;

/// The user may search the keyring (`KEY_USR_SEARCH`): a second process of the
/// container must find it by name to join it.
const USER_SEARCH: u32 = 0x0008_0000;

/// The longest `type;uid;gid;permissions;` before the name, and the NUL after it.
const AROUND_NAME: usize = 64;

/// A session keyring to join.
#[derive(Debug)]
pub(super) struct Keyring {
    name: CString,
}

impl Keyring {
    pub(super) fn plan(id: &str) -> anyhow::Result<Keyring> {
        let name = CString::new(format!("_ses.{id}")).context("container id")?;
        Ok(Keyring { name })
    }

    pub(super) fn describe(&self) -> String {
        format!("join session keyring {}", self.name.to_string_lossy())
    }

    /// # Errors
    /// `EDQUOT` when the user has too many keys, `EPERM` when a sandbox around
    /// `rt` refuses keyctl(2). A kernel without keys has none to protect.
    pub(super) fn join(&self) -> nix::Result<()> {
        let keyring = match sys::join_session_keyring(&self.name) {
            Err(Errno::ENOSYS) => return Ok(()),
            joined => joined?,
        };
        let mut text = vec![0; self.name.as_bytes().len() + AROUND_NAME];
        let length = sys::describe_key(keyring, &mut text)?;
        let permissions = text
            .get(..length)
            .and_then(permissions)
            .ok_or(Errno::EINVAL)?;
        if permissions & USER_SEARCH == 0 {
            sys::set_key_permissions(keyring, permissions | USER_SEARCH)?;
        }
        Ok(())
    }
}

/// The permissions in `type;uid;gid;permissions;description`, which are hexadecimal.
fn permissions(description: &[u8]) -> Option<u32> {
    let field = description.split(|&byte| byte == b';').nth(3)?;
    u32::from_str_radix(std::str::from_utf8(field).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_the_fourth_field() {
        assert_eq!(
            permissions(b"keyring;0;0;3f130000;_ses.a;b\0"),
            Some(0x3f13_0000)
        );
        assert_eq!(permissions(b"keyring;0;0;;_ses.a\0"), None);
        assert_eq!(permissions(b"keyring;0"), None);
    }
}
