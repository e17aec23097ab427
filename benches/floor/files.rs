//! The files that a container with a network has of its own.

use std::ffi::CStr;
use std::fs::{self, File};
use std::os::fd::AsRawFd;

use libc::{MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, SYS_fchdir};
use nix::mount::{MntFlags, umount2};

use super::calls::call;
use super::root::{attach, mount, open};

const FILES: [(&str, &CStr, &str); 2] = [
    ("hosts", c"/etc/hosts", "127.0.0.1\tlocalhost\n"),
    (
        "resolv.conf",
        c"/etc/resolv.conf",
        "nameserver 192.0.2.53\n",
    ),
];
const ATTRIBUTES: u64 = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

/// Writes the files to a tmpfs, which covers the root meanwhile: only a mount that is attached can
/// be cloned. Leaves the working directory at the root.
pub(super) fn make() {
    let options = [(c"mode", Some(c"0755")), (c"size", Some(c"1m"))];
    let root = File::open("/").unwrap();
    let tmpfs = mount(c"tmpfs", &options, ATTRIBUTES);
    attach(tmpfs, c"/");
    call(SYS_fchdir, [tmpfs.into()]).unwrap();
    let files = FILES.map(|(name, target, content)| {
        fs::write(name, content).unwrap();
        (open(name.as_ref()), target)
    });
    umount2(".", MntFlags::MNT_DETACH).unwrap();
    call(SYS_fchdir, [root.as_raw_fd().into()]).unwrap();
    for (file, target) in files {
        attach(file, target);
    }
}
