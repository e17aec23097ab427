//! The pre-dumps that a checkpoint follows.
//!
//! The images of each have a link to those of the one before. CRIU follows it, so it is the only
//! link that may be in the directory.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// The name of the link.
const LINK: &str = "parent";

/// How many pre-dumps a checkpoint may follow. It ends a circle of links.
const MAX_DEPTH: usize = 1000;

const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

/// Whether the images in `directory` follow a pre-dump.
pub(super) fn has_link(directory: impl AsFd) -> bool {
    is_link(directory, Path::new(LINK))
}

/// Removes the link that an earlier checkpoint left. CRIU would keep it.
///
/// # Errors
/// When the directory cannot be written.
pub(super) fn remove_link(directory: impl AsFd) -> nix::Result<()> {
    match unlinkat(directory, LINK, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::ENOENT) => Ok(()),
        removed => removed,
    }
}

/// # Errors
/// When another symbolic link is in `directory`, which is `path`, or in the directory of a pre-dump
/// before it. `first` is the last pre-dump if the link to it is not there yet.
pub(super) fn refuse_other_links(
    directory: impl AsFd,
    path: &Path,
    first: Option<&Path>,
) -> Result<()> {
    let mut path = path.to_owned();
    let open = |from: &dyn AsFd, name: &Path, path: &Path| {
        let opened = openat(from.as_fd(), name, DIRECTORY, Mode::empty());
        opened.with_context(|| path.display().to_string())
    };
    let mut directory: OwnedFd = open(&directory, Path::new("."), &path)?;
    let mut first = first.map(PathBuf::from);
    for _ in 0..MAX_DEPTH {
        refuse_links(&directory, &path)?;
        let next = match first.take() {
            Some(first) => first,
            None if has_link(&directory) => PathBuf::from(LINK),
            None => return Ok(()),
        };
        path.push(&next);
        directory = open(&directory, &next, &path)?;
    }
    bail!(
        "{}: follows more than {MAX_DEPTH} pre-dumps",
        path.display()
    )
}

fn refuse_links(directory: &OwnedFd, path: &Path) -> Result<()> {
    let subject = || path.display().to_string();
    let mut files = Dir::openat(directory, ".", DIRECTORY, Mode::empty()).with_context(subject)?;
    for file in files.iter() {
        let file = file.with_context(subject)?;
        let name = Path::new(OsStr::from_bytes(file.file_name().to_bytes()));
        let links = match file.file_type() {
            Some(kind) => kind == Type::Symlink,
            None => is_link(directory, name),
        };
        ensure!(
            !links || name == Path::new(LINK),
            "{}: is a symbolic link",
            path.join(name).display()
        );
    }
    Ok(())
}

fn is_link(directory: impl AsFd, name: &Path) -> bool {
    let found = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW);
    found.is_ok_and(|found| {
        SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFLNK
    })
}
