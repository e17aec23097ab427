//! Finds the changes between two directories: an overlay, and its lower layers merged.
//!
//! Only what was changed is visited. Overlayfs copies a file to the upper layer before it
//! changes the file, and before that all directories above it. The copy is a new inode with
//! another time of change (ctime), which no system call can set. So an entry whose time of
//! change is the same in both views is the same inode, and below such a directory nothing was
//! changed. This is true for an overlay without `index` and `redirect_dir`: with the first, a
//! change of one hard link shows in directories that were not copied, and with the second, a
//! renamed directory brings its entries along.
//!
//! Every file is opened relative to the descriptor of its directory, and links are not followed.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};

use super::attributes;
use super::kind::Kind;

const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// An entry that differs.
pub(crate) struct Entry<'a> {
    pub(crate) kind: Kind,
    /// From the root: `/etc/passwd`.
    pub(crate) path: &'a [u8],
    pub(crate) name: &'a CStr,
    /// The directory that holds the entry now.
    pub(crate) parent: BorrowedFd<'a>,
    /// `None` for a deleted entry.
    pub(crate) stat: Option<FileStat>,
    /// The entry itself, opened, if it is a directory.
    pub(crate) directory: Option<BorrowedFd<'a>>,
}

/// A directory whose entries are being compared.
struct Level {
    after: Dir,
    /// `None` where nothing was there before, or something other than a directory.
    before: Option<Dir>,
    /// The entries that remain, of both directories.
    names: std::vec::IntoIter<CString>,
    /// The length of the path of this directory.
    length: usize,
}

/// Calls `visit` with each entry of `after` that `before` has not in the same form, and each
/// that only `before` has. A directory comes before its entries, and these come in the order
/// of their names. Entries that vanish meanwhile are skipped.
///
/// # Errors
/// When a directory cannot be read, or `visit` fails.
pub(crate) fn compare(
    before: OwnedFd,
    after: OwnedFd,
    visit: &mut dyn FnMut(&Entry) -> Result<()>,
) -> Result<()> {
    let mut path: Vec<u8> = Vec::new();
    let (before, after) = (open_root(before)?, open_root(after)?);
    if roots_differ(&before, &after).context("/")? {
        visit(&Entry {
            kind: Kind::Changed,
            path: b"/",
            name: c".",
            parent: after.as_fd(),
            stat: Some(fstat(&after).context("/")?),
            directory: Some(after.as_fd()),
        })?;
    }
    let mut levels = vec![Level::new(after, Some(before), 0).context("/")?];
    while let Some(level) = levels.last_mut() {
        path.truncate(level.length);
        let Some(name) = level.names.next() else {
            levels.pop();
            continue;
        };
        path.push(b'/');
        path.extend_from_slice(name.to_bytes());
        if let Some(below) = level.visit_entry(&name, &path, visit)? {
            levels.push(below);
        }
    }
    Ok(())
}

impl Level {
    fn new(mut after: Dir, mut before: Option<Dir>, length: usize) -> nix::Result<Level> {
        let mut names = names_in(&mut after)?;
        if let Some(before) = &mut before {
            names.extend(names_in(before)?);
        }
        names.sort_unstable();
        names.dedup();
        Ok(Level {
            after,
            before,
            names: names.into_iter(),
            length,
        })
    }

    /// Compares one entry. Returns the level below if it is a directory that was changed.
    fn visit_entry(
        &self,
        name: &CStr,
        path: &[u8],
        visit: &mut dyn FnMut(&Entry) -> Result<()>,
    ) -> Result<Option<Level>> {
        let subject = || shown(path);
        let before = match &self.before {
            Some(before) => stat_in(before, name).with_context(subject)?,
            None => None,
        };
        let before = before.filter(|stat| !is_whiteout(stat));
        let after = stat_in(&self.after, name).with_context(subject)?;
        let kind = match (&before, &after) {
            (None, None) => return Ok(None),
            (Some(_), None) => Kind::Deleted,
            (None, Some(_)) => Kind::Added,
            (Some(before), Some(after)) if is_same(before, after) => return Ok(None),
            (Some(_), Some(_)) => Kind::Changed,
        };
        let mut entry = Entry {
            kind,
            path,
            name,
            parent: self.after.as_fd(),
            stat: after,
            directory: None,
        };
        if !after.as_ref().is_some_and(is_directory) {
            return visit(&entry).map(|()| None);
        }
        let Some(directory) = open_in(&self.after, name).with_context(subject)? else {
            return Ok(None);
        };
        entry.stat = Some(fstat(&directory).with_context(subject)?);
        entry.directory = Some(directory.as_fd());
        visit(&entry)?;
        let before = match (&self.before, before.as_ref().is_some_and(is_directory)) {
            (Some(parent), true) => open_in(parent, name).with_context(subject)?,
            _ => None,
        };
        match Level::new(directory, before, path.len()) {
            // It was removed meanwhile.
            Err(Errno::ENOENT) => Ok(None),
            level => level.map(Some).with_context(subject),
        }
    }
}

/// A path as text for one line of an error.
pub(super) fn shown(path: &[u8]) -> String {
    Path::new(OsStr::from_bytes(path)).display().to_string()
}

fn open_root(root: OwnedFd) -> Result<Dir> {
    // A detached mount is open for its path only.
    Dir::openat(&root, c".", DIRECTORY, Mode::empty()).context("/")
}

/// `None` when the directory has vanished, or something else is there now.
fn open_in(parent: &Dir, name: &CStr) -> nix::Result<Option<Dir>> {
    match Dir::openat(parent, name, DIRECTORY, Mode::empty()) {
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
        opened => opened.map(Some),
    }
}

fn stat_in(parent: &Dir, name: &CStr) -> nix::Result<Option<FileStat>> {
    match fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => Ok(None),
        stat => stat.map(Some),
    }
}

fn names_in(directory: &mut Dir) -> nix::Result<Vec<CString>> {
    let names = directory
        .iter()
        .map(|entry| Ok(entry?.file_name().to_owned()));
    let mut names: Vec<CString> = names.collect::<nix::Result<_>>()?;
    names.retain(|name| !matches!(name.to_bytes(), b"." | b".."));
    Ok(names)
}

fn is_same(before: &FileStat, after: &FileStat) -> bool {
    let key = |stat: &FileStat| {
        let changed = (stat.st_ctime, stat.st_ctime_nsec);
        let modified = (stat.st_mtime, stat.st_mtime_nsec);
        (changed, modified, stat.st_mode, stat.st_rdev)
    };
    key(before) == key(after)
}

/// Whether the root of `after` was changed itself. Its upper directory is always a new inode,
/// and its time of modification says only that entries were added or removed.
fn roots_differ(before: &Dir, after: &Dir) -> nix::Result<bool> {
    let attributes = |directory: &Dir| -> nix::Result<_> {
        let stat = fstat(directory)?;
        let owner = (stat.st_uid, stat.st_gid);
        Ok((stat.st_mode, owner, attributes::of(directory.as_fd())?))
    };
    Ok(attributes(before)? != attributes(after)?)
}

pub(super) fn file_type(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & libc::S_IFMT)
}

fn is_directory(stat: &FileStat) -> bool {
    file_type(stat) == SFlag::S_IFDIR
}

/// Whether overlayfs hides this entry of a lower layer, and what is below it (overlayfs.rst,
/// "whiteouts and opaque directories").
fn is_whiteout(stat: &FileStat) -> bool {
    file_type(stat) == SFlag::S_IFCHR && stat.st_rdev == 0
}
