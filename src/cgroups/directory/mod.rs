//! A cgroup directory, held open. Everything in it is reached through its descriptor, so that a
//! path that is exchanged meanwhile cannot redirect a write.

pub(in crate::cgroups) mod make;
pub(in crate::cgroups) mod walk;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{AccessFlags, UnlinkatFlags, faccessat, read, unlinkat, write};

/// Whether a directory was made for the container or existed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cgroups) enum Origin {
    Created,
    Found,
}

/// An open directory, and its path for messages.
#[derive(Debug)]
pub(in crate::cgroups) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

const DIRECTORY: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

impl Directory {
    /// Opens a trusted path: one from the mount table or from state.json.
    ///
    /// # Errors
    /// When open(2) fails, or the last component is a symbolic link.
    pub(in crate::cgroups) fn open(path: &Path) -> nix::Result<Directory> {
        Ok(Directory {
            fd: open(path, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty())?,
            path: path.to_owned(),
        })
    }

    /// Opens a directory below this one. The kernel refuses a path with symbolic links, one that
    /// crosses a mount, and one that leads out.
    ///
    /// # Errors
    /// When openat2(2) fails; `EXDEV` and `ELOOP` are such refusals.
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

    /// Makes the directory `name` unless it exists.
    pub(in crate::cgroups) fn make(&self, name: &Path) -> nix::Result<Origin> {
        match mkdirat(&self.fd, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) => Ok(Origin::Created),
            Err(Errno::EEXIST) => Ok(Origin::Found),
            Err(errno) => Err(errno),
        }
    }

    /// Checks that this process may access the file `name`, or the directory itself if that is empty.
    ///
    /// # Errors
    /// Those of faccessat(2).
    pub(in crate::cgroups) fn check_access(
        &self,
        name: &str,
        access: AccessFlags,
    ) -> nix::Result<()> {
        let flags = AtFlags::AT_EACCESS | AtFlags::AT_EMPTY_PATH;
        faccessat(&self.fd, name, access, flags)
    }

    /// Removes the directory `name`. It must have no processes and no cgroups below it.
    pub(in crate::cgroups) fn remove(&self, name: &Path) -> nix::Result<()> {
        unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir)
    }

    pub(in crate::cgroups) fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the descriptor by another one of the same directory.
    pub(in crate::cgroups) fn replace_fd(&mut self, fd: OwnedFd) {
        self.fd = fd;
    }

    pub(in crate::cgroups) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Opens the file `name` with the access mode `access`.
    pub(in crate::cgroups) fn file(&self, name: &str, access: OFlag) -> nix::Result<OwnedFd> {
        let flags = access | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&self.fd, name, flags, Mode::empty())
    }

    /// Reads a file of at most one page, which the kernel returns in one read(2). Trailing
    /// whitespace is removed.
    pub(in crate::cgroups) fn read_page(&self, name: &str) -> nix::Result<String> {
        let mut page = [0; 4096];
        let length = read(self.file(name, OFlag::O_RDONLY)?, &mut page)?;
        Ok(String::from_utf8_lossy(&page[..length])
            .trim_end()
            .to_owned())
    }

    /// Reads a file of any length.
    pub(in crate::cgroups) fn read_all(&self, name: &str) -> nix::Result<String> {
        let mut file = fs::File::from(self.file(name, OFlag::O_RDONLY)?);
        io::read_to_string(&mut file).map_err(errno)
    }

    /// Writes `value` to the file `name`.
    pub(in crate::cgroups) fn write(&self, name: &str, value: &str) -> nix::Result<()> {
        write_whole(&self.file(name, OFlag::O_WRONLY)?, value)
    }

    /// The names of the cgroups directly below.
    fn children(&self) -> nix::Result<Vec<OsString>> {
        // The descriptor is O_PATH. Its link in /proc opens the same directory for reading.
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

/// Writes `value` in one write(2), because each write sets a value: the rest of a partial write
/// would be taken as another one.
///
/// # Errors
/// When write(2) fails; `EIO` when it writes only a part.
pub(in crate::cgroups) fn write_whole(file: &OwnedFd, value: &str) -> nix::Result<()> {
    if write(file, value.as_bytes())? == value.len() {
        Ok(())
    } else {
        Err(Errno::EIO)
    }
}

/// Whether the error means that the cgroup was removed: before it was opened (`ENOENT`), or
/// while it was open (`ENODEV`).
pub(in crate::cgroups) fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::ENOENT | Errno::ENODEV)
}

fn errno(error: io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}
