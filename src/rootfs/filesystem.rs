//! A new file system: its superblock made and mounted, attached nowhere yet.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use super::options::Parameter;
use crate::sys::{self, FsConfig, Spent};

/// A detached mount of a new superblock.
pub(super) fn new_file_system(
    spent: &Spent,
    name: &CStr,
    source: &CStr,
    superblock: &[CString],
    data: &[Parameter],
    attributes: u64,
) -> nix::Result<OwnedFd> {
    let opened = sys::fsopen(name)?;
    let context = opened.as_fd();
    if !source.is_empty() {
        sys::fsconfig(context, FsConfig::String(c"source", source))?;
    }
    for flag in superblock {
        sys::fsconfig(context, FsConfig::Flag(flag))?;
    }
    for parameter in data {
        match parameter {
            Parameter::Flag(flag) => sys::fsconfig(context, FsConfig::Flag(flag))?,
            Parameter::Value(key, value) => sys::fsconfig(context, FsConfig::String(key, value))?,
        }
    }
    sys::fsconfig(context, FsConfig::Create)?;
    let mount = sys::fsmount(context, attributes);
    spent.add(opened);
    mount
}

/// What a user namespace must have beside it for a file system that shows more
/// than itself (user_namespaces(7); `mount_too_revealing` in fs/namespace.c).
pub(super) fn needs_of(name: &CStr) -> Option<&'static str> {
    Some(match name.to_bytes() {
        b"proc" => {
            "a user namespace mounts it with a pid namespace of its own, and where /proc is seen whole"
        }
        b"sysfs" => {
            "a user namespace mounts it with a network namespace of its own, and where /sys is seen whole; else bind /sys"
        }
        b"mqueue" => "a user namespace mounts it with an ipc namespace of its own",
        b"cgroup" | b"cgroup2" => "a user namespace mounts it with a cgroup namespace of its own",
        b"tmpfs" | b"ramfs" | b"devpts" | b"overlay" | b"fuse" | b"bpf" | b"binfmt_misc" => {
            return None;
        }
        _ => "no user namespace may mount it",
    })
}
