//! The extended attributes of a file that belong to an image.

use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;

use crate::sys;

/// Names and values, sorted by name.
pub(super) type Xattrs = Vec<(CString, Vec<u8>)>;

pub(super) fn of(file: BorrowedFd) -> nix::Result<Xattrs> {
    sys::xattrs(file).map(portable)
}

/// As [`of`], for an entry of a directory that is not opened.
pub(super) fn of_entry(directory: BorrowedFd, name: &CStr) -> nix::Result<Xattrs> {
    sys::xattrs_in(directory, name).map(portable)
}

fn portable(mut xattrs: Xattrs) -> Xattrs {
    xattrs.retain(|(name, _)| is_portable(name));
    xattrs
}

/// Labels of security modules belong to the host. The attributes of overlayfs would change how
/// the host reads the layer, and a container could have set them.
fn is_portable(name: &CStr) -> bool {
    let name = name.to_bytes();
    let starts = |prefixes: &[&[u8]]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    let belongs =
        starts(&[b"user.", b"trusted.", b"system.posix_acl_"]) || name == b"security.capability";
    belongs && !starts(&[b"user.overlay.", b"trusted.overlay."])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_of_the_host_and_of_overlayfs_stay_out() {
        for name in [
            c"user.x",
            c"trusted.x",
            c"security.capability",
            c"system.posix_acl_access",
        ] {
            assert!(is_portable(name), "{name:?}");
        }
        for name in [
            c"security.selinux",
            c"user.overlay.opaque",
            c"trusted.overlay.opaque",
        ] {
            assert!(!is_portable(name), "{name:?}");
        }
    }
}
