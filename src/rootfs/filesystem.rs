//! A new file system of one entry of `mounts`.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Result, anyhow};
use nix::errno::Errno;
use nix::mount::MsFlags;

use super::attributes::mount_flags;
use super::copyup::{self, CopyUp};
use super::detached::new_file_system;
use super::facts::Facts;
use super::layers::{self, MAX_VALUE};
use super::old_mount_api::MountArgs;
use super::options::Options;
use super::parameter::{self, Parameter};
use crate::selinux::Label;
use crate::step::Cause;
use crate::sys::CloseBatch;

/// File systems whose superblock other mounts share: `ro` on it would affect them all.
const SHARED_SUPERBLOCKS: [&str; 4] = ["proc", "sysfs", "mqueue", "cgroup2"];

/// File systems to whose files the policy itself gives labels. They have no option for one.
const GENERATED_LABELS: [&str; 3] = ["proc", "sysfs", "mqueue"];

/// File systems without a backing file or device: `source` is only a name.
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

/// mount(2) reads this many bytes of options, with the final NUL.
pub(super) const PAGE: usize = 4096;

/// Which side the file system's source and options refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Only to the container's namespaces: init makes it after it has left the host's root.
    Container,
    /// To files or devices of the host: it is made when bind mounts are opened.
    Host,
}

/// The planned file system of one entry of `mounts`.
#[derive(Debug)]
pub(super) struct FileSystem {
    pub(super) fs_type: CString,
    pub(super) source: CString,
    pub(super) superblock: Vec<CString>,
    pub(super) data: Vec<Parameter>,
    /// The label that its root gets, where the file system has no option for labels.
    pub(super) root_label: Option<Label>,
    pub(super) origin: Origin,
    pub(super) copy_up: Vec<CopyUp>,
}

impl FileSystem {
    pub(super) fn plan(
        fs_type: &str,
        source: Option<&Path>,
        mut options: Options,
        facts: &Facts,
    ) -> Result<FileSystem> {
        let tmpfs = fs_type == "tmpfs";
        let superblock = options.superblock.iter().copied().map(CString::new);
        let mut superblock: Vec<CString> = superblock.collect::<Result<_, _>>()?;
        if options.attributes.readonly() && !tmpfs && !SHARED_SUPERBLOCKS.contains(&fs_type) {
            superblock.push(c"ro".into());
        }
        let has_mode = options.data.iter().any(
            |parameter| matches!(parameter, Parameter::Value(key, _) if key.as_c_str() == c"mode"),
        );
        let mut copy_up = Vec::new();
        if options.copy_up {
            copy_up.push(CopyUp::Content);
        }
        if tmpfs && !has_mode {
            copy_up.push(CopyUp::Mode);
        }
        let overlay = fs_type == "overlay";
        let is_device = source.is_some_and(Path::is_absolute) && !SOURCELESS.contains(&fs_type);
        let origin = if is_device || overlay {
            Origin::Host
        } else {
            Origin::Container
        };
        if overlay {
            layers::require_absolute_paths(&options.data)?;
        }
        let label = facts.mount_label.as_ref();
        if !options.data.iter().any(Parameter::is_label) && !GENERATED_LABELS.contains(&fs_type) {
            options.data.extend(parameter::context(label));
        }
        let source = source.map_or(fs_type.as_bytes(), |path| {
            path.as_os_str().as_encoded_bytes()
        });
        // For an overlay the source is only a name.
        let source = if overlay && source.len() > MAX_VALUE {
            fs_type.as_bytes()
        } else {
            source
        };
        Ok(FileSystem {
            fs_type: CString::new(fs_type).map_err(|_| anyhow!("type: holds a NUL byte"))?,
            source: CString::new(source).map_err(|_| anyhow!("source: holds a NUL byte"))?,
            superblock,
            data: options.data,
            // The host's queues keep their label.
            root_label: label
                .filter(|_| fs_type == "mqueue" && facts.ipc_namespace)
                .cloned(),
            origin,
            copy_up,
        })
    }

    /// Makes it as a detached mount, to be mounted over the directory `covered`.
    pub(super) fn create(
        &self,
        close_batch: &CloseBatch,
        attributes: u64,
        covered: Option<&OwnedFd>,
    ) -> Result<OwnedFd, Cause> {
        let (fs_type, source) = (&self.fs_type, &self.source);
        if self.origin == Origin::Container {
            let mut data = self.data.clone();
            if let Some(covered) = covered.filter(|_| self.copy_up.contains(&CopyUp::Mode)) {
                data.push(copyup::mode_of(covered)?);
            }
            let mount = new_file_system(
                close_batch,
                fs_type,
                source,
                &self.superblock,
                &data,
                attributes,
            )?;
            if let Some(label) = &self.root_label {
                label.give_to_root(mount.as_fd())?;
            }
            return Ok(mount);
        }
        let (mut open, mut data, mut positions) = (Vec::new(), Vec::new(), Vec::new());
        for (position, parameter) in (0..).zip(&self.data) {
            let parts = layers::for_fsconfig(parameter, &mut open)?;
            positions.extend(parts.iter().map(|_| position));
            data.extend(parts);
        }
        let flags = self.superblock.len() as u16;
        new_file_system(
            close_batch,
            fs_type,
            source,
            &self.superblock,
            &data,
            attributes,
        )
        .map_err(|cause| match cause {
            Cause::Parameter(index, errno) if index >= flags => {
                let position = positions.get(usize::from(index - flags));
                Cause::Parameter(flags + position.copied().unwrap_or_default(), errno)
            }
            other => other,
        })
    }

    /// Whether fsconfig(2) of this kernel accepts its source and options.
    pub(super) fn fits_fsconfig(&self) -> nix::Result<bool> {
        // fsconfig(2) has no name for it.
        let iversion = |flag: &CString| flag.as_c_str() == c"iversion";
        if self.source.to_bytes().len() > MAX_VALUE || self.superblock.iter().any(iversion) {
            return Ok(false);
        }
        let overlay = self.fs_type.as_c_str() == c"overlay";
        for parameter in &self.data {
            let fits = match parameter {
                _ if overlay => layers::fits_fsconfig(parameter)?,
                Parameter::Value(_, value) => value.to_bytes().len() <= MAX_VALUE,
                Parameter::Flag(_) => true,
            };
            if !fits {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The same as [`FileSystem::create`] with mount(2), which takes one page of options.
    /// `mount` makes that call.
    pub(super) fn create_with_mount(
        &self,
        attributes: u64,
        covered: Option<&OwnedFd>,
        mount: impl FnOnce(&MountArgs) -> Result<OwnedFd, Cause>,
    ) -> Result<OwnedFd, Cause> {
        let mut data = self.data.clone();
        if let Some(covered) = covered.filter(|_| self.copy_up.contains(&CopyUp::Mode)) {
            data.push(copyup::mode_of(covered)?);
        }
        let options: Vec<String> = data.iter().map(Parameter::to_mount_data).collect();
        let options = options.join(",");
        if options.len() >= PAGE {
            return Err(Errno::E2BIG.into());
        }
        let mut flags = mount_flags(attributes);
        for flag in &self.superblock {
            flags |= superblock_flag(flag).ok_or(Errno::EINVAL)?;
        }
        mount(&MountArgs {
            fs_type: &self.fs_type,
            source: &self.source,
            flags,
            data: &options,
        })
    }

    /// The option at the position that [`Cause::Parameter`] holds, as in config.json.
    pub(super) fn parameter(&self, position: u16) -> Option<String> {
        let position = usize::from(position);
        let text = |text: &CString| text.to_string_lossy().into_owned();
        if let Some(flag) = self.superblock.get(position) {
            return Some(text(flag));
        }
        Some(match self.data.get(position - self.superblock.len())? {
            Parameter::Flag(flag) => text(flag),
            Parameter::Value(key, value) => format!("{}={}", text(key), text(value)),
        })
    }
}

/// The flag of mount(2) for an option of the superblock.
fn superblock_flag(name: &CStr) -> Option<MsFlags> {
    Some(match name.to_bytes() {
        b"ro" => MsFlags::MS_RDONLY,
        b"sync" => MsFlags::MS_SYNCHRONOUS,
        b"dirsync" => MsFlags::MS_DIRSYNC,
        b"lazytime" => MsFlags::MS_LAZYTIME,
        b"mand" => MsFlags::MS_MANDLOCK,
        b"iversion" => MsFlags::MS_I_VERSION,
        _ => return None,
    })
}

/// The condition under which a user namespace may mount a file system of this type
/// (user_namespaces(7); `mount_too_revealing` in fs/namespace.c).
pub(super) fn user_namespace_requirement(fs_type: &CStr) -> Option<&'static str> {
    Some(match fs_type.to_bytes() {
        b"proc" => {
            "a user namespace can mount it with a pid namespace of its own, while all of /proc is visible: in a container, without maskedPaths and readonlyPaths of that container"
        }
        b"sysfs" => {
            "a user namespace can mount it with a network namespace of its own, while all of /sys is visible; else bind /sys"
        }
        b"mqueue" => "a user namespace can mount it with an ipc namespace of its own",
        b"cgroup" | b"cgroup2" => {
            "a user namespace can mount it with a cgroup namespace of its own"
        }
        b"tmpfs" | b"ramfs" | b"devpts" | b"overlay" | b"fuse" | b"bpf" | b"binfmt_misc" => {
            return None;
        }
        _ => "a user namespace cannot mount it",
    })
}
