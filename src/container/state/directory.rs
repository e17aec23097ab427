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
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, RenameFlags, open, renameat2};
use nix::sys::stat::{FileStat, Mode, fstat, lstat, stat};
use nix::unistd::{AccessFlags, faccessat, geteuid, unlinkat};

use super::entries::ENTRIES;
use super::file::State;
use crate::log;

const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// Precedes the id in the name of a directory that is being created.
const CREATING_PREFIX: char = '~';

/// Precedes the id in the name of a directory that is being removed.
const REMOVING_PREFIX: char = '=';

/// A hint for a user without access to the runtime's root.
const ROOT_HINT: &str = "(an unprivileged user's containers are kept in XDG_RUNTIME_DIR, if it is set, or in the directory of --root)";

/// The directory of one container, below the runtime's root.
pub(crate) struct Container {
    pub(crate) root: PathBuf,
    pub(crate) id: String,
    directory: File,
}

impl Container {
    /// Creates and locks the directory for a new container, with the state that
    /// `initial_state` returns. It is called once no other command can take the id.
    ///
    /// # Errors
    /// When the id is in use, or `initial_state` fails.
    pub(crate) fn new(
        root: &Path,
        id: &str,
        initial_state: impl FnOnce() -> Result<State>,
    ) -> Result<(Container, State)> {
        ensure!(valid_id(id), "invalid container ID format: {id:?}");
        check_root(root)?;
        let (draft, path) = (prefixed(root, CREATING_PREFIX, id), root.join(id));
        let directory = create_locked(root, &draft)?;
        let created = (|| {
            match lstat(&path) {
                Err(Errno::ENOENT) => {}
                Ok(_) => bail!(id_in_use()),
                Err(errno) => return Err(errno).with_context(|| path.display().to_string()),
            }
            let state = initial_state()?;
            state.save(directory.as_fd())?;
            rename(&draft, &path)?;
            Ok(state)
        })();
        let container = Container {
            root: root.to_owned(),
            id: id.to_owned(),
            directory,
        };
        match created {
            Ok(state) => Ok((container, state)),
            Err(error) => {
                if let Err(not_removed) = empty(&container.directory, &draft) {
                    log::warn(&format!("left behind: {}", log::format_error(&not_removed)));
                }
                Err(error)
            }
        }
    }

    /// Opens and locks the container `id`. `None` when there is no such container.
    pub(crate) fn open_locked(root: &Path, id: &str) -> Result<Option<Container>> {
        let Some(container) = Container::open(root, id)? else {
            return Ok(None);
        };
        Ok(container.lock()?.then_some(container))
    }

    /// Waits for the lock. False when the command that held it has removed the container.
    pub(crate) fn lock(&self) -> Result<bool> {
        let path = self.path();
        let subject = || format!("lock {}", path.display());
        self.directory.lock().with_context(subject)?;
        is_at(&self.directory, &path)
    }

    /// Whether another process holds the lock. If not, this process holds it afterwards.
    pub(crate) fn is_locked_by_other(&self) -> bool {
        self.directory.try_lock().is_err()
    }

    /// Releases the lock, so that other commands can act on the container.
    pub(crate) fn unlock(&self) -> Result<()> {
        self.directory.unlock().with_context(|| self.id.clone())
    }

    /// Opens the container `id` without locking it. `None` when there is no such container.
    pub(crate) fn open(root: &Path, id: &str) -> Result<Option<Container>> {
        ensure!(valid_id(id), "invalid container ID format: {id:?}");
        check_root(root)?;
        let directory = open_own(&root.join(id))?;
        Ok(directory.map(|directory| Container {
            root: root.to_owned(),
            id: id.to_owned(),
            directory,
        }))
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
        let state = State::load(self.directory.as_fd()).with_context(subject)?;
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
                Ok(()) => return empty(&self.directory, &removing),
                Err(Errno::ENOENT) => return Ok(()),
                // An earlier container with this id is still being removed.
                Err(Errno::EEXIST) if remove_unlocked(&removing, File::lock).is_ok() => {}
                // The leftover cannot be removed, or the file system has no RENAME_NOREPLACE.
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

/// Whether `id` is a valid container id: 1 to 1024 letters, digits, `_`, `+`, `-` and `.`, but
/// neither `.` nor `..`.
pub(crate) fn valid_id(id: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.');
    !id.is_empty() && id.len() <= 1024 && id.chars().all(is_allowed) && id != "." && id != ".."
}

/// The names below `root` that are valid ids, sorted.
pub(crate) fn ids(root: &Path) -> Result<Vec<String>> {
    let mut ids: Vec<String> = std::fs::read_dir(root)
        .with_context(|| root.display().to_string())?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| valid_id(name))
        .collect();
    ids.sort();
    Ok(ids)
}

/// Checks that no other user can write to the runtime's root, and there exchange one
/// container's directory for another's. A missing root is no error.
///
/// # Errors
/// When another user owns it or can write to it.
pub(crate) fn check_root(root: &Path) -> Result<()> {
    let meta = match stat(root) {
        Err(Errno::ENOENT) => return Ok(()),
        meta => meta.with_context(|| root.display().to_string())?,
    };
    let (mode, owner) = (meta.st_mode & 0o7777, meta.st_uid);
    ensure!(
        mode & 0o022 == 0,
        "{}: users other than its owner can write to it (mode {mode:04o}): containers cannot be kept there",
        root.display()
    );
    ensure!(
        owner == geteuid().as_raw() || owner == 0,
        "{}: belongs to user {owner}, not to the user who runs rt: containers cannot be kept there {ROOT_HINT}",
        root.display()
    );
    Ok(())
}

/// Checks that a container's directory can be created below `root`, without creating it.
///
/// # Errors
/// As [`Container::new`], when `root` belongs to another user or cannot be written.
pub(crate) fn check_writable_root(root: &Path) -> Result<()> {
    check_root(root)?;
    let mut existing = root.ancestors().filter(|path| path.exists());
    let existing = existing.next().unwrap_or(Path::new("/"));
    let access = AccessFlags::W_OK | AccessFlags::X_OK;
    let writable = faccessat(AT_FDCWD, existing, access, AtFlags::AT_EACCESS);
    let writable = match existing.is_dir() {
        true => writable,
        false => Err(Errno::ENOTDIR),
    };
    writable.map_err(|errno| not_created(root, root, errno.into()))
}

/// The error for a directory at `path` that cannot be created below `root`.
fn not_created(root: &Path, path: &Path, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::PermissionDenied {
        return Error::new(error).context(format!("{} {ROOT_HINT}", root.display()));
    }
    Error::new(error).context(path.display().to_string())
}

/// The error of a command for an id that names no container.
pub(crate) fn no_such_container() -> Error {
    anyhow!("container does not exist")
}

fn id_in_use() -> &'static str {
    "container with given ID already exists"
}

/// The path of `id` with a prefix that no id has, cut to the kernel's limit for file names.
fn prefixed(root: &Path, prefix: char, id: &str) -> PathBuf {
    let short: String = id.chars().take(254).collect();
    root.join(format!("{prefix}{short}"))
}

/// Creates and locks the directory at `path`, or locks a leftover one. Only the holder of the
/// lock renames or removes the directory.
fn create_locked(root: &Path, path: &Path) -> Result<File> {
    loop {
        create_directory(root, path)?;
        let Some(directory) = open_own(path)? else {
            continue;
        };
        match directory.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(id_in_use()),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("lock {}", path.display()));
            }
        }
        // If not, the previous holder of the lock has renamed or removed the directory.
        if is_at(&directory, path)? {
            return Ok(directory);
        }
    }
}

/// Creates the directory at `path`, and `root` if it is missing. An existing directory is no
/// error.
fn create_directory(root: &Path, path: &Path) -> Result<()> {
    let mut private = std::fs::DirBuilder::new();
    private.mode(0o700);
    let created = match private.create(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => private
            .recursive(true)
            .create(root)
            .and_then(|()| private.recursive(false).create(path)),
        done => done,
    };
    match created {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => done.map_err(|error| not_created(root, path, error)),
    }
}

/// Opens the directory at `path`. `None` when there is none.
///
/// # Errors
/// When it belongs to another user.
fn open_own(path: &Path) -> Result<Option<File>> {
    let subject = || path.display().to_string();
    let directory = match open(path, DIRECTORY, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(None),
        directory => File::from(directory.with_context(subject)?),
    };
    let owner = fstat(&directory).with_context(subject)?.st_uid;
    ensure!(
        owner == geteuid().as_raw(),
        "{}: belongs to user {owner}, not to the user who runs rt",
        path.display()
    );
    Ok(Some(directory))
}

/// Whether `path` still refers to the open `directory`.
fn is_at(directory: &File, path: &Path) -> Result<bool> {
    let inode = |meta: FileStat| (meta.st_dev, meta.st_ino);
    let subject = || path.display().to_string();
    match lstat(path) {
        Err(Errno::ENOENT) => Ok(false),
        there => {
            Ok(inode(there.with_context(subject)?)
                == inode(fstat(directory).with_context(subject)?))
        }
    }
}

/// Renames a directory, but replaces no other.
fn rename(from: &Path, to: &Path) -> Result<()> {
    let flags = RenameFlags::RENAME_NOREPLACE;
    let renamed = match renameat2(AT_FDCWD, from, AT_FDCWD, to, flags) {
        // Not every file system has RENAME_NOREPLACE. Without it, rename(2) still replaces no
        // directory that holds a state.
        Err(Errno::EINVAL | Errno::ENOSYS) => {
            renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::empty())
        }
        done => done,
    };
    match renamed {
        Err(Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR) => bail!(id_in_use()),
        done => done.with_context(|| to.display().to_string()),
    }
}

/// Removes the directory at `path`, if there is one and `lock` succeeds on it. When `lock`
/// returns `WouldBlock`, a command is still using the directory.
fn remove_unlocked(path: &Path, lock: impl FnOnce(&File) -> io::Result<()>) -> Result<()> {
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

/// Removes the directory at `path` and the files that a container's directory may hold.
fn empty(directory: &File, path: &Path) -> Result<()> {
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
