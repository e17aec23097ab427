//! The mounted resctrl file system. Everything in it is reached through one descriptor.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, bail};
use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat, mkdirat};
use nix::sys::statfs::{RDTGROUP_SUPER_MAGIC, fstatfs};
use nix::unistd::{UnlinkatFlags, unlinkat, write};

use super::plan::FIELD;
use crate::host::resctrl_mounts;
use crate::log;
use crate::sys;
use crate::trusted_proc::Proc;

const NOT_MOUNTED: &str = "no resctrl file system is mounted; mount it with mount -t resctrl resctrl /sys/fs/resctrl, \
    which needs a CPU with Intel RDT or AMD QoS and a kernel with CONFIG_X86_CPU_RESCTRL";

/// How the groups are locked against other programs (Documentation/filesystems/resctrl.rst, "Locking").
#[derive(Clone, Copy)]
pub(super) enum Access {
    Read,
    Change,
}

pub(super) struct FileSystem {
    root: OwnedFd,
    mount: PathBuf,
}

impl FileSystem {
    /// `root` is the directory that `mount` names.
    pub(super) fn new(root: OwnedFd, mount: PathBuf) -> FileSystem {
        FileSystem { root, mount }
    }

    /// The file system of the host.
    ///
    /// # Errors
    /// When none is mounted, or the mounts cannot be read.
    pub(super) fn find(proc: &Proc) -> Result<FileSystem> {
        for mount in resctrl_mounts(proc)? {
            // Another file system may cover it.
            if let Some(found) = FileSystem::open(&mount)? {
                return Ok(found);
            }
        }
        bail!("{FIELD}: {NOT_MOUNTED}")
    }

    /// Opens a mount point from the table of mounts, or from state.json. `None` when no resctrl is mounted there.
    ///
    /// # Errors
    /// When the directory cannot be opened.
    pub(super) fn open(mount: &Path) -> Result<Option<FileSystem>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let root = match nix::fcntl::open(mount, flags, Mode::empty()) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
            root => root.with_context(|| format!("{FIELD}: {}", mount.display()))?,
        };
        let kind = fstatfs(&root).with_context(|| format!("{FIELD}: {}", mount.display()))?;
        let is_resctrl = kind.filesystem_type() == RDTGROUP_SUPER_MAGIC;
        Ok(is_resctrl.then(|| FileSystem::new(root, mount.to_owned())))
    }

    /// As [`FileSystem::open`].
    ///
    /// # Errors
    /// As there, and when no resctrl is mounted there.
    pub(super) fn require(mount: &Path) -> Result<FileSystem> {
        let found = FileSystem::open(mount)?;
        found.with_context(|| format!("{FIELD}: {}: no resctrl is mounted there", mount.display()))
    }

    pub(super) fn mount(&self) -> &Path {
        &self.mount
    }

    /// The absolute path of a file or group, for messages.
    pub(super) fn path(&self, relative: &Path) -> String {
        let parts = self.mount.components().chain(relative.components());
        parts.collect::<PathBuf>().display().to_string()
    }

    /// Waits for the lock of the whole file system. It is held until the file is closed.
    pub(super) fn lock(&self, access: Access) -> Result<File> {
        let subject = || format!("{FIELD}: lock {}", self.mount.display());
        // A description of its own: the lock belongs to that.
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = openat(&self.root, ".", flags, Mode::empty()).with_context(subject)?;
        let root = File::from(root);
        let locked = match access {
            Access::Read => root.lock_shared(),
            Access::Change => root.lock(),
        };
        locked.with_context(subject)?;
        Ok(root)
    }

    /// Whether there is a group.
    ///
    /// # Errors
    /// `ENOTDIR` for a file, and those of stat(2).
    pub(super) fn has_group(&self, group: &Path) -> nix::Result<bool> {
        match fstatat(&self.root, group, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => Ok(false),
            Ok(stat)
                if SFlag::from_bits_truncate(stat.st_mode & libc::S_IFMT) != SFlag::S_IFDIR =>
            {
                Err(Errno::ENOTDIR)
            }
            found => found.map(|_| true),
        }
    }

    pub(super) fn make_group(&self, group: &Path) -> nix::Result<()> {
        mkdirat(&self.root, group, Mode::from_bits_truncate(0o755))
    }

    /// Removes a group with the monitoring groups below it. Its tasks are then in the group above it. A missing
    /// group is no error.
    pub(super) fn remove_group(&self, group: &Path) -> nix::Result<()> {
        match unlinkat(&self.root, group, UnlinkatFlags::RemoveDir) {
            Err(Errno::ENOENT) => Ok(()),
            removed => removed,
        }
    }

    pub(super) fn read(&self, file: &Path) -> nix::Result<String> {
        sys::read_to_string(self.file(file, OFlag::O_RDONLY)?.as_fd())
    }

    /// Writes a text with one write(2): the kernel applies all of its lines or none.
    pub(super) fn write(&self, file: &Path, text: &str) -> nix::Result<()> {
        match write(self.file(file, OFlag::O_WRONLY)?, text.as_bytes())? {
            written if written == text.len() => Ok(()),
            _ => Err(Errno::EIO),
        }
    }

    /// The names of the directories in one, sorted.
    pub(super) fn directories(&self, directory: &Path) -> nix::Result<Vec<String>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut opened = Dir::openat(&self.root, directory, flags, Mode::empty())?;
        let mut names = Vec::new();
        for entry in opened.iter() {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy();
            if entry.file_type() == Some(Type::Directory) && !name.starts_with('.') {
                names.push(name.into_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn file(&self, file: &Path, access: OFlag) -> nix::Result<OwnedFd> {
        let flags = access | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&self.root, file, flags, Mode::empty())
    }

    /// A refusal of the kernel, with its reason if it has left one.
    pub(super) fn refusal(&self, errno: Errno) -> Error {
        // After other errors the reason is that of an earlier command.
        let is_refusal = matches!(
            errno,
            Errno::EINVAL | Errno::ENOSPC | Errno::EBUSY | Errno::EPERM
        );
        let status = is_refusal.then(|| self.read(Path::new("info/last_cmd_status")).ok());
        let status = status.flatten().unwrap_or_default();
        let hint = Some(status.trim()).filter(|reason| !reason.is_empty() && *reason != "ok");
        log::hinted(errno, hint.map(str::to_owned))
    }
}
