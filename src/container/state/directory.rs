//! A container's directory: below the runtime's root, named by the id, and locked (flock(2))
//! by the command that changes the container.
//!
//! A directory that is named by an id always holds a state. It is therefore created, locked
//! and given its first state under a name that cannot be an id, and then renamed; before it is
//! emptied it is renamed again. A command that is killed in between leaves an unlocked
//! directory that is not a container. The next command that creates or deletes a container
//! with this id reuses or removes it.

use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags, open, renameat2};
use nix::sys::stat::{Mode, fstat, lstat};
use nix::unistd::unlinkat;

use super::entries::ENTRIES;
use super::file::State;
use super::id::valid_id;
use super::root::{check_root, denied, is_reserved};
use crate::network::Owner;
use crate::sys;

const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// Precedes the id in the name of a directory that is being created.
pub(super) const CREATING_PREFIX: char = '~';

/// Precedes the id in the name of a directory that is being removed.
const REMOVING_PREFIX: char = '=';

/// The directory of one container, below the runtime's root.
pub(crate) struct Container {
    pub(crate) root: PathBuf,
    pub(crate) id: String,
    pub(super) directory: OwnDirectory,
}

/// A directory of the user who runs `rt`, which others cannot exchange while it is open.
pub(super) struct OwnDirectory {
    pub(super) file: File,
    /// Device and inode.
    inode: (u64, u64),
}

impl OwnDirectory {
    /// Whether `path` still refers to this directory.
    pub(super) fn is_at(&self, path: &Path) -> Result<bool> {
        match lstat(path) {
            Err(Errno::ENOENT) => Ok(false),
            found => {
                let found = found.with_context(|| path.display().to_string())?;
                Ok((found.st_dev, found.st_ino) == self.inode)
            }
        }
    }
}

/// The result of [`Container::lock_created`].
pub(crate) enum Locked {
    /// This process holds the lock.
    Here,
    /// The command that held it has removed the container.
    Removed,
    /// Another command is creating the container.
    Creating,
}

impl Container {
    /// Waits for the lock. False when the command that held it has removed the container.
    pub(crate) fn lock(&self) -> Result<bool> {
        let path = self.path();
        let subject = || format!("lock {}", path.display());
        self.directory.file.lock().with_context(subject)?;
        self.directory.is_at(&path)
    }

    /// Waits for the lock, unless the command that holds it is creating the container: that takes as
    /// long as its hooks, and a hook may be what waits.
    ///
    /// # Errors
    /// When the lock or the state cannot be read.
    pub(crate) fn lock_created(&self) -> Result<Locked> {
        if self.is_locked_by_other() {
            if self.state()?.is_some_and(|state| state.creating) {
                return Ok(Locked::Creating);
            }
            let locked = self.lock()?;
            return Ok(if locked {
                Locked::Here
            } else {
                Locked::Removed
            });
        }
        Ok(if self.directory.is_at(&self.path())? {
            Locked::Here
        } else {
            Locked::Removed
        })
    }

    /// Whether another process holds the lock. If not, this process holds it afterwards.
    pub(crate) fn is_locked_by_other(&self) -> bool {
        self.directory.file.try_lock().is_err()
    }

    /// Releases the lock, so that other commands can act on the container.
    pub(crate) fn unlock(&self) -> Result<()> {
        self.directory
            .file
            .unlock()
            .with_context(|| self.id.clone())
    }

    /// Opens the container `id` without locking it. `None` when there is no such container.
    pub(crate) fn open(root: &Path, id: &str) -> Result<Option<Container>> {
        ensure!(valid_id(id), "invalid container ID format: {id:?}");
        check_root(root)?;
        if is_reserved(root, id) {
            return Ok(None);
        }
        let directory = open_own(&root.join(id))?;
        Ok(directory.map(|directory| Container {
            root: root.to_owned(),
            id: id.to_owned(),
            directory,
        }))
    }

    /// Whose leases of the network are this container's.
    pub(crate) fn owner(&self) -> Owner<'_> {
        Owner {
            root: &self.root,
            id: &self.id,
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.root.join(&self.id)
    }

    /// `None` when the directory holds no `state.json`.
    ///
    /// # Errors
    /// When the file cannot be read or parsed, or belongs to another id.
    pub(crate) fn state(&self) -> Result<Option<State>> {
        let subject = || self.path().display().to_string();
        let state = State::load(self.as_fd()).with_context(subject)?;
        if let Some(state) = &state {
            state.check_id(&self.id).with_context(subject)?;
        }
        Ok(state)
    }

    /// Removes the directory, whose lock this process holds.
    pub(crate) fn remove(&self) -> Result<()> {
        let (path, removing) = (self.path(), prefixed(&self.root, REMOVING_PREFIX, &self.id));
        loop {
            match renameat2(
                AT_FDCWD,
                &path,
                AT_FDCWD,
                &removing,
                RenameFlags::RENAME_NOREPLACE,
            ) {
                Ok(()) => return empty(&self.directory.file, &removing),
                Err(Errno::ENOENT) => return Ok(()),
                // An earlier container with this id is still being removed.
                Err(Errno::EEXIST) if remove_unlocked(&removing, File::lock).is_ok() => {}
                // The leftover cannot be removed, or the file system has no RENAME_NOREPLACE.
                Err(Errno::EEXIST | Errno::EINVAL | Errno::ENOSYS) => {
                    return empty(&self.directory.file, &path);
                }
                Err(errno) => return Err(errno).with_context(|| path.display().to_string()),
            }
        }
    }
}

impl AsFd for Container {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.file.as_fd()
    }
}

/// Removes the directories of a container `id` that a killed command was creating or
/// removing.
///
/// # Errors
/// When one cannot be locked or removed.
pub(crate) fn remove_leftovers(root: &Path, id: &str) -> Result<()> {
    for prefix in [CREATING_PREFIX, REMOVING_PREFIX] {
        remove_unlocked(&prefixed(root, prefix, id), |directory| {
            directory.try_lock().map_err(|error| match error {
                TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
                TryLockError::Error(error) => error,
            })
        })?;
    }
    Ok(())
}

/// The names below `root` that are valid ids, sorted.
pub(crate) fn ids(root: &Path) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(denied(root, root, "read"));
        }
        entries => entries.with_context(|| root.display().to_string())?,
    };
    let mut ids: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| valid_id(name) && !is_reserved(root, name))
        .collect();
    ids.sort();
    Ok(ids)
}

/// The path of `id` with a prefix that no id has, cut to the kernel's limit for file names.
pub(super) fn prefixed(root: &Path, prefix: char, id: &str) -> PathBuf {
    let short: String = id.chars().take(254).collect();
    root.join(format!("{prefix}{short}"))
}

/// Opens the directory at `path`. `None` when there is none.
///
/// # Errors
/// When it belongs to another user.
pub(super) fn open_own(path: &Path) -> Result<Option<OwnDirectory>> {
    let subject = || path.display().to_string();
    let file = match open(path, DIRECTORY, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(None),
        Err(Errno::EACCES) => {
            return Err(denied(path.parent().unwrap_or(path), path, "read"));
        }
        opened => File::from(opened.with_context(subject)?),
    };
    let found = fstat(&file).with_context(subject)?;
    ensure!(
        found.st_uid == sys::ids_at_execve().0.as_raw(),
        "{}: belongs to user {}, not to the user who runs rt",
        path.display(),
        found.st_uid
    );
    let inode = (found.st_dev, found.st_ino);
    Ok(Some(OwnDirectory { file, inode }))
}

/// Removes the directory at `path`, if there is one and `lock` succeeds on it. When `lock`
/// returns `WouldBlock`, a command is still using the directory.
fn remove_unlocked(path: &Path, lock: impl FnOnce(&File) -> io::Result<()>) -> Result<()> {
    let Some(directory) = open_own(path)? else {
        return Ok(());
    };
    match lock(&directory.file) {
        Ok(()) if directory.is_at(path)? => empty(&directory.file, path),
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error).with_context(|| format!("lock {}", path.display())),
    }
}

/// Removes the directory at `path` and the files that a container's directory may hold.
pub(super) fn empty(directory: &File, path: &Path) -> Result<()> {
    for (name, how) in ENTRIES {
        match unlinkat(directory, name, how) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => {
                return Err(errno).with_context(|| path.join(name).display().to_string());
            }
        }
        match std::fs::remove_dir(path) {
            Ok(()) => return Ok(()),
            // It still holds one of the next entries.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        }
    }
    bail!("{}: holds files that are not a container's", path.display())
}
