//! A session keyring for the container (session-keyring(7)), so that it cannot use the
//! caller's keys.

use std::ffi::CString;

use anyhow::Context;
use nix::errno::Errno;

use crate::sys;

/// `KEY_USR_SEARCH`: the user may search the keyring. A second process of the container must
/// find the keyring by name to join it.
const KEY_USR_SEARCH: u32 = 0x0008_0000;

/// The size of a key description without the name: `type;uid;gid;permissions;` and a NUL.
const DESCRIPTION_OVERHEAD: usize = 64;

/// The session keyring that the process joins.
#[derive(Debug)]
pub(super) struct Keyring {
    pub(super) name: CString,
}

impl Keyring {
    pub(super) fn plan(id: &str) -> anyhow::Result<Keyring> {
        let name = CString::new(format!("_ses.{id}")).context("container id")?;
        Ok(Keyring { name })
    }

    pub(super) fn describe(&self) -> String {
        format!("join session keyring {}", self.name.to_string_lossy())
    }

    /// Joins the keyring, and creates it if need be. Does nothing on a kernel without keyrings.
    ///
    /// # Errors
    /// `EDQUOT` when the user has too many keys, `EPERM` when a sandbox around `rt` refuses
    /// keyctl(2).
    pub(super) fn join(&self) -> nix::Result<()> {
        let keyring = match sys::join_session_keyring(&self.name) {
            Err(Errno::ENOSYS) => return Ok(()),
            joined => joined?,
        };
        let mut text = vec![0; self.name.as_bytes().len() + DESCRIPTION_OVERHEAD];
        let length = sys::describe_key(keyring, &mut text)?;
        let permissions = text
            .get(..length)
            .and_then(permissions)
            .ok_or(Errno::EINVAL)?;
        if permissions & KEY_USR_SEARCH == 0 {
            sys::set_key_permissions(keyring, permissions | KEY_USR_SEARCH)?;
        }
        Ok(())
    }
}

/// The permissions, in hexadecimal, of `type;uid;gid;permissions;description`.
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
