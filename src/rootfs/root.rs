//! Paths inside a root: opened below its descriptor, never joined to a string.
//!
//! openat2(2) with `RESOLVE_IN_ROOT` (Linux 5.6) resolves `..` and symbolic
//! links, absolute ones too, as the container will, however an attacker swaps
//! its parts meanwhile (CVE-2021-30465, CVE-2024-45310). No other module makes a
//! path out of a root and a name.
//!
//! Somebody who shares the root's directory can rename /proc, the mount on it
//! included, and put a link in its place. So what lies below the mounts that were
//! made at /proc and /sys is found below their descriptors ([`Root::keep`]).

use std::cell::RefCell;
use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{Mode, fstat, mkdirat};

use crate::sys;

/// Rounds after which a path that is renamed under our feet is given up on.
const RACES: usize = 128;

/// As many links as the kernel follows in one path (path_resolution(7)).
const MOST_LINKS: usize = 40;
/// The mounts that show the kernel itself, and that masks are for.
const KEPT: [&str; 2] = ["/proc", "/sys"];

/// The root of a container's file system, as a descriptor.
pub(crate) struct Root {
    root: OwnedFd,
    /// What was mounted last at each place of [`KEPT`].
    kept: RefCell<Vec<(PathBuf, OwnedFd)>>,
}

/// Whether a symbolic link on the way is followed, inside the root.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    Follow,
    /// `ELOOP` at the first one.
    Refuse,
}

impl Root {
    pub(crate) fn new(root: OwnedFd) -> Root {
        let kept = RefCell::default();
        Root { root, kept }
    }

    /// Takes the mount that was made at `path`, if what lies below that path is to
    /// be found in it from now on, whatever the path leads to; gives back any other.
    pub(crate) fn keep(&self, path: &Path, mount: OwnedFd) -> Option<OwnedFd> {
        if !KEPT.iter().any(|kept| path == Path::new(kept)) {
            return Some(mount);
        }
        self.forget(path);
        self.kept.borrow_mut().push((path.to_owned(), mount));
        None
    }

    /// What lies below `path` is again what its name leads to.
    pub(crate) fn forget(&self, path: &Path) {
        self.kept.borrow_mut().retain(|(kept, _)| kept != path);
    }

    /// Whether `path`, if [`Root::keep`] has taken its mount, leads to that mount,
    /// and by no link.
    pub(crate) fn is_in_place(&self, path: &Path) -> nix::Result<bool> {
        let kept = self.kept.borrow();
        let Some((_, mount)) = kept.iter().find(|(kept, _)| kept == path) else {
            return Ok(true);
        };
        // A single name below the root: nothing that could be swapped is on the way.
        let name = path.strip_prefix("/").unwrap_or(path).as_os_str();
        let name = CString::new(name.as_encoded_bytes()).map_err(|_| Errno::EINVAL)?;
        match sys::mount_id(self.root.as_fd(), &name) {
            Ok(found) => Ok(found == sys::mount_id(mount.as_fd(), c"")?),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Opens what `path` names inside the root.
    pub(crate) fn open(&self, path: &Path, flags: OFlag, links: Links) -> nix::Result<OwnedFd> {
        let kept = self.kept.borrow();
        for (place, mount) in kept.iter() {
            let rest = match path.strip_prefix(place) {
                Ok(rest) if rest.as_os_str().is_empty() => Path::new("."),
                Ok(rest) => rest,
                Err(_) => continue,
            };
            // A link that leads out is an error: its end is not what is meant.
            let scope = ResolveFlag::RESOLVE_BENEATH;
            return open_from(mount.as_fd(), rest, flags, links, scope);
        }
        self.open_by_name(path, flags, links)
    }

    fn open_by_name(&self, path: &Path, flags: OFlag, links: Links) -> nix::Result<OwnedFd> {
        let scope = ResolveFlag::RESOLVE_IN_ROOT;
        open_from(self.root.as_fd(), path, flags, links, scope)
    }

    /// The directory `path`, made with its parents where it is missing (mode
    /// 0755, the umask being 0), as an `O_PATH` descriptor. A link whose target is
    /// missing stays, and its target is made.
    pub(crate) fn directory(&self, path: &Path, links: Links) -> nix::Result<OwnedFd> {
        match self.open(path, OFlag::O_PATH | OFlag::O_DIRECTORY, links) {
            Err(Errno::ENOENT) => self.make(path, links, Made::Directory),
            done => done,
        }
    }

    /// The file `path`, made empty with its parents where it is missing, as an
    /// `O_PATH` descriptor. Links are as for [`Root::directory`].
    pub(crate) fn file(&self, path: &Path, links: Links) -> nix::Result<OwnedFd> {
        match self.open(path, OFlag::O_PATH, links) {
            Err(Errno::ENOENT) => self.make(path, links, Made::File),
            done => done,
        }
    }

    /// Walks `path` and makes what is missing on the way. Each step opens one name
    /// below a directory that is held open, and follows no link: links are read and
    /// their text walked, from the root if it is absolute. `..` goes back to the
    /// directory that the walk came from, and from the root nowhere.
    fn make(&self, path: &Path, links: Links, last: Made) -> nix::Result<OwnedFd> {
        let mut ahead = names(path);
        let mut way: Vec<OwnedFd> = Vec::new();
        let mut followed = 0;
        while let Some(name) = ahead.pop() {
            if name == ".." {
                way.pop();
                continue;
            }
            let here = way.last().unwrap_or(&self.root);
            let made = match ahead.is_empty() {
                true => last,
                false => Made::Directory,
            };
            let found = found_or_made(here, Path::new(&name), made)?;
            match kind(&found)? {
                libc::S_IFLNK if links == Links::Refuse || followed == MOST_LINKS => {
                    return Err(Errno::ELOOP);
                }
                libc::S_IFLNK => {
                    followed += 1;
                    let target = PathBuf::from(readlinkat(&found, "")?);
                    if target.is_absolute() {
                        way.clear();
                    }
                    ahead.extend(names(&target));
                }
                libc::S_IFDIR => way.push(found),
                _ if ahead.is_empty() && last == Made::File => return Ok(found),
                _ => return Err(Errno::ENOTDIR),
            }
        }
        match way.pop() {
            Some(directory) => Ok(directory),
            None => self.root.try_clone().map_err(|_| Errno::EMFILE),
        }
    }

    /// The directory that holds `path`, made where it is missing, and the last
    /// component; `ENOENT` for the root itself.
    pub(crate) fn parent<'a>(&self, path: &'a Path) -> nix::Result<(OwnedFd, &'a Path)> {
        let (parent, name) = split(path).ok_or(Errno::ENOENT)?;
        Ok((self.directory(parent, Links::Follow)?, name))
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// What is made where a walk finds nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    Directory,
    File,
}

/// What is called `name` in `directory`, a link itself too, or a new one.
fn found_or_made(directory: &OwnedFd, name: &Path, made: Made) -> nix::Result<OwnedFd> {
    let there = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(directory, name, there, Mode::empty()) {
        Err(Errno::ENOENT) => {}
        done => return done,
    }
    if made == Made::File {
        return file_in(directory, name);
    }
    match mkdirat(directory, name, Mode::from_bits_truncate(0o755)) {
        // Made by somebody else meanwhile: the open tells what.
        Ok(()) | Err(Errno::EEXIST) => openat(directory, name, there, Mode::empty()),
        Err(errno) => Err(errno),
    }
}

/// The names that `path` is made of, the first one last; `..` is one of them.
fn names(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.rev().collect()
}

fn open_from(
    start: BorrowedFd,
    path: &Path,
    flags: OFlag,
    links: Links,
    scope: ResolveFlag,
) -> nix::Result<OwnedFd> {
    let mut resolve = scope | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    if links == Links::Refuse {
        resolve |= ResolveFlag::RESOLVE_NO_SYMLINKS;
    }
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(resolve);
    let mut rounds = 0;
    loop {
        match openat2(start, path, how) {
            // The kernel saw a rename on the way and could not tell whether it led out.
            Err(Errno::EAGAIN) if rounds < RACES => rounds += 1,
            done => return done,
        }
    }
}

/// What is called `name` in `directory`, a link itself too, or a new empty file,
/// as an `O_PATH` descriptor.
pub(crate) fn file_in(directory: &OwnedFd, name: &Path) -> nix::Result<OwnedFd> {
    let create = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    match openat(directory, name, create, Mode::from_bits_truncate(0o644)) {
        Ok(_) | Err(Errno::EEXIST) => {}
        // On a read-only file system it may be there all the same.
        Err(Errno::EROFS) => {}
        Err(errno) => return Err(errno),
    }
    let there = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(directory, name, there, Mode::empty())
}

fn split(path: &Path) -> Option<(&Path, &Path)> {
    Some((path.parent()?, Path::new(path.file_name()?)))
}

/// Whether a descriptor names a directory.
pub(crate) fn is_directory(fd: impl AsFd) -> nix::Result<bool> {
    Ok(kind(fd)? == libc::S_IFDIR)
}

/// The type of file that a descriptor names (inode(7), `S_IFMT`).
fn kind(fd: impl AsFd) -> nix::Result<libc::mode_t> {
    Ok(fstat(fd)?.st_mode & libc::S_IFMT)
}

/// `path` as an absolute path inside a root: without `.`, `..` and doubled
/// slashes, a relative one taken from the root.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn cleaning_never_leaves_the_root() {
        for (path, cleaned) in [
            ("data", "/data"),
            ("/a/./b//c/..", "/a/b"),
            ("../../etc", "/etc"),
            ("/..", "/"),
            ("", "/"),
        ] {
            assert_eq!(clean(Path::new(path)), Path::new(cleaned));
        }
    }

    /// A root with the given links in it, beside a directory that nothing may reach.
    fn root(links: &[(&str, &str)]) -> (PathBuf, Root) {
        let base =
            std::env::temp_dir().join(format!("rt-inside-{}-{:p}", std::process::id(), links));
        std::fs::create_dir_all(base.join("root")).unwrap();
        std::fs::create_dir_all(base.join("outside")).unwrap();
        for (name, target) in links {
            symlink(target, base.join("root").join(name)).unwrap();
        }
        let fd = nix::fcntl::open(
            &base.join("root"),
            OFlag::O_PATH | OFlag::O_DIRECTORY,
            Mode::empty(),
        );
        (base, Root::new(fd.unwrap()))
    }

    #[test]
    fn links_that_climb_stay_inside() {
        let (base, root) = root(&[("up", "../outside"), ("abs", "/made")]);
        root.directory(Path::new("/made/x"), Links::Follow).unwrap();
        root.directory(Path::new("/abs/y"), Links::Follow).unwrap();
        assert!(base.join("root/made/y").is_dir());
        // "../outside" from inside is "/outside", which is not there: it is made.
        root.directory(Path::new("/up/z"), Links::Follow).unwrap();
        assert!(base.join("root/outside/z").is_dir());
        assert!(!base.join("outside/z").exists());
        assert!(root.file(Path::new("/made/f"), Links::Follow).is_ok());
        assert!(base.join("root/made/f").is_file());
        std::fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn what_a_dangling_link_names_is_made_and_the_link_stays() {
        let (base, root) = root(&[
            ("one", "two"),
            ("two", "/made/../made/three"),
            ("loop", "pool"),
            ("pool", "/loop"),
        ]);
        root.file(Path::new("/one"), Links::Follow).unwrap();
        assert!(base.join("root/made/three").is_file());
        assert!(base.join("root/one").is_symlink() && base.join("root/two").is_symlink());
        let below = root.directory(Path::new("/one/x"), Links::Follow);
        assert_eq!(below.err(), Some(Errno::ENOTDIR));
        let endless = root.directory(Path::new("/loop/x"), Links::Follow);
        assert_eq!(endless.err(), Some(Errno::ELOOP));
        std::fs::remove_dir_all(base).unwrap();
    }

    /// Somebody with the same root swaps a directory for a link that leads out of it.
    #[test]
    fn nothing_is_made_outside_while_links_come_and_go() {
        let (base, root) = root(&[("link", "../outside")]);
        let inside = base.join("root");
        std::fs::create_dir(inside.join("way")).unwrap();
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
                let (way, link) = (inside.join("way"), inside.join("link"));
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    let flags = RenameFlags::RENAME_EXCHANGE;
                    renameat2(AT_FDCWD, &way, AT_FDCWD, &link, flags).unwrap();
                }
            });
            for n in 0..200 {
                let path = PathBuf::from(format!("/way/{n}/below"));
                drop(root.directory(&path, Links::Follow));
                drop(root.file(&path.with_file_name("file"), Links::Follow));
            }
            over.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(std::fs::read_dir(base.join("outside")).unwrap().count(), 0);
        std::fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn a_link_is_refused_where_none_may_be() {
        let (base, root) = root(&[("proc", "/elsewhere")]);
        let refused = root.directory(Path::new("/proc"), Links::Refuse);
        assert_eq!(refused.err(), Some(Errno::ELOOP));
        std::fs::remove_dir_all(base).unwrap();
    }
}
