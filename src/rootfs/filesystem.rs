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
