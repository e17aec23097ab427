//! Where a container is on disk: a directory below the runtime's root, called by
//! its id.
//!
//! As long as it has that name, it holds a state. So it is made, locked and given
//! its first state under a name that no id can be, and then renamed; and it is
//! renamed once more before it is emptied. Whoever is killed in between leaves a
//! directory that is no container, and that nobody holds: the next to make or to
//! remove a container of this id uses it or removes it.

use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags, open, renameat2};
use nix::sys::stat::{FileStat, Mode, fstat, lstat, stat};
use nix::unistd::{geteuid, unlinkat};

use super::state::{self, State};
use super::valid_id;
use crate::log;

const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// What comes before the id in the name of a directory that is being made.
const UNMADE: char = '~';

/// The same for one that is being emptied.
const UNUSED: char = '=';

/// For whoever has no right to the directory of others.
const WHERE: &str =
    "(a user's containers are kept in XDG_RUNTIME_DIR, if that is set, or where --root says)";

/// The directory of one container, below the runtime's root.
pub(super) struct Container {
    pub(super) root: PathBuf,
    pub(super) id: String,
    directory: File,
}

impl Container {
    /// Takes `id`: makes its directory, locked, with the state that `first` draws
    /// up. That is asked when nobody else has the id or can get it any more.
    ///
    /// # Errors
    /// When the id is taken; those of `first`.
    pub(super) fn new(
        root: &Path,
        id: &str,
        first: impl FnOnce() -> Result<State>,
    ) -> Result<(Container, State)> {
        ensure!(valid_id(id), "invalid container ID format: {id:?}");
        check_root(root)?;
        let (unmade, path) = (beside(root, UNMADE, id), root.join(id));
        let directory = claim(root, &unmade)?;
        let made = (|| {
            match lstat(&path) {
                Err(Errno::ENOENT) => {}
                Ok(_) => bail!(taken()),
                Err(errno) => return Err(errno).with_context(|| path.display().to_string()),
            }
            let state = first()?;
            state.save(directory.as_fd())?;
            rename(&unmade, &path)?;
            Ok(state)
        })();
        let container = Container {
            root: root.to_owned(),
            id: id.to_owned(),
            directory,
        };
        match made {
            Ok(state) => Ok((container, state)),
            Err(error) => {
                if let Err(left) = empty(&container.directory, &unmade) {
                    log::warn(&format!("left behind: {}", log::sentence(&left)));
                }
                Err(error)
            }
        }
    }

    /// Opens and locks the container `id`; `None` when there is none.
    pub(super) fn open(root: &Path, id: &str) -> Result<Option<Container>> {
        let Some(container) = Container::unlocked(root, id)? else {
            return Ok(None);
        };
        Ok(container.lock()?.then_some(container))
    }

    /// Waits for the lock; false when whoever held it has removed the container.
    pub(super) fn lock(&self) -> Result<bool> {
        let path = self.path();
        let subject = || format!("lock {}", path.display());
        self.directory.lock().with_context(subject)?;
        is_at(&self.directory, &path)
    }

    /// Whether somebody else holds the lock; if not, this process does now.
    pub(super) fn is_busy(&self) -> bool {
        self.directory.try_lock().is_err()
    }

    /// Lets others at it, for as long as its process runs.
    pub(super) fn unlock(&self) -> Result<()> {
        self.directory.unlock().with_context(|| self.id.clone())
    }

    pub(super) fn unlocked(root: &Path, id: &str) -> Result<Option<Container>> {
        ensure!(valid_id(id), "invalid container ID format: {id:?}");
        check_root(root)?;
        let directory = open_own(&root.join(id))?;
        Ok(directory.map(|directory| Container {
            root: root.to_owned(),
            id: id.to_owned(),
            directory,
        }))
    }

    pub(super) fn path(&self) -> PathBuf {
        self.root.join(&self.id)
    }

    pub(super) fn state(&self) -> Result<Option<State>> {
        let subject = || self.path().display().to_string();
        let state = State::load(self.directory.as_fd()).with_context(subject)?;
        if let Some(state) = &state {
            state.check_id(&self.id).with_context(subject)?;
        }
        Ok(state)
    }

    /// Removes what is on disk. This process holds the lock.
    pub(super) fn remove(&self) -> Result<()> {
        let (path, unused) = (self.path(), beside(&self.root, UNUSED, &self.id));
        loop {
            match renameat2(
                AT_FDCWD,
                &path,
                AT_FDCWD,
                &unused,
                RenameFlags::RENAME_NOREPLACE,
            ) {
                Ok(()) => return empty(&self.directory, &unused),
                Err(Errno::ENOENT) => return Ok(()),
                // Of one that had this id before; whoever empties it is soon done.
                Err(Errno::EEXIST) if clear(&unused, File::lock).is_ok() => {}
                // What is there cannot be emptied, or the file system knows no such call.
                Err(Errno::EEXIST | Errno::EINVAL | Errno::ENOSYS) => {
                    return empty(&self.directory, &path);
                }
                Err(errno) => return Err(errno).with_context(|| path.display().to_string()),
            }
        }
    }
}

impl AsFd for Container {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// Removes what is left where a container `id` was being made or removed by one
/// that was killed.
///
/// # Errors
/// Those of the file system.
pub(super) fn sweep(root: &Path, id: &str) -> Result<()> {
    for mark in [UNMADE, UNUSED] {
        clear(&beside(root, mark, id), |directory| {
            directory.try_lock().map_err(|error| match error {
                TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
                TryLockError::Error(error) => error,
            })
        })?;
    }
    Ok(())
}

/// Others who can write to the root could put one container's directory in the
/// place of another's.
///
/// # Errors
/// When they can. That it is missing is none.
pub(super) fn check_root(root: &Path) -> Result<()> {
    let meta = match stat(root) {
        Err(Errno::ENOENT) => return Ok(()),
        meta => meta.with_context(|| root.display().to_string())?,
    };
    let (mode, owner) = (meta.st_mode & 0o7777, meta.st_uid);
    ensure!(
        mode & 0o022 == 0,
        "{}: others than its owner can write to it (mode {mode:04o}): containers cannot be kept there",
        root.display()
    );
    ensure!(
        owner == geteuid().as_raw() || owner == 0,
        "{}: belongs to user {owner}, not to the one who runs this: containers cannot be kept there {WHERE}",
        root.display()
    );
    Ok(())
}

fn taken() -> &'static str {
    "container with given ID already exists"
}

/// A name beside `id` that is no id, and no longer than a file's may be.
fn beside(root: &Path, mark: char, id: &str) -> PathBuf {
    let short: String = id.chars().take(254).collect();
    root.join(format!("{mark}{short}"))
}

/// Makes the directory at `path`, or takes one that was left, and locks it. Who
/// has the lock of what is there alone renames it or removes it.
fn claim(root: &Path, path: &Path) -> Result<File> {
    loop {
        make(root, path)?;
        let Some(directory) = open_own(path)? else {
            continue;
        };
        match directory.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(taken()),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("lock {}", path.display()));
            }
        }
        // Else whoever had the lock was done with it in the meantime.
        if is_at(&directory, path)? {
            return Ok(directory);
        }
    }
}

/// Makes the directory at `path`, and `root` if need be. One that is there is fine.
fn make(root: &Path, path: &Path) -> Result<()> {
    let mut private = std::fs::DirBuilder::new();
    private.mode(0o700);
    let made = match private.create(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => private
            .recursive(true)
            .create(root)
            .and_then(|()| private.recursive(false).create(path)),
        done => done,
    };
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(error).with_context(|| format!("{} {WHERE}", root.display()))
        }
        done => done.with_context(|| path.display().to_string()),
    }
}

/// Opens the directory at `path`, which is this user's; `None` when there is none.
fn open_own(path: &Path) -> Result<Option<File>> {
    let subject = || path.display().to_string();
    let directory = match open(path, DIRECTORY, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(None),
        directory => File::from(directory.with_context(subject)?),
    };
    let owner = fstat(&directory).with_context(subject)?.st_uid;
    ensure!(
        owner == geteuid().as_raw(),
        "{}: belongs to user {owner}, not to the one who runs this",
        path.display()
    );
    Ok(Some(directory))
}

/// Whether `directory` is the one at `path`.
fn is_at(directory: &File, path: &Path) -> Result<bool> {
    let which = |meta: FileStat| (meta.st_dev, meta.st_ino);
    let subject = || path.display().to_string();
    match lstat(path) {
        Err(Errno::ENOENT) => Ok(false),
        there => {
            Ok(which(there.with_context(subject)?)
                == which(fstat(directory).with_context(subject)?))
        }
    }
}

/// Renames a directory, and replaces nothing.
fn rename(from: &Path, to: &Path) -> Result<()> {
    let flags = RenameFlags::RENAME_NOREPLACE;
    let renamed = match renameat2(AT_FDCWD, from, AT_FDCWD, to, flags) {
        // A file system that knows no such call: it replaces no directory that holds a state.
        Err(Errno::EINVAL | Errno::ENOSYS) => {
            renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::empty())
        }
        done => done,
    };
    match renamed {
        Err(Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR) => bail!(taken()),
        done => done.with_context(|| to.display().to_string()),
    }
}

/// Removes the directory at `path`, if one is there, that somebody has left whom
/// `lock` does not find there any more.
fn clear(path: &Path, lock: impl FnOnce(&File) -> io::Result<()>) -> Result<()> {
    let Some(directory) = open_own(path)? else {
        return Ok(());
    };
    match lock(&directory) {
        Ok(()) if is_at(&directory, path)? => empty(&directory, path),
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error).with_context(|| format!("lock {}", path.display())),
    }
}

/// Removes the directory at `path` with what a container's holds.
fn empty(directory: &File, path: &Path) -> Result<()> {
    for (name, how) in state::ENTRIES {
        match unlinkat(directory, name, how) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => {
                return Err(errno).with_context(|| path.join(name).display().to_string());
            }
        }
        match std::fs::remove_dir(path) {
            Ok(()) => return Ok(()),
            // Another of the files is there.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        }
    }
    bail!("{}: holds files that are not a container's", path.display())
}
