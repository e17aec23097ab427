//! A cgroup's directory, held open: all that is in it is reached through its descriptor.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, read, unlinkat, write};

/// Where a directory comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Made,
    Found,
}

/// An open directory, and the path that messages call it by.
#[derive(Debug)]
pub(super) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

const DIRECTORY: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

impl Directory {
    /// Opens what the machine's mount table, or our own state, names.
    pub(super) fn open(path: &Path) -> nix::Result<Directory> {
        Ok(Directory {
            fd: open(path, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty())?,
            path: path.to_owned(),
        })
    }

    /// Opens a directory below this one: no symbolic link, no other mount, no
    /// way out.
    pub(super) fn below(&self, relative: &Path) -> nix::Result<Directory> {
        let how = OpenHow::new().flags(DIRECTORY).resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_XDEV,
        );
        Ok(Directory {
            fd: openat2(&self.fd, relative, how)?,
            path: self.path.join(relative),
        })
    }

    /// Makes the directory `name` unless it is there.
    pub(super) fn make(&self, name: &Path) -> nix::Result<Origin> {
        match mkdirat(&self.fd, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) => Ok(Origin::Made),
            Err(Errno::EEXIST) => Ok(Origin::Found),
            Err(errno) => Err(errno),
        }
    }

    /// Removes the directory `name`, which has no cgroup below and no process.
    pub(super) fn remove(&self, name: &Path) -> nix::Result<()> {
        unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Is the same directory by another descriptor from now on.
    pub(super) fn replace(&mut self, fd: OwnedFd) {
        self.fd = fd;
    }

    pub(super) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Opens the file `name` for `access`.
    pub(super) fn file(&self, name: &str, access: OFlag) -> nix::Result<OwnedFd> {
        let flags = access | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&self.fd, name, flags, Mode::empty())
    }

    /// The text of a file that fits a page: the kernel hands it over in one read.
    pub(super) fn line(&self, name: &str) -> nix::Result<String> {
        let mut page = [0; 4096];
        let length = read(self.file(name, OFlag::O_RDONLY)?, &mut page)?;
        Ok(String::from_utf8_lossy(&page[..length])
            .trim_end()
            .to_owned())
    }

    /// The text of a file of any length.
    pub(super) fn text(&self, name: &str) -> nix::Result<String> {
        let mut file = fs::File::from(self.file(name, OFlag::O_RDONLY)?);
        io::read_to_string(&mut file).map_err(errno)
    }

    /// Writes `value` to the file `name`.
    pub(super) fn write(&self, name: &str, value: &str) -> nix::Result<()> {
        put(&self.file(name, OFlag::O_WRONLY)?, value)
    }

    /// The names of the cgroups right below.
    fn children(&self) -> nix::Result<Vec<OsString>> {
        // The link in /proc opens the very directory, for reading this time.
        let link = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        let mut names = Vec::new();
        for entry in fs::read_dir(link).map_err(errno)? {
            let entry = entry.map_err(errno)?;
            if entry.file_type().map_err(errno)?.is_dir() {
                names.push(entry.file_name());
            }
        }
        Ok(names)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Writes `value` at once, as the kernel takes settings: a part of it would be
/// another value.
pub(super) fn put(file: &OwnedFd, value: &str) -> nix::Result<()> {
    if write(file, value.as_bytes())? == value.len() {
        Ok(())
    } else {
        Err(Errno::EIO)
    }
}

/// Whether a directory, or what was read of one, is no longer there: removed
/// before it was opened, or while it was open.
pub(super) fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::ENOENT | Errno::ENODEV)
}

fn errno(error: io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// What [`walk`] comes by.
pub(super) enum Visit<'a> {
    /// A cgroup, before those below it.
    Enter(&'a Directory),
    /// The cgroup `name` in `parent`, after those below it.
    Leave {
        parent: &'a Directory,
        name: &'a Path,
    },
}

/// Visits `top` (entered only) and everything below it. Holds one descriptor
/// however deep the tree is: a container may have made it, to exhaust ours or
/// to exceed the length of a path.
pub(super) fn walk(top: &Path, mut visit: impl FnMut(Visit) -> nix::Result<()>) -> nix::Result<()> {
    let mut current = match Directory::open(top) {
        Err(errno) if is_gone(errno) => return Ok(()),
        opened => opened?,
    };
    let mut levels: Vec<(PathBuf, Vec<OsString>)> = Vec::new();
    let mut pending = enter(&current, &mut visit)?;
    loop {
        if let Some(name) = pending.pop().map(PathBuf::from) {
            match current.below(&name) {
                Err(errno) if is_gone(errno) => {}
                child => {
                    current = Directory {
                        path: top.to_owned(),
                        ..child?
                    };
                    let below = enter(&current, &mut visit)?;
                    levels.push((name, std::mem::replace(&mut pending, below)));
                }
            }
        } else if let Some((name, siblings)) = levels.pop() {
            let fd = openat(&current.fd, "..", DIRECTORY, Mode::empty())?;
            current = Directory {
                fd,
                path: top.to_owned(),
            };
            visit(Visit::Leave {
                parent: &current,
                name: &name,
            })?;
            pending = siblings;
        } else {
            return Ok(());
        }
    }
}

/// Visits `directory`, and lists what is below unless it is gone meanwhile.
fn enter(
    directory: &Directory,
    visit: &mut impl FnMut(Visit) -> nix::Result<()>,
) -> nix::Result<Vec<OsString>> {
    visit(Visit::Enter(directory))?;
    match directory.children() {
        Err(errno) if is_gone(errno) => Ok(Vec::new()),
        listed => listed,
    }
}

/// Opens the leaf `relative` below the mounted tree `root`, making what is
/// missing. Paths made are added to `created`, parents first.
///
/// # Errors
/// Those of mkdir(2) and openat2(2).
pub(super) fn make_all(
    root: &Directory,
    relative: &Path,
    created: &mut Vec<PathBuf>,
) -> nix::Result<(Directory, Origin)> {
    let (Some(parent), Some(name)) = (relative.parent(), relative.file_name().map(Path::new))
    else {
        return Err(Errno::EINVAL);
    };
    retry_races(|| {
        if parent.as_os_str().is_empty() {
            return make_one(root, name, created);
        }
        match root.below(parent) {
            Ok(parent) => make_one(&parent, name, created),
            Err(Errno::ENOENT) => {
                let mut names = parent.components().map(|part| Path::new(part.as_os_str()));
                let first = names.next().ok_or(Errno::EINVAL)?;
                let (mut at, _) = make_one(root, first, created)?;
                for name in names {
                    (at, _) = make_one(&at, name, created)?;
                }
                make_one(&at, name, created)
            }
            Err(errno) => Err(errno),
        }
    })
}

/// Repeats what failed because another container's end took a shared parent
/// away in between. Each repetition means that somebody else got on, so few
/// are ever needed.
pub(super) fn retry_races<T>(mut attempt: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    for _ in 0..100 {
        match attempt() {
            Err(errno) if is_gone(errno) => {}
            done => return done,
        }
    }
    attempt()
}

/// Opens the directory `name` in `parent`, made if missing.
pub(super) fn make_one(
    parent: &Directory,
    name: &Path,
    created: &mut Vec<PathBuf>,
) -> nix::Result<(Directory, Origin)> {
    let origin = parent.make(name)?;
    let path = parent.path().join(name);
    // Made a second time when a race was lost after the first.
    if origin == Origin::Made && !created.contains(&path) {
        created.push(path);
    }
    Ok((parent.below(name)?, origin))
}
