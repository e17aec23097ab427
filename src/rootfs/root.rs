//! Opens and creates files inside a root, always relative to its descriptor.
//!
//! openat2(2) with `RESOLVE_IN_ROOT` (Linux 5.6) resolves `..` and symbolic links, absolute
//! ones too, as the container will, even if an attacker swaps components meanwhile
//! (CVE-2021-30465, CVE-2024-45310). No other module joins a path to a root.
//!
//! A process that shares the root's directory can rename /proc, together with the mount on
//! it, and put a link in its place. So paths below /proc and /sys are resolved below the
//! descriptors of the mounts made there ([`Root::pin`]).

use std::cell::RefCell;
use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{Mode, fstat, mkdirat};

use crate::sys::{self, CloseBatch};

/// How often a path is resolved again because a component was renamed meanwhile.
const MAX_RETRIES: usize = 128;

/// The most links that the kernel follows in one path (path_resolution(7)).
pub(super) const MAX_LINKS: usize = 40;
/// Mount points that show kernel state, and that masked paths lie in.
pub(super) const PINNED: [&str; 2] = ["/proc", "/sys"];

/// The root of a container's file system.
pub(crate) struct Root {
    root: OwnedFd,
    /// The last mount made at each path of [`PINNED`].
    pinned: RefCell<Vec<(PathBuf, OwnedFd)>>,
    /// What is not needed any more, and is closed with the root.
    unused: CloseBatch,
}

/// Whether symbolic links are followed, inside the root.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    Follow,
    /// Fail with `ELOOP` at the first link.
    Refuse,
}

impl Root {
    pub(crate) fn new(root: OwnedFd) -> Root {
        Root {
            root,
            pinned: RefCell::default(),
            unused: CloseBatch::default(),
        }
    }

    /// Keeps the mount made at `path`, if it is /proc or /sys: paths below it are resolved
    /// in this mount from now on. Returns the mount that is not needed any more: any other one, or
    /// the one that was kept for `path` before.
    pub(crate) fn pin(&self, path: &Path, mount: OwnedFd) -> Option<OwnedFd> {
        if !PINNED.iter().any(|pinned| path == Path::new(pinned)) {
            return Some(mount);
        }
        let covered = self.take_pinned(path);
        self.pinned.borrow_mut().push((path.to_owned(), mount));
        covered
    }

    /// Resolves paths below `path` by name again.
    pub(crate) fn unpin(&self, path: &Path) {
        let covered = self.take_pinned(path).into_iter();
        covered.for_each(|mount| self.unused.add(mount));
    }

    fn take_pinned(&self, path: &Path) -> Option<OwnedFd> {
        let mut pinned = self.pinned.borrow_mut();
        let position = pinned.iter().position(|(pinned, _)| pinned == path)?;
        Some(pinned.swap_remove(position).1)
    }

    /// Leaves all descriptors to `close_batch`.
    pub(super) fn close_later(self, close_batch: &CloseBatch) {
        let pinned = self.pinned.into_inner().into_iter();
        let pinned = pinned.map(|(_, mount)| mount);
        let all = pinned.chain([self.root]).chain(self.unused.take());
        all.for_each(|fd| close_batch.add(fd));
    }

    /// Whether `path` still leads, without a link, to the mount that [`Root::pin`] keeps.
    /// True if none is kept.
    pub(crate) fn is_pinned_in_place(&self, path: &Path) -> nix::Result<bool> {
        let pinned = self.pinned.borrow();
        let Some((_, mount)) = pinned.iter().find(|(pinned, _)| pinned == path) else {
            return Ok(true);
        };
        // A single component below the root, so nothing on the way can be swapped.
        let name = path.strip_prefix("/").unwrap_or(path).as_os_str();
        let name = CString::new(name.as_encoded_bytes()).map_err(|_| Errno::EINVAL)?;
        match sys::mount_id(self.root.as_fd(), &name) {
            Ok(found) => Ok(found == sys::mount_id(mount.as_fd(), c"")?),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Opens `path` inside the root.
    pub(crate) fn open(&self, path: &Path, flags: OFlag, links: Links) -> nix::Result<OwnedFd> {
        let pinned = self.pinned.borrow();
        for (mount_point, mount) in pinned.iter() {
            let rest = match path.strip_prefix(mount_point) {
                Ok(rest) if rest.as_os_str().is_empty() => Path::new("."),
                Ok(rest) => rest,
                Err(_) => continue,
            };
            // A link that leads out of the mount is an error: its target is not what is
            // meant.
            let scope = ResolveFlag::RESOLVE_BENEATH;
            return open_from(mount.as_fd(), rest, flags, links, scope);
        }
        self.open_by_name(path, flags, links)
    }

    fn open_by_name(&self, path: &Path, flags: OFlag, links: Links) -> nix::Result<OwnedFd> {
        let scope = ResolveFlag::RESOLVE_IN_ROOT;
        open_from(self.root.as_fd(), path, flags, links, scope)
    }

    /// Opens the directory `path` with `O_PATH`. A missing directory is created with its
    /// parents (mode 0755; the umask must be 0). The target of a dangling link is created,
    /// and the link stays.
    pub(crate) fn directory(&self, path: &Path, links: Links) -> nix::Result<OwnedFd> {
        match self.open(path, OFlag::O_PATH | OFlag::O_DIRECTORY, links) {
            Err(Errno::ENOENT) => match self.create_in_parent(path, links)? {
                Some(directory) => Ok(directory),
                None => self.create(path, links, FileType::Directory),
            },
            result => result,
        }
    }

    /// Creates the directory `path` where only its last component is missing, as is usual. `None` if
    /// that is not so, or if it cannot be created.
    fn create_in_parent(&self, path: &Path, links: Links) -> nix::Result<Option<OwnedFd>> {
        let Some((parent, name)) = parent_and_name(path) else {
            return Ok(None);
        };
        if parent == Path::new("/") {
            return create_directory(self.root.as_fd(), name);
        }
        let Ok(parent) = self.open(parent, OFlag::O_PATH | OFlag::O_DIRECTORY, links) else {
            return Ok(None);
        };
        let created = create_directory(parent.as_fd(), name);
        self.unused.add(parent);
        created
    }

    /// Opens the file `path` with `O_PATH`. A missing file is created empty, with its
    /// parents. Links are as for [`Root::directory`].
    pub(crate) fn file(&self, path: &Path, links: Links) -> nix::Result<OwnedFd> {
        match self.open(path, OFlag::O_PATH, links) {
            Err(Errno::ENOENT) => self.create(path, links, FileType::File),
            result => result,
        }
    }

    /// Walks `path` and creates the missing components. Each step opens one name relative
    /// to a directory descriptor, without following links. A link is read and its target
    /// walked, from the root if it is absolute. `..` goes back to the directory that the
    /// walk came from, and stays in the root.
    fn create(&self, path: &Path, links: Links, last: FileType) -> nix::Result<OwnedFd> {
        let mut remaining = components(path);
        let mut parents: Vec<OwnedFd> = Vec::new();
        let mut followed = 0;
        while let Some(name) = remaining.pop() {
            if name == ".." {
                parents.pop();
                continue;
            }
            let parent = parents.last().unwrap_or(&self.root);
            let wanted = if remaining.is_empty() {
                last
            } else {
                FileType::Directory
            };
            let found = open_or_create(parent, Path::new(&name), wanted)?;
            match file_type(&found)? {
                libc::S_IFLNK if links == Links::Refuse || followed == MAX_LINKS => {
                    return Err(Errno::ELOOP);
                }
                libc::S_IFLNK => {
                    followed += 1;
                    let target = PathBuf::from(readlinkat(&found, "")?);
                    if target.is_absolute() {
                        parents.clear();
                    }
                    remaining.extend(components(&target));
                }
                libc::S_IFDIR => parents.push(found),
                _ if remaining.is_empty() && last == FileType::File => return Ok(found),
                _ => return Err(Errno::ENOTDIR),
            }
        }
        match parents.pop() {
            Some(directory) => Ok(directory),
            None => self.root.try_clone().map_err(|_| Errno::EMFILE),
        }
    }

    /// Opens the parent directory of `path`, created where it is missing, and returns it
    /// with the last component.
    ///
    /// # Errors
    /// `ENOENT` for the root itself.
    pub(crate) fn parent<'a>(&self, path: &'a Path) -> nix::Result<(OwnedFd, &'a Path)> {
        let (parent, name) = parent_and_name(path).ok_or(Errno::ENOENT)?;
        Ok((self.directory(parent, Links::Follow)?, name))
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// Creates the directory `name` in `parent`. `None` if it cannot be created.
fn create_directory(parent: BorrowedFd, name: &Path) -> nix::Result<Option<OwnedFd>> {
    if mkdirat(parent, name, Mode::from_bits_truncate(0o755)).is_err() {
        return Ok(None);
    }
    // Another process may have put a link in its place, which is not followed.
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::empty()).map(Some)
}

/// The type of file to create.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FileType {
    Directory,
    File,
}

/// Opens `name` in `directory`, even a link itself, or creates it.
fn open_or_create(directory: &OwnedFd, name: &Path, wanted: FileType) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(directory, name, flags, Mode::empty()) {
        Err(Errno::ENOENT) => {}
        result => return result,
    }
    if wanted == FileType::File {
        return open_or_create_file(directory, name);
    }
    match mkdirat(directory, name, Mode::from_bits_truncate(0o755)) {
        // Another process created it meanwhile: the open finds what it is.
        Ok(()) | Err(Errno::EEXIST) => openat(directory, name, flags, Mode::empty()),
        Err(errno) => Err(errno),
    }
}

/// The components of `path`, `..` included, the first one last.
pub(super) fn components(path: &Path) -> Vec<OsString> {
    let components = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    components.rev().collect()
}

pub(super) fn open_from(
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
    let mut retries = 0;
    loop {
        match openat2(start, path, how) {
            // The kernel saw a concurrent rename and could not rule out an escape.
            Err(Errno::EAGAIN) if retries < MAX_RETRIES => retries += 1,
            result => return result,
        }
    }
}

/// Opens `name` in `directory` with `O_PATH`, even a link itself, or creates an empty file.
pub(crate) fn open_or_create_file(directory: &OwnedFd, name: &Path) -> nix::Result<OwnedFd> {
    let create = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let created = match openat(directory, name, create, Mode::from_bits_truncate(0o644)) {
        Ok(_) | Err(Errno::EEXIST) => Ok(()),
        // On a read-only file system the file may exist.
        Err(Errno::EROFS) => Err(Errno::EROFS),
        Err(errno) => return Err(errno),
    };
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(directory, name, flags, Mode::empty()) {
        Err(Errno::ENOENT) => Err(created.err().unwrap_or(Errno::ENOENT)),
        result => result,
    }
}

fn parent_and_name(path: &Path) -> Option<(&Path, &Path)> {
    Some((path.parent()?, Path::new(path.file_name()?)))
}

/// Whether a descriptor refers to a directory.
pub(crate) fn is_directory(fd: impl AsFd) -> nix::Result<bool> {
    Ok(file_type(fd)? == libc::S_IFDIR)
}

/// The type of the file that a descriptor refers to (inode(7), `S_IFMT`).
fn file_type(fd: impl AsFd) -> nix::Result<libc::mode_t> {
    Ok(fstat(fd)?.st_mode & libc::S_IFMT)
}

/// The target of the symbolic link that a descriptor refers to. `None` if it is no link.
pub(super) fn link_target(fd: &OwnedFd) -> nix::Result<Option<PathBuf>> {
    if file_type(fd)? != libc::S_IFLNK {
        return Ok(None);
    }
    readlinkat(fd, "").map(|target| Some(target.into()))
}

/// Normalizes `path` to an absolute path inside a root, without `.`, `..` and repeated
/// slashes. A relative path starts at the root.
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
    fn a_normalized_path_never_leaves_the_root() {
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

    /// A root with the given links, next to a directory that must stay empty.
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
    fn links_with_parent_components_stay_inside_the_root() {
        let (base, root) = root(&[("up", "../outside"), ("abs", "/made")]);
        root.directory(Path::new("/made/x"), Links::Follow).unwrap();
        root.directory(Path::new("/abs/y"), Links::Follow).unwrap();
        assert!(base.join("root/made/y").is_dir());
        // Inside the root "../outside" is "/outside", which does not exist and is created.
        root.directory(Path::new("/up/z"), Links::Follow).unwrap();
        assert!(base.join("root/outside/z").is_dir());
        assert!(!base.join("outside/z").exists());
        assert!(root.file(Path::new("/made/f"), Links::Follow).is_ok());
        assert!(base.join("root/made/f").is_file());
        std::fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn the_target_of_a_dangling_link_is_created_and_the_link_stays() {
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

    /// An attacker in the same root swaps a directory for a link that leads out of it.
    #[test]
    fn nothing_is_created_outside_while_a_directory_is_swapped_for_a_link() {
        let (base, root) = root(&[("link", "../outside")]);
        let inside = base.join("root");
        std::fs::create_dir(inside.join("directory")).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
                let (directory, link) = (inside.join("directory"), inside.join("link"));
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let flags = RenameFlags::RENAME_EXCHANGE;
                    renameat2(AT_FDCWD, &directory, AT_FDCWD, &link, flags).unwrap();
                }
            });
            for n in 0..200 {
                let path = PathBuf::from(format!("/directory/{n}/below"));
                drop(root.directory(&path, Links::Follow));
                drop(root.file(&path.with_file_name("file"), Links::Follow));
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(std::fs::read_dir(base.join("outside")).unwrap().count(), 0);
        std::fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn a_link_is_refused_if_links_are_not_followed() {
        let (base, root) = root(&[("proc", "/elsewhere")]);
        let refused = root.directory(Path::new("/proc"), Links::Refuse);
        assert_eq!(refused.err(), Some(Errno::ELOOP));
        std::fs::remove_dir_all(base).unwrap();
    }
}
