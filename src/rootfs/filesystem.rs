//! A new file system: its superblock made and mounted, attached nowhere yet.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::mount::MsFlags;

use super::attributes::mount_flags;
use super::copyup::{self, Taken};
use super::detached::new_file_system;
use super::layers::{self, LONGEST};
use super::old_mount_api::Told;
use super::options::{Options, Parameter};
use crate::step::Cause;
use crate::sys::CloseBatch;

/// Superblocks that other mounts share: a read-only one would be everybody's.
const SHARED_SUPERBLOCKS: [&str; 4] = ["proc", "sysfs", "mqueue", "cgroup2"];

/// File systems that belong to namespaces and have no source: whatever the
/// configuration calls it.
const SOURCELESS: [&str; 8] = [
    "binfmt_misc",
    "bpf",
    "devpts",
    "mqueue",
    "proc",
    "ramfs",
    "sysfs",
    "tmpfs",
];

/// mount(2) reads so much of its options, with the NUL.
const PAGE: usize = 4096;

/// What a file system is made of, and so from where its source and its options
/// are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The namespaces of whoever makes it: init, once the machine is out of reach.
    Container,
    /// Files or devices that the configuration names by paths of the machine:
    /// made as early as bind mounts are copied.
    Machine,
}

/// The file system of one entry of `mounts`, decided.
#[derive(Debug)]
pub(super) struct FileSystem {
    pub(super) name: CString,
    source: CString,
    superblock: Vec<CString>,
    data: Vec<Parameter>,
    pub(super) origin: Origin,
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
        let overlay = name == "overlay";
        let is_device = source.is_some_and(Path::is_absolute) && !SOURCELESS.contains(&name);
        let origin = if is_device || overlay {
            Origin::Machine
        } else {
            Origin::Container
        };
        if overlay {
            layers::check(&options.data)?;
        }
        let source = source.map_or(name.as_bytes(), |path| path.as_os_str().as_encoded_bytes());
        let source = match source.len() <= LONGEST {
            // To an overlay it is a mere name.
            false if overlay => name.as_bytes(),
            _ => source,
        };
        Ok(FileSystem {
            name: CString::new(name).context("type")?,
            source: CString::new(source).context("source")?,
            superblock,
            data: options.data,
            origin,
            taken,
        })
    }

    /// A detached mount of it, to cover the directory `below`.
    pub(super) fn make(
        &self,
        close_batch: &CloseBatch,
        attributes: u64,
        below: Option<&OwnedFd>,
    ) -> Result<OwnedFd, Cause> {
        let (name, source) = (&self.name, &self.source);
        if self.origin == Origin::Container {
            let mut data = self.data.clone();
            if let Some(below) = below.filter(|_| self.taken.contains(&Taken::Mode)) {
                data.push(copyup::mode_of(below)?);
            }
            return new_file_system(
                close_batch,
                name,
                source,
                &self.superblock,
                &data,
                attributes,
            );
        }
        let (mut open, mut data, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for (place, parameter) in (0..).zip(&self.data) {
            let parts = layers::shortened(parameter, &mut open)?;
            places.extend(parts.iter().map(|_| place));
            data.extend(parts);
        }
        let flags = self.superblock.len() as u16;
        new_file_system(
            close_batch,
            name,
            source,
            &self.superblock,
            &data,
            attributes,
        )
        .map_err(|cause| match cause {
            Cause::Parameter(part, errno) if part >= flags => {
                let place = places.get(usize::from(part - flags));
                Cause::Parameter(flags + place.copied().unwrap_or_default(), errno)
            }
            other => other,
        })
    }

    /// Whether fsconfig(2) of this kernel takes what it is made of.
    pub(super) fn fits(&self) -> nix::Result<bool> {
        if self.source.to_bytes().len() > LONGEST {
            return Ok(false);
        }
        let overlay = self.name.as_c_str() == c"overlay";
        for parameter in &self.data {
            let fits = match parameter {
                _ if overlay => layers::fits(parameter)?,
                Parameter::Value(_, value) => value.to_bytes().len() <= LONGEST,
                Parameter::Flag(_) => true,
            };
            if !fits {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The same as [`FileSystem::make`] by mount(2), whose options have a page
    /// together: `by` is who calls it.
    pub(super) fn make_by_mount(
        &self,
        attributes: u64,
        below: Option<&OwnedFd>,
        by: impl FnOnce(&Told) -> Result<OwnedFd, Cause>,
    ) -> Result<OwnedFd, Cause> {
        let mut data = self.data.clone();
        if let Some(below) = below.filter(|_| self.taken.contains(&Taken::Mode)) {
            data.push(copyup::mode_of(below)?);
        }
        let options: Vec<String> = data.iter().map(Parameter::in_a_list).collect();
        let options = options.join(",");
        if options.len() >= PAGE {
            return Err(Errno::E2BIG.into());
        }
        let mut flags = mount_flags(attributes);
        for flag in &self.superblock {
            flags |= superblock_flag(flag).ok_or(Errno::EINVAL)?;
        }
        by(&Told {
            name: &self.name,
            source: &self.source,
            flags,
            options: &options,
        })
    }

    /// The parameter that [`Cause::Parameter`] has the place of, in the words of the configuration.
    pub(super) fn parameter(&self, place: u16) -> Option<String> {
        let place = usize::from(place);
        let text = |text: &CString| text.to_string_lossy().into_owned();
        if let Some(flag) = self.superblock.get(place) {
            return Some(text(flag));
        }
        Some(match self.data.get(place - self.superblock.len())? {
            Parameter::Flag(flag) => text(flag),
            Parameter::Value(key, value) => format!("{}={}", text(key), text(value)),
        })
    }
}

/// The flags of mount(2) for what fsconfig(2) has names for.
fn superblock_flag(name: &CStr) -> Option<MsFlags> {
    Some(match name.to_bytes() {
        b"ro" => MsFlags::MS_RDONLY,
        b"sync" => MsFlags::MS_SYNCHRONOUS,
        b"dirsync" => MsFlags::MS_DIRSYNC,
        b"lazytime" => MsFlags::MS_LAZYTIME,
        b"mand" => MsFlags::MS_MANDLOCK,
        _ => return None,
    })
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
