//! Paths such as `/dev/fd/63` on the command line, which name a descriptor of the caller.
//! A shell writes them for process substitution: `update -r <(..)` becomes
//! `update -r /dev/fd/63`.
//!
//! `rt` closes all inherited descriptors that it does not pass on before it does anything
//! else. If the open file has a path of its own, that path replaces the descriptor's. If it has
//! none, as a pipe, the descriptor stays open for flags whose file is opened immediately, and is
//! closed before any other process is created.

use std::fs;
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use clap::Command;

use super::arguments::ParsedArguments;
use crate::commands::OPENED_IMMEDIATELY;

/// Replaces paths of descriptors by the paths of the open files, where they have one. Returns
/// the descriptors that have to stay open.
pub(super) fn resolve(command: &Command, arguments: &mut ParsedArguments) -> Vec<RawFd> {
    let mut needed = Vec::new();
    arguments.replace_paths(command, |flag, path| {
        let (fd, rest) = split_descriptor(path)?;
        if let Some(file) = path_of(fd) {
            return Some(file.join(rest).components().collect());
        }
        if OPENED_IMMEDIATELY.contains(&flag) {
            needed.push(fd);
        }
        None
    });
    needed
}

/// The descriptor that a path begins with, and the rest of the path. `None` for descriptors 0
/// to 2, which are never closed.
fn split_descriptor(path: &Path) -> Option<(RawFd, &Path)> {
    let path = match path.strip_prefix("/proc") {
        Ok(path) => {
            let (process, path) = split_first(path)?;
            let is_own_pid = || process.parse() == Ok(std::process::id());
            let is_self = ["self", "thread-self"].contains(&process) || is_own_pid();
            is_self.then(|| path.strip_prefix("fd").ok())??
        }
        Err(_) => path.strip_prefix("/dev/fd").ok()?,
    };
    let (number, rest) = split_first(path)?;
    let fd = number.parse().ok().filter(|fd| *fd > 2)?;
    Some((fd, rest))
}

/// The first component of a path, and the rest of the path.
fn split_first(path: &Path) -> Option<(&str, &Path)> {
    let mut parts = path.components();
    let Component::Normal(name) = parts.next()? else {
        return None;
    };
    Some((name.to_str()?, parts.as_path()))
}

/// The path of the file that is open as `fd`. `None` if it has no path, or if another file is
/// at that path now.
fn path_of(fd: RawFd) -> Option<PathBuf> {
    let descriptor = PathBuf::from(format!("/proc/self/fd/{fd}"));
    let path = fs::read_link(&descriptor).ok()?;
    let (open, at_path) = (fs::metadata(&descriptor).ok()?, fs::metadata(&path).ok()?);
    let same = (open.dev(), open.ino()) == (at_path.dev(), at_path.ino());
    (same && path.is_absolute()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_descriptors_are_recognized() {
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
            let expected = expected.map(|(fd, rest)| (fd, Path::new(rest)));
            assert_eq!(split_descriptor(Path::new(path)), expected, "{path}");
        }
    }
}
