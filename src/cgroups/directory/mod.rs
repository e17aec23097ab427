//! A cgroup's directory, held open: all that is in it is reached through its descriptor.

pub(in crate::cgroups) mod make;
pub(in crate::cgroups) mod walk;

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
pub(in crate::cgroups) enum Origin {
    Made,
    Found,
}

/// An open directory, and the path that messages call it by.
#[derive(Debug)]
pub(in crate::cgroups) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

const DIRECTORY: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

impl Directory {
    /// Opens what the machine's mount table, or our own state, names.
    pub(in crate::cgroups) fn open(path: &Path) -> nix::Result<Directory> {
        Ok(Directory {
            fd: open(path, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty())?,
            path: path.to_owned(),
        })
    }

    /// Opens a directory below this one: no symbolic link, no other mount, no
    /// way out.
    pub(in crate::cgroups) fn below(&self, relative: &Path) -> nix::Result<Directory> {
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
    pub(in crate::cgroups) fn make(&self, name: &Path) -> nix::Result<Origin> {
        match mkdirat(&self.fd, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) => Ok(Origin::Made),
            Err(Errno::EEXIST) => Ok(Origin::Found),
            Err(errno) => Err(errno),
        }
    }

    /// Removes the directory `name`, which has no cgroup below and no process.
    pub(in crate::cgroups) fn remove(&self, name: &Path) -> nix::Result<()> {
        unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir)
    }

    pub(in crate::cgroups) fn path(&self) -> &Path {
        &self.path
    }

    /// Is the same directory by another descriptor from now on.
    pub(in crate::cgroups) fn replace(&mut self, fd: OwnedFd) {
        self.fd = fd;
    }

    pub(in crate::cgroups) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Opens the file `name` for `access`.
    pub(in crate::cgroups) fn file(&self, name: &str, access: OFlag) -> nix::Result<OwnedFd> {
        let flags = access | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&self.fd, name, flags, Mode::empty())
    }

    /// The text of a file that fits a page: the kernel hands it over in one read.
    pub(in crate::cgroups) fn line(&self, name: &str) -> nix::Result<String> {
        let mut page = [0; 4096];
        let length = read(self.file(name, OFlag::O_RDONLY)?, &mut page)?;
        Ok(String::from_utf8_lossy(&page[..length])
            .trim_end()
            .to_owned())
    }

    /// The text of a file of any length.
    pub(in crate::cgroups) fn text(&self, name: &str) -> nix::Result<String> {
        let mut file = fs::File::from(self.file(name, OFlag::O_RDONLY)?);
        io::read_to_string(&mut file).map_err(errno)
    }

    /// Writes `value` to the file `name`.
    pub(in crate::cgroups) fn write(&self, name: &str, value: &str) -> nix::Result<()> {
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
pub(in crate::cgroups) fn put(file: &OwnedFd, value: &str) -> nix::Result<()> {
    if write(file, value.as_bytes())? == value.len() {
        Ok(())
    } else {
        Err(Errno::EIO)
    }
}

/// Whether a directory, or what was read of one, is no longer there: removed
/// before it was opened, or while it was open.
pub(in crate::cgroups) fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::ENOENT | Errno::ENODEV)
}

fn errno(error: io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}
