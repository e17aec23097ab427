//! SELinux labels (selinux(8)): `process.selinuxLabel` and `linux.mountLabel`.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Result, anyhow, ensure};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::sys;

/// A label of config.json. The kernel checks it against the policy that is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label(CString);

impl Label {
    /// The label of `field`. An empty one is no label. `enabled` says whether SELinux is enabled
    /// on this host, and is only read if there is a label.
    ///
    /// # Errors
    /// When SELinux is not enabled, or the label holds a NUL byte.
    pub(crate) fn plan(field: &str, label: Option<&str>, enabled: bool) -> Result<Option<Label>> {
        let Some(label) = label.filter(|label| !label.is_empty()) else {
            return Ok(None);
        };
        // The words of runc, which its users know.
        ensure!(
            enabled,
            "{field}: selinux label is specified in config, but selinux is disabled or not supported"
        );
        let label = CString::new(label).map_err(|_| anyhow!("{field}: holds a NUL byte"))?;
        Ok(Some(Label(label)))
    }

    pub(crate) fn as_c_string(&self) -> &CString {
        &self.0
    }

    pub(crate) fn text(&self) -> String {
        self.0.to_string_lossy().into_owned()
    }

    /// Gives the label to the root of a mount. Its file system need not have an option for labels.
    ///
    /// # Errors
    /// `EINVAL` for a label that the policy does not have, `EACCES` when the policy forbids the
    /// change, `EOPNOTSUPP` for a file system to whose files the policy gives no labels.
    pub(crate) fn give_to_root(&self, mount: BorrowedFd) -> nix::Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        // Attributes cannot be set by a descriptor with O_PATH, as that of a mount is.
        let root = openat(mount, c".", flags, Mode::empty())?;
        sys::fsetxattr(
            root.as_fd(),
            c"security.selinux",
            self.0.as_bytes_with_nul(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_needs_selinux_unless_it_is_empty() {
        let plan = |label, enabled| Label::plan("linux.mountLabel", label, enabled);
        assert_eq!(plan(None, false).unwrap(), None);
        assert_eq!(plan(Some(""), false).unwrap(), None);
        assert_eq!(
            plan(Some("a:b:c:d"), true).unwrap().unwrap().text(),
            "a:b:c:d"
        );
        assert!(plan(Some("a\0"), true).is_err());
        assert_eq!(
            plan(Some("a:b:c:d"), false).unwrap_err().to_string(),
            "linux.mountLabel: selinux label is specified in config, but selinux is disabled or not supported"
        );
    }
}
