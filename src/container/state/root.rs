//! The runtime's root (`--root`): the directory that holds the directories of all containers.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use anyhow::{Context, Error, Result, anyhow, ensure};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::stat;
use nix::unistd::{AccessFlags, faccessat};

use crate::log::{self, errno_text};
use crate::network::DIRECTORY;
use crate::sys;

/// What a user without access to the runtime's root can do.
const REMEDY: &str = "set --root or XDG_RUNTIME_DIR to a directory of your own";

/// What helps where the runtime's root is on a read-only file system.
const READONLY: &str =
    "set --root to a writable directory; in a container, mount a tmpfs on /run of that container";

/// Checks that no other user can write to the runtime's root, and there exchange one
/// container's directory for another's. A missing root is no error.
///
/// # Errors
/// When another user owns it or can write to it.
pub(crate) fn check_root(root: &Path) -> Result<()> {
    let meta = match stat(root) {
        Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EACCES) => return Err(denied(root, root, "read")),
        meta => meta.with_context(|| root.display().to_string())?,
    };
    let (mode, owner) = (meta.st_mode & 0o7777, meta.st_uid);
    ensure!(
        mode & 0o022 == 0,
        "--root {0}: users other than its owner can write to it (mode {mode:04o}): containers cannot be kept there; chmod go-w {0}",
        root.display()
    );
    ensure!(
        owner == sys::ids_at_execve().0.as_raw() || owner == 0,
        "--root {}: belongs to user {owner}, not to the user who runs rt: containers cannot be kept there; {REMEDY}",
        root.display()
    );
    Ok(())
}

/// Whether the directory of a container `id` below `root` would be the one that holds the
/// records of the networks.
pub(super) fn is_reserved(root: &Path, id: &str) -> bool {
    let records = Path::new(DIRECTORY);
    if records.file_name() != Some(OsStr::new(id)) {
        return false;
    }
    // The root may be a symbolic link to the other.
    let inode = |path| stat(path).ok().map(|meta| (meta.st_dev, meta.st_ino));
    let parent = records.parent().unwrap_or(records);
    root == parent || inode(root).is_some_and(|root| inode(parent) == Some(root))
}

/// Checks that a container's directory can be created below `root`, without creating it.
///
/// # Errors
/// As `Container::new`, when `root` belongs to another user or cannot be written.
pub(crate) fn check_writable_root(root: &Path) -> Result<()> {
    check_root(root)?;
    let mut existing = root.ancestors().filter(|path| path.exists());
    let existing = existing.next().unwrap_or(Path::new("/"));
    let access = AccessFlags::W_OK | AccessFlags::X_OK;
    let writable = if existing.is_dir() {
        faccessat(AT_FDCWD, existing, access, AtFlags::AT_EACCESS)
    } else {
        Err(Errno::ENOTDIR)
    };
    writable.map_err(|errno| not_created(root, root, errno.into()))
}

/// The error for a directory at `path` that cannot be created below `root`.
pub(super) fn not_created(root: &Path, path: &Path, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::PermissionDenied {
        return denied(root, root, "write to");
    }
    let error = match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => log::hinted(Errno::EROFS, Some(READONLY.to_owned())),
        _ => Error::new(error),
    };
    error.context(path.display().to_string())
}

/// The error when permissions forbid this user to `action` (read, or write to) `path`, which is
/// `root` or a directory in it. It names the directory that denies the access: the last one on
/// the way that this user can see.
pub(super) fn denied(root: &Path, path: &Path, action: &str) -> Error {
    let mut way = path.ancestors();
    let seen = way.find_map(|path| Some((path, stat(path).ok()?)));
    let whose = seen.map_or_else(String::new, |(path, meta)| {
        format!(
            ": user {} may not {action} {} (mode {:04o}, owner {}:{})",
            sys::ids_at_execve().0,
            path.display(),
            meta.st_mode & 0o7777,
            meta.st_uid,
            meta.st_gid
        )
    });
    anyhow!(
        "--root {}: {}{whose}; run rt as root, or {REMEDY}",
        root.display(),
        errno_text(Errno::EACCES)
    )
}
