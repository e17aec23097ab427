//! Finds what on a path made the kernel refuse it (path_resolution(7)), for error messages.
//!
//! It looks only after a failure. Files may belong to a hostile container, so they are opened
//! with O_PATH, which neither waits nor reads, and without magic links.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use caps::{CapSet, Capability};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2, readlink, readlinkat};
use nix::libc;
use nix::sys::stat::{FileStat, fstat};
use nix::sys::statfs::fstatfs;
use nix::sys::statvfs::FsFlags;
use nix::unistd::{getegid, geteuid, getgroups};

use crate::log::HintedErrno;

/// A user who needs a path, with the ids that the kernel compares.
pub(crate) struct User<'a> {
    /// What messages call the user: `uid 1000`.
    pub(crate) name: String,
    pub(crate) uid: u32,
    /// The group and the additional groups.
    pub(crate) gids: Vec<u32>,
    /// Whether CAP_DAC_OVERRIDE applies to a file with this owner and group.
    pub(crate) overrides: &'a dyn Fn(u32, u32) -> bool,
}

/// What a user wants to do with the file at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Only find the file.
    Lookup,
    /// Enter a directory.
    Search,
    Execute,
    Read,
    /// Write to the file, or create it.
    Write,
}

/// Where paths are resolved.
pub(crate) struct View<'a> {
    /// The root; `None` for this process's own.
    root: Option<BorrowedFd<'a>>,
    /// Whether a mount that this process does not see hides the file at this path below the
    /// root. Nothing can be said about the file then.
    hides: Option<&'a dyn Fn(&Path) -> bool>,
}

/// What [`View::obstacle`] says of an absolute or relative path of the host, for this process.
/// `None` if it is not known.
pub(crate) fn obstacle_on_host(path: &Path, errno: Errno, access: Access) -> Option<String> {
    obstacle(path, errno, &User::caller(), access)
}

/// The same for another user.
pub(crate) fn obstacle(path: &Path, errno: Errno, user: &User, access: Access) -> Option<String> {
    View::host().obstacle(path, errno, user, access)
}

/// The error of this process for a file of the host, with what explains it.
pub(crate) fn explain(path: &Path, error: std::io::Error, access: Access) -> anyhow::Error {
    let errno = error.raw_os_error().map(Errno::from_raw);
    let hint = errno.and_then(|errno| obstacle_on_host(path, errno, access));
    match (errno, hint) {
        (Some(errno), Some(hint)) => HintedErrno { errno, hint }.into(),
        _ => error.into(),
    }
}

impl User<'_> {
    /// The user who called `rt`.
    pub(crate) fn caller() -> User<'static> {
        let uid = geteuid().as_raw();
        let groups = getgroups().unwrap_or_default();
        let gids = [getegid()].into_iter().chain(groups);
        let is_capable = caps::has_cap(None, CapSet::Effective, Capability::CAP_DAC_OVERRIDE);
        User {
            name: format!("uid {uid}"),
            uid,
            gids: gids.map(|gid| gid.as_raw()).collect(),
            overrides: match is_capable {
                Ok(true) => &|_, _| true,
                Ok(false) | Err(_) => &|_, _| false,
            },
        }
    }

    /// Whether the mode of a file permits `access` (inode(7), capabilities(7)). Access control
    /// lists are not considered.
    fn may(&self, access: Access, file: &FileStat) -> bool {
        if access == Access::Lookup {
            return true;
        }
        let is_directory = file.st_mode & libc::S_IFMT == libc::S_IFDIR;
        if (self.overrides)(file.st_uid, file.st_gid) {
            return access != Access::Execute || is_directory || file.st_mode & 0o111 != 0;
        }
        let class = if self.uid == file.st_uid {
            6
        } else if self.gids.contains(&file.st_gid) {
            3
        } else {
            0
        };
        let bit = match access {
            Access::Lookup | Access::Search | Access::Execute => 1,
            Access::Write => 2,
            Access::Read => 4,
        };
        file.st_mode >> class & bit != 0
    }

    /// `/app has mode 0644, owner 0:0; uid 1000 needs the x bit`, if the mode refuses `access`.
    fn refused(&self, path: String, access: Access, file: &FileStat) -> Option<String> {
        if self.may(access, file) {
            return None;
        }
        let bit = match access {
            Access::Lookup | Access::Search | Access::Execute => 'x',
            Access::Write => 'w',
            Access::Read => 'r',
        };
        Some(format!(
            "{path} has mode {:04o}, owner {}:{}; {} needs the {bit} bit",
            file.st_mode & 0o7777,
            file.st_uid,
            file.st_gid,
            self.name
        ))
    }
}

impl<'a> View<'a> {
    /// The files below `root`.
    pub(crate) fn below(
        root: BorrowedFd<'a>,
        hides: Option<&'a dyn Fn(&Path) -> bool>,
    ) -> View<'a> {
        View {
            root: Some(root),
            hides,
        }
    }

    /// The files that this process sees.
    fn host() -> View<'static> {
        View {
            root: None,
            hides: None,
        }
    }

    /// What on `path` explains that `user` got `errno`: the missing directory, the file that is
    /// not a directory, or the file whose mode refuses. `None` if the path itself is what the
    /// errno says, or if nothing explains it.
    pub(crate) fn obstacle(
        &self,
        path: &Path,
        errno: Errno,
        user: &User,
        access: Access,
    ) -> Option<String> {
        match errno {
            Errno::ENOENT | Errno::ENOTDIR => self.missing(path, errno),
            Errno::EACCES | Errno::EPERM => self.refusing(path, user, access),
            _ => None,
        }
    }

    /// The first part of `path` that is missing or not a directory.
    fn missing(&self, path: &Path, errno: Errno) -> Option<String> {
        let mut previous: Option<PathBuf> = None;
        for part in parts(path) {
            match self.open(&part) {
                Ok(file) if self.hidden(&file)? => return None,
                Ok(_) => previous = Some(part),
                Err(Errno::ENOENT) if errno == Errno::ENOENT => {
                    let shown = part.display();
                    return match self.link(&part) {
                        Some(target) => Some(format!(
                            "{shown} is a link to {}, which is missing",
                            target.display()
                        )),
                        None if part == path => None,
                        None => Some(format!("there is no {shown}")),
                    };
                }
                Err(Errno::ENOTDIR) if errno == Errno::ENOTDIR => {
                    return Some(format!("{} is not a directory", previous?.display()));
                }
                Err(_) => return None,
            }
        }
        None
    }

    /// The first part of `path` whose mode refuses `user`.
    fn refusing(&self, path: &Path, user: &User, access: Access) -> Option<String> {
        let mut parent = None;
        for part in parts(path) {
            let is_last = part == path;
            let file = match self.open(&part) {
                // The file and the directories above it are to be created.
                Err(Errno::ENOENT) if access == Access::Write => {
                    let (directory, stat): (PathBuf, FileStat) = parent?;
                    return user.refused(self.name(&directory), access, &stat);
                }
                file => file.ok()?,
            };
            if self.hidden(&file)? {
                return None;
            }
            let stat = fstat(&file).ok()?;
            let needed = if is_last { access } else { Access::Search };
            let refused = user.refused(self.name(&part), needed, &stat);
            if refused.is_some() {
                return refused;
            }
            if is_last && access == Access::Execute {
                return not_executable(&part, &file, &stat);
            }
            parent = Some((part, stat));
        }
        None
    }

    /// What messages call the file at `path`.
    fn name(&self, path: &Path) -> String {
        match self.root {
            Some(_) if path == Path::new("/") => "the container's root directory".to_owned(),
            _ => path.display().to_string(),
        }
    }

    fn open(&self, path: &Path) -> nix::Result<OwnedFd> {
        self.open_with(path, OFlag::empty())
    }

    fn open_with(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC | flags);
        let resolve = ResolveFlag::RESOLVE_NO_MAGICLINKS;
        match self.root {
            Some(root) => openat2(
                root,
                path,
                how.resolve(resolve | ResolveFlag::RESOLVE_IN_ROOT),
            ),
            None => openat2(AT_FDCWD, path, how.resolve(resolve)),
        }
    }

    /// The text of the symbolic link at `path`.
    fn link(&self, path: &Path) -> Option<PathBuf> {
        let link = self.open_with(path, OFlag::O_NOFOLLOW).ok()?;
        readlinkat(&link, "").ok().map(PathBuf::from)
    }

    /// `None` if it is not known.
    fn hidden(&self, file: &OwnedFd) -> Option<bool> {
        let (Some(root), Some(hides)) = (self.root, self.hides) else {
            return Some(false);
        };
        let (file, root) = (path_of(file.as_fd())?, path_of(root)?);
        let below = file.strip_prefix(root).ok()?;
        Some(hides(&Path::new("/").join(below)))
    }
}

/// Why a file whose mode permits it cannot be executed.
fn not_executable(path: &Path, file: &OwnedFd, stat: &FileStat) -> Option<String> {
    let path = path.display();
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Some(format!("{path} is not a regular file"));
    }
    let flags = fstatfs(file).ok()?.flags();
    (flags.contains(FsFlags::ST_NOEXEC)).then(|| format!("{path} is on a mount with noexec"))
}

/// The path of an open file, as this process sees it.
fn path_of(file: BorrowedFd) -> Option<PathBuf> {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    readlink(link.as_str()).ok().map(PathBuf::from)
}

/// `/`, `/a`, `/a/b` for `/a/b`.
fn parts(path: &Path) -> Vec<PathBuf> {
    let parts = path.ancestors().filter(|part| !part.as_os_str().is_empty());
    let mut parts: Vec<PathBuf> = parts.map(Path::to_owned).collect();
    parts.reverse();
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(overrides: &dyn Fn(u32, u32) -> bool) -> User<'_> {
        User {
            name: "uid 1000".to_owned(),
            uid: 1000,
            gids: vec![1000, 2000],
            overrides,
        }
    }

    fn file(mode: u32, uid: u32, gid: u32) -> FileStat {
        let mut file = fstat(std::fs::File::open("/").unwrap()).unwrap();
        (file.st_mode, file.st_uid, file.st_gid) = (mode, uid, gid);
        file
    }

    #[test]
    fn the_first_class_that_matches_decides() {
        let user = user(&|_, _| false);
        let may = |access, mode, uid, gid| user.may(access, &file(mode, uid, gid));
        assert!(may(Access::Read, 0o400, 1000, 0));
        assert!(!may(Access::Read, 0o077, 1000, 1000));
        assert!(may(Access::Search, 0o010, 0, 2000));
        assert!(!may(Access::Write, 0o705, 0, 2000));
        assert!(may(Access::Execute, 0o001, 0, 0));
        assert!(may(Access::Lookup, 0, 0, 0));
    }

    #[test]
    fn the_capability_needs_an_x_bit_to_execute_a_file() {
        let user = user(&|uid, _| uid == 0);
        let regular = |mode| file(libc::S_IFREG | mode, 0, 0);
        assert!(user.may(Access::Write, &regular(0)));
        assert!(!user.may(Access::Execute, &regular(0o644)));
        assert!(user.may(Access::Execute, &regular(0o100)));
        assert!(user.may(Access::Execute, &file(libc::S_IFDIR, 0, 0)));
        assert!(!user.may(Access::Write, &file(0o644, 7, 0)));
    }

    #[test]
    fn the_missing_part_of_a_path_is_named() {
        let missing = |path: &str| obstacle_on_host(Path::new(path), Errno::ENOENT, Access::Lookup);
        let text = missing("/proc/self/nowhere/below").unwrap();
        assert_eq!(text, "there is no /proc/self/nowhere");
        assert_eq!(missing("/proc/self/nowhere"), None);
        let path = Path::new("/proc/version/below");
        let text = obstacle_on_host(path, Errno::ENOTDIR, Access::Lookup);
        assert_eq!(text.as_deref(), Some("/proc/version is not a directory"));
    }
}
