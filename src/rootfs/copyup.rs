//! What a tmpfs takes over from the directory that it covers: its mode, and with
//! the option `tmpcopyup` a copy of everything in it.
//!
//! The copy is made while the tmpfs is attached nowhere: nobody sees half of it.
//! Both sides are open directories, and what is named in them is a single
//! component that no link is followed for.

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

use super::options::Parameter;
use super::root::{Links, Root};
use crate::sys;

/// What a new tmpfs has of the directory below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// The permissions, unless the options have others.
    Mode,
    /// `tmpcopyup`.
    Content,
}

/// limits.h, `PATH_MAX`.
const LONGEST: usize = libc::PATH_MAX as usize;

const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// Opens the directory that will be below; `None` when there is none yet.
pub(super) fn below(root: &Root, target: &Path) -> nix::Result<Option<OwnedFd>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    match root.open(target, flags, Links::Follow) {
        Ok(below) => Ok(Some(below)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// The parameter that gives a new tmpfs the permissions of `below`.
pub(super) fn mode_of(below: &OwnedFd) -> nix::Result<Parameter> {
    let mode = format!("{:04o}", fstat(below)?.st_mode & 0o7777);
    let mode = CString::new(mode).map_err(|_| Errno::EINVAL)?;
    Ok(Parameter::Value(c"mode".into(), mode))
}

/// Copies what is in `below` to the detached tmpfs `mount`.
pub(super) fn copy(below: OwnedFd, mount: BorrowedFd) -> nix::Result<()> {
    // The mount's own descriptor only names it.
    let open = || openat(mount, c".", DIRECTORY, Mode::empty());
    Copy::into(open()?).content(Dir::from_fd(below)?, open()?)
}

/// A copy on its way.
struct Copy {
    top: Root,
    owner: (Uid, Gid),
    /// Where in the copy the walk is.
    path: PathBuf,
    /// The first name of each file that has several, by device and inode.
    names: HashMap<(u64, u64), PathBuf>,
}

/// A directory whose content is being copied.
struct Level {
    from: Dir,
    to: OwnedFd,
    /// Those that are left.
    names: std::vec::IntoIter<CString>,
    /// What the copy is to be like when it is complete; the top is settled by others.
    seen: Option<FileStat>,
}

impl Copy {
    fn into(top: OwnedFd) -> Copy {
        Copy {
            top: Root::new(top),
            owner: (geteuid(), getegid()),
            path: PathBuf::from("/"),
            names: HashMap::new(),
        }
    }

    /// Copies everything in `from`, which is open for reading, to `to`. An image
    /// says how deep it goes, so the levels are kept in a list, not on the stack.
    fn content(&mut self, from: Dir, to: OwnedFd) -> nix::Result<()> {
        let mut levels = vec![Level::new(from, to, None)?];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.next() else {
                if let Some(Level { from, to, seen, .. }) = levels.pop()
                    && let Some(seen) = seen
                {
                    self.settle(to.as_fd(), &seen)?;
                    // After the content, which a default ACL would change.
                    copy_attributes(from.as_fd(), to.as_fd())?;
                    self.path.pop();
                }
                continue;
            };
            self.path.push(OsStr::from_bytes(name.to_bytes()));
            // What no path can name: nor are there descriptors without end.
            if self.path.as_os_str().len() >= LONGEST {
                return Err(Errno::ENAMETOOLONG);
            }
            match self.entry(level.from.as_fd(), level.to.as_fd(), &name)? {
                Some(below) => levels.push(below),
                None => drop(self.path.pop()),
            }
        }
        Ok(())
    }

    /// Copies one entry; of a directory only itself, and returns what is in it.
    fn entry(
        &mut self,
        from: BorrowedFd,
        to: BorrowedFd,
        name: &CStr,
    ) -> nix::Result<Option<Level>> {
        let seen = match fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            // Somebody else works in this root too.
            Err(Errno::ENOENT) => return Ok(None),
            seen => seen?,
        };
        match kind(&seen) {
            SFlag::S_IFDIR => return directory(from, to, name).map(Some),
            SFlag::S_IFREG => return self.file(from, to, name, &seen).map(|()| None),
            SFlag::S_IFLNK => {
                let target = readlinkat(from, name)?;
                symlinkat(target.as_os_str(), to, name)?;
            }
            other => mknodat(to, name, other, mode(&seen), seen.st_rdev)?,
        }
        if let Some((uid, gid)) = self.other_owner(&seen) {
            fchownat(to, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        }
        let (accessed, modified) = times(&seen);
        utimensat(
            to,
            name,
            &accessed,
            &modified,
            UtimensatFlags::NoFollowSymlink,
        )?;
        Ok(None)
    }

    fn file(
        &mut self,
        from: BorrowedFd,
        to: BorrowedFd,
        name: &CStr,
        seen: &FileStat,
    ) -> nix::Result<()> {
        if seen.st_nlink > 1 {
            let id = (seen.st_dev, seen.st_ino);
            if let Some(first) = self.names.get(&id) {
                let (parent, first) = self.top.parent(first)?;
                return linkat(parent, first, to, name, AtFlags::empty());
            }
            self.names.insert(id, self.path.clone());
        }
        let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        // What has become a fifo meanwhile must not keep us waiting for its writer.
        let reading = flags | OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        let from = openat(from, name, reading, Mode::empty())?;
        let seen = fstat(&from)?;
        if kind(&seen) != SFlag::S_IFREG {
            return Err(Errno::ESTALE);
        }
        let writing = flags | OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let to = openat(to, name, writing, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let (mut from, mut to) = (File::from(from), File::from(to));
        io::copy(&mut from, &mut to)
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
        self.settle(to.as_fd(), &seen)?;
        // After the owner, whose change takes file capabilities away.
        copy_attributes(from.as_fd(), to.as_fd())
    }

    /// Owner, mode and times of a copy that is complete, in this order: a new
    /// owner takes the set-user-ID bit away.
    fn settle(&self, copy: BorrowedFd, seen: &FileStat) -> nix::Result<()> {
        if let Some((uid, gid)) = self.other_owner(seen) {
            fchown(copy, Some(uid), Some(gid))?;
        }
        fchmod(copy, mode(seen))?;
        let (accessed, modified) = times(seen);
        futimens(copy, &accessed, &modified)
    }

    /// Nothing to change where the owner is whoever makes the copy.
    fn other_owner(&self, seen: &FileStat) -> Option<(Uid, Gid)> {
        let owner = (Uid::from_raw(seen.st_uid), Gid::from_raw(seen.st_gid));
        (owner != self.owner).then_some(owner)
    }
}

impl Level {
    fn new(mut from: Dir, to: OwnedFd, seen: Option<FileStat>) -> nix::Result<Level> {
        let names = from.iter().map(|entry| Ok(entry?.file_name().to_owned()));
        let mut names: Vec<CString> = names.collect::<nix::Result<_>>()?;
        names.retain(|name| !matches!(name.to_bytes(), b"." | b".."));
        Ok(Level {
            from,
            to,
            names: names.into_iter(),
            seen,
        })
    }
}

fn directory(from: BorrowedFd, to: BorrowedFd, name: &CStr) -> nix::Result<Level> {
    let from = Dir::openat(from, name, DIRECTORY, Mode::empty())?;
    let seen = fstat(&from)?;
    mkdirat(to, name, Mode::S_IRWXU)?;
    let to = openat(to, name, DIRECTORY, Mode::empty())?;
    Level::new(from, to, Some(seen))
}

fn kind(seen: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(seen.st_mode & libc::S_IFMT)
}

fn mode(seen: &FileStat) -> Mode {
    Mode::from_bits_truncate(seen.st_mode & 0o7777)
}

fn times(seen: &FileStat) -> (TimeSpec, TimeSpec) {
    (
        TimeSpec::new(seen.st_atime, seen.st_atime_nsec),
        TimeSpec::new(seen.st_mtime, seen.st_mtime_nsec),
    )
}

/// Extended attributes that mean something in a copy: not the labels of security
/// modules, which give the copy its own. A tmpfs that cannot hold one (`user.`
/// before Linux 6.6) goes without it.
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
