//! The runtime's part of an upper layer on the host: makes the directory, and keeps other
//! commands away from it until the overlay is mounted.
//!
//! A file in the directory says that no container has been made with it yet. It tells what is
//! left of a command that was killed from the changes of a container.

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, fstatat, stat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::{Layers, UPPER, Upper, WORK};
use crate::annotations::key;
use crate::pathname::{Access, explain};
use crate::rootfs::directories::{Attributes, CreatedDirectories, UNFINISHED, What, remove_tree};

/// Only the caller may enter: what a container has made in its upper layer, such as a set-user-ID
/// program, is not for other users of the host.
const PRIVATE: Attributes = Attributes {
    mode: Mode::S_IRWXU,
    owner: None,
};

const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

impl Layers {
    /// Runtime: checks the layers, and makes the directories of an upper layer on the host, with
    /// the mode and the owner of the layer below, or with `owner`, the root of a user namespace.
    ///
    /// # Errors
    /// When layers overlap, a directory cannot be made, or another command uses it.
    pub(in crate::rootfs) fn wire(
        &self,
        owner: Option<(u32, u32)>,
        directories: &mut CreatedDirectories,
    ) -> Result<()> {
        self.check()?;
        let (Upper::Directory(path), [top, ..]) = (&self.upper, self.lower()) else {
            return Ok(());
        };
        // A missing `root.path` is reported by whoever opens it.
        let Ok(top) = stat(top) else {
            return Ok(());
        };
        let owner = owner.or(Some((top.st_uid, top.st_gid)));
        let mode = Mode::from_bits_truncate(top.st_mode & 0o7777);
        make(path, (mode, owner), directories)
            .with_context(|| format!("annotations: {}: {}", key::OVERLAY, path.display()))
    }

    /// What [`Layers::wire`] makes without content in it: the directory of the upper layer, and
    /// those above it.
    pub(in crate::rootfs) fn directory(&self) -> Option<&Path> {
        match &self.upper {
            Upper::None | Upper::Memory(_) => None,
            Upper::Directory(path) => Some(path),
        }
    }
}

fn make(
    path: &Path,
    (mode, owner): (Mode, Option<(u32, u32)>),
    directories: &mut CreatedDirectories,
) -> Result<()> {
    let directory = directories.make(path, PRIVATE)?;
    let directory = File::from(
        openat(&directory, ".", DIRECTORY, Mode::empty())
            .map_err(|errno| explain(path, errno.into(), Access::Read))?,
    );
    if !lock(&directory)? {
        bail!("another command is making a container with it");
    }
    let is_missing = |name: &str| {
        let found = fstatat(&directory, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        found == Err(Errno::ENOENT)
    };
    let explained = |name: &str, errno: Errno| -> Error {
        explain(&path.join(name), errno.into(), Access::Write).context(name.to_owned())
    };
    let parent = || -> Result<OwnedFd> { Ok(directory.try_clone()?.into()) };
    if is_missing(UPPER) {
        directories
            .make_file(parent()?, UNFINISHED, path)
            .map_err(|errno| explained(UNFINISHED, errno))?;
    }
    for (name, mode) in [(UPPER, mode), (WORK, Mode::S_IRWXU)] {
        let new = Attributes { mode, owner };
        directories
            .make_in(
                parent()?,
                OsStr::new(name),
                &path.join(name),
                new,
                What::WithContent,
            )
            .map_err(|errno| explained(name, errno))?;
    }
    directories.locked = Some(directory);
    Ok(())
}

/// False if another process holds the lock. It ends with the last descriptor: init must not have one.
fn lock(directory: &File) -> Result<bool> {
    match directory.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error).context("lock"),
    }
}

/// Removes the upper layer whose content is `upper`, unless a container has been made with it, or is being
/// made: then it may hold changes.
///
/// # Errors
/// When it cannot be removed.
pub(in crate::rootfs) fn remove_unfinished(upper: &Path) -> Result<()> {
    let Some(path) = upper.parent() else {
        return Ok(());
    };
    let directory = match open(path, DIRECTORY, Mode::empty()) {
        Ok(directory) => File::from(directory),
        Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(errno).with_context(|| path.display().to_string()),
    };
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    if !lock(&directory)? || openat(&directory, UNFINISHED, flags, Mode::empty()).is_err() {
        return Ok(());
    }
    for name in [UPPER, WORK] {
        let removed = remove_tree(&directory, OsStr::new(name));
        removed.with_context(|| PathBuf::from(path).join(name).display().to_string())?;
    }
    unlinkat(&directory, UNFINISHED, UnlinkatFlags::NoRemoveDir).context(UNFINISHED)
}
