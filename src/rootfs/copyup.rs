//! A new tmpfs takes the mode of the directory that it covers, and with the option
//! `tmpcopyup` a copy of its content.
//!
//! The copy is complete before the tmpfs is attached, so no process sees a part of it.
//! Files are opened relative to directory descriptors, one component at a time, and
//! symbolic links are not followed.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{
    FileStat, Mode, SFlag, UtimensatFlags, fchmod, fstat, fstatat, futimens, mkdirat, mknodat,
    utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat, getegid, geteuid, linkat, symlinkat};

use super::parameter::Parameter;
use super::root::{Links, Root};
use crate::sys;

/// What a new tmpfs copies from the directory that it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CopyUp {
    /// The permissions, unless the mount options set others.
    Mode,
    /// The content (option `tmpcopyup`).
    Content,
}

/// The longest path, in bytes (limits.h).
const PATH_MAX: usize = libc::PATH_MAX as usize;

const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// Opens the directory that the mount covers; `None` where it does not exist yet.
pub(super) fn open_covered(root: &Root, target: &Path) -> nix::Result<Option<OwnedFd>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    match root.open(target, flags, Links::Follow) {
        Ok(covered) => Ok(Some(covered)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// The mount option that gives a new tmpfs the permissions of `covered`.
pub(super) fn mode_of(covered: &OwnedFd) -> nix::Result<Parameter> {
    let mode = format!("{:04o}", fstat(covered)?.st_mode & 0o7777);
    let mode = CString::new(mode).map_err(|_| Errno::EINVAL)?;
    Ok(Parameter::Value(c"mode".into(), mode))
}

/// Copies the content of `covered` to the detached tmpfs `mount`.
pub(super) fn copy_content(covered: OwnedFd, mount: BorrowedFd) -> nix::Result<()> {
    // The descriptor of the mount is `O_PATH`; the copy needs one that can be read.
    let open = || openat(mount, c".", DIRECTORY, Mode::empty());
    TreeCopy::new(open()?).copy_content(Dir::from_fd(covered)?, open()?)
}

/// A copy in progress.
struct TreeCopy {
    top: Root,
    owner: (Uid, Gid),
    /// The current path in the copy, from its root.
    path: PathBuf,
    /// The first path of each file that has several links, by device and inode.
    hard_links: HashMap<(u64, u64), PathBuf>,
}

/// A directory whose content is being copied.
struct DirectoryCopy {
    from: Dir,
    to: OwnedFd,
    /// The entries that remain.
    names: std::vec::IntoIter<CString>,
    /// The metadata to set when the copy is complete. `None` for the root of the tmpfs.
    stat: Option<FileStat>,
}

impl TreeCopy {
    fn new(top: OwnedFd) -> TreeCopy {
        TreeCopy {
            top: Root::new(top),
            owner: (geteuid(), getegid()),
            path: PathBuf::from("/"),
            hard_links: HashMap::new(),
        }
    }

    /// Copies everything in `from`, which is open for reading, to `to`. The image decides
    /// how deep its directories are nested, so this does not recurse.
    fn copy_content(&mut self, from: Dir, to: OwnedFd) -> nix::Result<()> {
        let mut stack = vec![DirectoryCopy::new(from, to, None)?];
        while let Some(current) = stack.last_mut() {
            let Some(name) = current.names.next() else {
                if let Some(DirectoryCopy { from, to, stat, .. }) = stack.pop()
                    && let Some(stat) = stat
                {
                    self.set_metadata(to.as_fd(), &stat)?;
                    // Set after the content is copied: a default ACL would apply to new
                    // files.
                    copy_attributes(from.as_fd(), to.as_fd())?;
                    self.path.pop();
                }
                continue;
            };
            self.path.push(OsStr::from_bytes(name.to_bytes()));
            // A deeper file has no path, and each level needs a descriptor.
            if self.path.as_os_str().len() >= PATH_MAX {
                return Err(Errno::ENAMETOOLONG);
            }
            match self.copy_entry(current.from.as_fd(), current.to.as_fd(), &name)? {
                Some(directory) => stack.push(directory),
                None => drop(self.path.pop()),
            }
        }
        Ok(())
    }

    /// Copies one entry. For a directory it copies only the directory itself, and returns
    /// it.
    fn copy_entry(
        &mut self,
        from: BorrowedFd,
        to: BorrowedFd,
        name: &CStr,
    ) -> nix::Result<Option<DirectoryCopy>> {
        let stat = match fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            // Another process removed the entry meanwhile.
            Err(Errno::ENOENT) => return Ok(None),
            stat => stat?,
        };
        match file_type(&stat) {
            SFlag::S_IFDIR => return start_directory(from, to, name).map(Some),
            SFlag::S_IFREG => return self.copy_file(from, to, name, &stat).map(|()| None),
            SFlag::S_IFLNK => {
                let target = readlinkat(from, name)?;
                symlinkat(target.as_os_str(), to, name)?;
            }
            other => mknodat(to, name, other, mode(&stat), stat.st_rdev)?,
        }
        if let Some((uid, gid)) = self.owner_to_set(&stat) {
            fchownat(to, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        }
        let (accessed, modified) = times(&stat);
        utimensat(
            to,
            name,
            &accessed,
            &modified,
            UtimensatFlags::NoFollowSymlink,
        )?;
        Ok(None)
    }

    fn copy_file(
        &mut self,
        from: BorrowedFd,
        to: BorrowedFd,
        name: &CStr,
        stat: &FileStat,
    ) -> nix::Result<()> {
        if stat.st_nlink > 1 {
            let id = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.hard_links.get(&id) {
                let (parent, first) = self.top.parent(first)?;
                return linkat(parent, first, to, name, AtFlags::empty());
            }
            self.hard_links.insert(id, self.path.clone());
        }
        let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        // If the file was replaced by a FIFO, opening it must not wait for a writer.
        let reading = flags | OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        let from = openat(from, name, reading, Mode::empty())?;
        let stat = fstat(&from)?;
        if file_type(&stat) != SFlag::S_IFREG {
            return Err(Errno::ESTALE);
        }
        let writing = flags | OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let to = openat(to, name, writing, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let (mut from, mut to) = (File::from(from), File::from(to));
        io::copy(&mut from, &mut to)
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
        self.set_metadata(to.as_fd(), &stat)?;
        // After the owner is set: chown(2) removes file capabilities.
        copy_attributes(from.as_fd(), to.as_fd())
    }

    /// Sets owner, mode and times, in this order: chown(2) clears the set-user-ID bit.
    fn set_metadata(&self, copy: BorrowedFd, stat: &FileStat) -> nix::Result<()> {
        if let Some((uid, gid)) = self.owner_to_set(stat) {
            fchown(copy, Some(uid), Some(gid))?;
        }
        fchmod(copy, mode(stat))?;
        let (accessed, modified) = times(stat);
        futimens(copy, &accessed, &modified)
    }

    /// The owner to set; `None` where the copy has it already.
    fn owner_to_set(&self, stat: &FileStat) -> Option<(Uid, Gid)> {
        let owner = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        (owner != self.owner).then_some(owner)
    }
}

impl DirectoryCopy {
    fn new(mut from: Dir, to: OwnedFd, stat: Option<FileStat>) -> nix::Result<DirectoryCopy> {
        let names = from.iter().map(|entry| Ok(entry?.file_name().to_owned()));
        let mut names: Vec<CString> = names.collect::<nix::Result<_>>()?;
        names.retain(|name| !matches!(name.to_bytes(), b"." | b".."));
        Ok(DirectoryCopy {
            from,
            to,
            names: names.into_iter(),
            stat,
        })
    }
}

fn start_directory(from: BorrowedFd, to: BorrowedFd, name: &CStr) -> nix::Result<DirectoryCopy> {
    let from = Dir::openat(from, name, DIRECTORY, Mode::empty())?;
    let stat = fstat(&from)?;
    mkdirat(to, name, Mode::S_IRWXU)?;
    let to = openat(to, name, DIRECTORY, Mode::empty())?;
    DirectoryCopy::new(from, to, Some(stat))
}

fn file_type(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & libc::S_IFMT)
}

fn mode(stat: &FileStat) -> Mode {
    Mode::from_bits_truncate(stat.st_mode & 0o7777)
}

fn times(stat: &FileStat) -> (TimeSpec, TimeSpec) {
    (
        TimeSpec::new(stat.st_atime, stat.st_atime_nsec),
        TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec),
    )
}

/// Copies the extended attributes that mean something in a copy. Labels of security modules
/// are left out, because the tmpfs has labels of its own. An attribute that a tmpfs cannot
/// hold (`user.` before Linux 6.6) is skipped.
fn copy_attributes(from: BorrowedFd, to: BorrowedFd) -> nix::Result<()> {
    let names = match sys::flistxattr(from) {
        Err(Errno::EOPNOTSUPP) => return Ok(()),
        names => names?,
    };
    let matters = |name: &&CString| {
        let name = name.to_bytes();
        name.starts_with(b"user.")
            || name.starts_with(b"system.posix_acl_")
            || name == b"security.capability"
    };
    for name in names.iter().filter(matters) {
        match sys::fsetxattr(to, name, &sys::fgetxattr(from, name)?) {
            Ok(()) | Err(Errno::EOPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
