//! Files that the command line names through a descriptor of the caller, as a
//! shell writes them: `update -r <(..)` becomes `update -r /dev/fd/63`.
//!
//! All descriptors that are not handed on are closed first thing. What has a name
//! of its own is named by that instead. The rest, pipes above all, stays open for
//! those flags whose file is opened at once, and is closed before anything is made.

use std::fs;
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use clap::Command;

use super::arguments::Asked;
use crate::commands::READ_AT_ONCE;

/// Gives files their own names where they have some. Returns the descriptors that
/// are needed for the others.
pub(super) fn settle(command: &Command, asked: &mut Asked) -> Vec<RawFd> {
    let mut needed = Vec::new();
    asked.replace_paths(command, |flag, path| {
        let (fd, below) = through(path)?;
        if let Some(named) = named(fd) {
            return Some(named.join(below).components().collect());
        }
        if READ_AT_ONCE.contains(&flag) {
            needed.push(fd);
        }
        None
    });
    needed
}

/// The descriptor that a path leads through, and what follows behind it. Standard
/// input, output and error are never closed.
fn through(path: &Path) -> Option<(RawFd, &Path)> {
    let path = match path.strip_prefix("/proc") {
        Ok(path) => {
            let (process, path) = first(path)?;
            let own = || process.parse() == Ok(std::process::id());
            let is_own = ["self", "thread-self"].contains(&process) || own();
            is_own.then(|| path.strip_prefix("fd").ok())??
        }
        Err(_) => path.strip_prefix("/dev/fd").ok()?,
    };
    let (number, below) = first(path)?;
    let fd = number.parse().ok().filter(|fd| *fd > 2)?;
    Some((fd, below))
}

/// The first name of a path, and what follows.
fn first(path: &Path) -> Option<(&str, &Path)> {
    let mut parts = path.components();
    let Component::Normal(name) = parts.next()? else {
        return None;
    };
    Some((name.to_str()?, parts.as_path()))
}

/// The name of what a descriptor is open for, unless it has none, or another file
/// has it by now.
fn named(fd: RawFd) -> Option<PathBuf> {
    let descriptor = PathBuf::from(format!("/proc/self/fd/{fd}"));
    let name = fs::read_link(&descriptor).ok()?;
    let (open, there) = (fs::metadata(&descriptor).ok()?, fs::metadata(&name).ok()?);
    let same = (open.dev(), open.ino()) == (there.dev(), there.ino());
    (same && name.is_absolute()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_known_by_their_directories() {
        let own = format!("/proc/{}/fd/3", std::process::id());
        for (path, expected) in [
            ("/dev/fd/63", Some((63, ""))),
            ("/proc/self/fd/3/a/b", Some((3, "a/b"))),
            ("/proc/thread-self/fd/12/", Some((12, ""))),
            (own.as_str(), Some((3, ""))),
            ("/dev/fd/2", None),
            ("/dev/fd/-3", None),
            ("/dev/fd/../x", None),
            ("/dev/fd", None),
            ("/dev/fdx/3", None),
            ("/proc/1/fd/3", None),
            ("dev/fd/3", None),
        ] {
            let expected = expected.map(|(fd, below)| (fd, Path::new(below)));
            assert_eq!(through(Path::new(path)), expected, "{path}");
        }
    }
}
