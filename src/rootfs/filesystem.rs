//! A new file system: its superblock made and mounted, attached nowhere yet.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};

use super::copyup::Taken;
use super::options::{Options, Parameter};
use crate::sys::{self, FsConfig, Spent};

/// Superblocks that other mounts share: a read-only one would be everybody's.
const SHARED_SUPERBLOCKS: [&str; 4] = ["proc", "sysfs", "mqueue", "cgroup2"];

/// The file system of one entry of `mounts`, decided.
#[derive(Debug)]
pub(super) struct FileSystem {
    pub(super) name: CString,
    source: CString,
    superblock: Vec<CString>,
    data: Vec<Parameter>,
    pub(super) taken: Vec<Taken>,
}

impl FileSystem {
    pub(super) fn plan(name: &str, source: Option<&Path>, options: Options) -> Result<FileSystem> {
        let tmpfs = name == "tmpfs";
        let superblock = options.superblock.iter().copied().map(CString::new);
        let mut superblock: Vec<CString> = superblock.collect::<Result<_, _>>()?;
        if options.attributes.readonly() && !tmpfs && !SHARED_SUPERBLOCKS.contains(&name) {
            superblock.push(c"ro".into());
        }
        let has_mode = options.data.iter().any(
            |parameter| matches!(parameter, Parameter::Value(key, _) if key.as_c_str() == c"mode"),
        );
        let mut taken = Vec::new();
        if options.copy_up {
            taken.push(Taken::Content);
        }
        if tmpfs && !has_mode {
            taken.push(Taken::Mode);
        }
        let source = source.map_or(name.as_bytes(), |path| path.as_os_str().as_encoded_bytes());
        Ok(FileSystem {
            name: CString::new(name).context("type")?,
            source: CString::new(source).context("source")?,
            superblock,
            data: options.data,
            taken,
        })
    }

    /// A detached mount of it.
    pub(super) fn make(&self, spent: &Spent, attributes: u64) -> nix::Result<OwnedFd> {
        new_file_system(
            spent,
            &self.name,
            &self.source,
            &self.superblock,
            &self.data,
            attributes,
        )
    }
}

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
