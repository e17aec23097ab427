//! Directories of the host that the runtime makes for a container: its volumes, and its upper
//! layer.
//!
//! Only missing directories are made, each below the descriptor of the one above, so nobody can
//! redirect the rest of a path meanwhile. On the way there, a symbolic link is followed only if
//! it belongs to root or to the caller: another user may not choose where the runtime makes
//! directories.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{Mode, fchmod, fstat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, geteuid, unlinkat};

use super::root::{MAX_LINKS, components, link_target};
use crate::pathname::{Access, explain};

const PATH: OFlag = OFlag::O_PATH
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);
const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// A file in the directory of an upper layer that no container has been made with yet.
pub(super) const UNFINISHED: &str = "unfinished";

/// The attributes of a new directory.
#[derive(Clone, Copy)]
pub(super) struct Attributes {
    pub(super) mode: Mode,
    /// The owner on the host. `None` for the caller.
    pub(super) owner: Option<(u32, u32)>,
}

/// What was made so far, to be removed if the container cannot be made.
#[derive(Default)]
pub(crate) struct CreatedDirectories {
    /// Parents before their children.
    made: Vec<CreatedFile>,
    /// The directory of the upper layer, with the lock on it (flock(2)).
    pub(super) locked: Option<File>,
}

struct CreatedFile {
    parent: OwnedFd,
    name: OsString,
    /// For messages.
    path: PathBuf,
    what: What,
}

/// What was made, and is removed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A directory, which stays if it is not empty.
    Directory,
    /// A directory with all its content: only init has written to it.
    WithContent,
    File,
}

/// How much of a path exists.
struct Found {
    /// The last file on the way, with `O_PATH`.
    file: OwnedFd,
    /// Its path, without symbolic links.
    path: PathBuf,
    /// The missing components, the first one last.
    missing: Vec<OsString>,
}

/// The directories that [`CreatedDirectories::make`] would make for the absolute path `path`,
/// deepest first, without symbolic links. None if it cannot be found out.
pub(super) fn missing(path: &Path) -> Vec<PathBuf> {
    let Ok(mut found) = find(path) else {
        return Vec::new();
    };
    let mut missing = Vec::new();
    while let Some(name) = found.missing.pop() {
        found.path.push(name);
        missing.push(found.path.clone());
    }
    missing.reverse();
    missing
}

/// Removes those of `directories`, deepest first, that are empty. Paths are without symbolic
/// links: where there is one now, it is no directory that `rt` has made.
pub(super) fn remove_empty(directories: &[PathBuf]) {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    for path in directories {
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name())
            && let Ok(parent) = openat2(AT_FDCWD, parent, how)
        {
            // One that is in use, or gone, stays as it is.
            let _ = unlinkat(&parent, name, UnlinkatFlags::RemoveDir);
        }
    }
}

impl CreatedDirectories {
    /// Makes the directory at the absolute path `path`, and those above it, as far as they are
    /// missing. What exists keeps its attributes. Returns it with `O_PATH`.
    ///
    /// # Errors
    /// When one cannot be made, or a link of another user is on the way.
    pub(super) fn make(&mut self, path: &Path, new: Attributes) -> Result<OwnedFd> {
        let Found {
            mut file,
            path: mut reached,
            mut missing,
        } = find(path)?;
        while let Some(name) = missing.pop() {
            ensure!(
                name != "..",
                "\"..\" below {}, which is missing",
                reached.display()
            );
            reached.push(&name);
            file = self
                .make_in(file, &name, &reached, new, What::Directory)
                .map_err(|errno| explain(&reached, errno.into(), Access::Write))?;
        }
        Ok(file)
    }

    /// Makes the directory `name` in `parent`, or opens it if another process has made it
    /// meanwhile.
    pub(super) fn make_in(
        &mut self,
        parent: OwnedFd,
        name: &OsStr,
        path: &Path,
        new: Attributes,
        what: What,
    ) -> nix::Result<OwnedFd> {
        match mkdirat(&parent, name, Mode::S_IRWXU) {
            Ok(()) => {}
            Err(Errno::EEXIST) => return openat(&parent, name, PATH, Mode::empty()),
            Err(errno) => return Err(errno),
        }
        let directory = openat(&parent, name, DIRECTORY, Mode::empty());
        self.made.push(CreatedFile {
            parent,
            name: name.to_owned(),
            path: path.to_owned(),
            what,
        });
        let directory = directory?;
        let stat = fstat(&directory)?;
        if let Some((uid, gid)) = new.owner
            && (uid, gid) != (stat.st_uid, stat.st_gid)
        {
            fchown(
                &directory,
                Some(Uid::from_raw(uid)),
                Some(Gid::from_raw(gid)),
            )?;
        }
        fchmod(&directory, new.mode)?; // mkdirat(2) leaves out the bits of the umask.
        Ok(directory)
    }

    /// Makes an empty file in `parent`, the directory at `path`. An existing one is no error.
    pub(super) fn make_file(
        &mut self,
        parent: OwnedFd,
        name: &str,
        path: &Path,
    ) -> nix::Result<()> {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        match openat(&parent, name, flags, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(_) => self.made.push(CreatedFile {
                parent,
                name: name.into(),
                path: path.join(name),
                what: What::File,
            }),
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
        Ok(())
    }

    /// The container is made: other commands may use its upper layer, and see that its process
    /// may write to it.
    pub(crate) fn finish(&mut self) {
        if let Some(directory) = self.locked.take() {
            // Normally there is no such file.
            let _ = unlinkat(&directory, UNFINISHED, UnlinkatFlags::NoRemoveDir);
        }
    }

    /// Nothing is removed from now on: the container's process may have written to it.
    pub(crate) fn keep(&mut self) {
        self.made.clear();
    }

    /// Removes what was made, children before their parents. What was empty when it was made
    /// and is no longer, stays.
    ///
    /// # Errors
    /// The first directory that cannot be removed.
    pub(crate) fn undo(&mut self) -> Result<()> {
        let mut result = Ok(());
        while let Some(made) = self.made.pop() {
            let removed = made.remove();
            result = result.and(removed.with_context(|| made.path.display().to_string()));
        }
        self.locked = None;
        result
    }
}

impl CreatedFile {
    fn remove(&self) -> Result<()> {
        let flags = match self.what {
            What::WithContent => return remove_tree(&self.parent, &self.name),
            What::Directory => UnlinkatFlags::RemoveDir,
            What::File => UnlinkatFlags::NoRemoveDir,
        };
        match unlinkat(&self.parent, self.name.as_os_str(), flags) {
            Ok(()) | Err(Errno::ENOENT | Errno::ENOTEMPTY | Errno::EEXIST) => Ok(()),
            Err(errno) => bail!(errno),
        }
    }
}

/// Removes the directory `name` in `parent` with everything in it, without following links.
pub(super) fn remove_tree(parent: &impl AsRawFd, name: &OsStr) -> Result<()> {
    // Of the parts of a path only the last one may be a link here: the kernel's own to `parent`.
    let path = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string());
    let path = path.join(name);
    // overlayfs makes an empty directory without any permission in its work directory.
    let _ = std::fs::remove_dir(path.join("work"));
    match std::fs::remove_dir_all(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Follows `path` as far as it exists.
fn find(path: &Path) -> Result<Found> {
    let mut found = Found {
        file: open("/", PATH, Mode::empty())?,
        path: PathBuf::from("/"),
        missing: components(path),
    };
    let mut links = 0;
    while let Some(name) = found.missing.pop() {
        let reached = if name == ".." {
            (found.path.parent().unwrap_or(&found.path)).to_owned()
        } else {
            found.path.join(&name)
        };
        let file = match openat(&found.file, name.as_os_str(), PATH, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::ENOENT) => {
                found.missing.push(name);
                break;
            }
            Err(errno) => return Err(explain(&reached, errno.into(), Access::Search)),
        };
        let Some(target) = link_target(&file)? else {
            (found.file, found.path) = (file, reached);
            continue;
        };
        links += 1;
        ensure!(links <= MAX_LINKS, Errno::ELOOP);
        let owner = fstat(&file)?.st_uid;
        ensure!(
            owner == 0 || owner == geteuid().as_raw(),
            "{} is a symbolic link of uid {owner}, which rt does not follow to make directories; name the path without it",
            reached.display()
        );
        if target.is_absolute() {
            found.file = open("/", PATH, Mode::empty())?;
            found.path = PathBuf::from("/");
        }
        found.missing.extend(components(&target));
    }
    Ok(found)
}
