//! Creates the directory of a new container.

use std::fs::TryLockError;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::stat::lstat;

use super::directory::{CREATING_PREFIX, Container, OwnDirectory, empty, open_own, prefixed};
use super::file::State;
use super::id::valid_id;
use super::root::{check_root, is_reserved, not_created};
use super::status::Status;
use crate::log;
use crate::network::DIRECTORY;
use crate::trusted_proc::Proc;

/// runc's text for an id that a container has already.
const ID_IN_USE: &str = "container with given ID already exists";

/// The errors of rename(2) when another directory has the name.
const IN_USE: [Errno; 3] = [Errno::EEXIST, Errno::ENOTEMPTY, Errno::ENOTDIR];

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
        ensure!(
            !is_reserved(root, id),
            "{DIRECTORY} holds the records of rt's networks; use another ID"
        );
        let (draft, path) = (prefixed(root, CREATING_PREFIX, id), root.join(id));
        let directory = create_locked(root, &draft)?;
        let created = (|| {
            match lstat(&path) {
                Err(Errno::ENOENT) => {}
                Ok(_) => return Err(id_in_use(root, id)),
                Err(errno) => return Err(errno).with_context(|| path.display().to_string()),
            }
            let state = initial_state()?;
            state.save_first(directory.file.as_fd())?;
            match rename(&draft, &path) {
                Err(errno) if IN_USE.contains(&errno) => Err(id_in_use(root, id)),
                renamed => renamed
                    .with_context(|| path.display().to_string())
                    .map(|()| state),
            }
        })();
        let container = Container {
            root: root.to_owned(),
            id: id.to_owned(),
            directory,
        };
        match created {
            Ok(state) => Ok((container, state)),
            Err(error) => {
                if let Err(not_removed) = empty(&container.directory.file, &draft) {
                    log::warn(&format!("left behind: {}", log::format_error(&not_removed)));
                }
                Err(error)
            }
        }
    }
}

/// Creates and locks the directory at `path`, or locks a leftover one. Only the holder of the
/// lock renames or removes the directory.
fn create_locked(root: &Path, path: &Path) -> Result<OwnDirectory> {
    loop {
        create_directory(root, path)?;
        let Some(directory) = open_own(path)? else {
            continue;
        };
        match directory.file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("{ID_IN_USE} (creating)"),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("lock {}", path.display()));
            }
        }
        // If not, the previous holder of the lock has renamed or removed the directory.
        if directory.is_at(path)? {
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

/// Renames a directory, but replaces no other.
fn rename(from: &Path, to: &Path) -> nix::Result<()> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        // Not every file system has RENAME_NOREPLACE. Without it, rename(2) still replaces no
        // directory that holds a state.
        Err(Errno::EINVAL | Errno::ENOSYS) => {
            renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::empty())
        }
        done => done,
    }
}

/// The error when a container has the id, with its status and how to remove it.
fn id_in_use(root: &Path, id: &str) -> Error {
    let (what, force) = match status_and_creation(root, id) {
        Ok(None) => return anyhow!(ID_IN_USE),
        Ok(Some((Status::Creating, _))) => return anyhow!("{ID_IN_USE} (creating)"),
        Ok(Some((Status::Created, time))) => (format!("created {time}"), ""),
        Ok(Some((status @ Status::Stopped, time))) => (format!("{status}, created {time}"), ""),
        Ok(Some((status @ (Status::Running | Status::Paused), time))) => {
            (format!("{status}, created {time}"), " --force")
        }
        Err(_) => ("its state cannot be read".to_owned(), " --force"),
    };
    anyhow!("{ID_IN_USE} ({what}); remove it with rt delete{force} {id}")
}

/// The status of the container `id`, and when it was created, to the second. `None` when the
/// container is no longer there.
fn status_and_creation(root: &Path, id: &str) -> Result<Option<(Status, String)>> {
    let Some(container) = Container::open(root, id)? else {
        return Ok(None);
    };
    let state = container.state()?.context("no state.json")?;
    let status = container.status(&state, &Proc::open()?)?;
    let time = match state.created.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => state.created,
    };
    Ok(Some((status, time)))
}
