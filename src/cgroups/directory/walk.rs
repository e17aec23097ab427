//! Walks a cgroup and all cgroups below it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use nix::fcntl::openat;
use nix::sys::stat::Mode;

use super::{DIRECTORY, Directory, is_gone};

/// What [`walk`] reports.
pub(in crate::cgroups) enum WalkEvent<'a> {
    /// A cgroup, before the cgroups below it.
    Enter(&'a Directory),
    /// The cgroup `name` in `parent`, after the cgroups below it.
    Leave {
        parent: &'a Directory,
        name: &'a Path,
    },
}

/// Walks `top`, for which there is no `Leave`, and everything below it. A `top` that is gone is
/// empty.
///
/// The walk holds one descriptor at any depth. A container can make its cgroups so deep that a
/// descriptor for each would exhaust ours, or that their paths exceed PATH_MAX.
///
/// # Errors
/// The errors of `visit`, and when a directory cannot be opened or listed.
pub(in crate::cgroups) fn walk(
    top: &Path,
    mut visit: impl FnMut(WalkEvent) -> nix::Result<()>,
) -> nix::Result<()> {
    let mut current = match Directory::open(top) {
        Err(errno) if is_gone(errno) => return Ok(()),
        opened => opened?,
    };
    // For `current` and each of its parents below `top`: its name, and the siblings that are
    // still to be walked.
    let mut levels: Vec<(PathBuf, Vec<OsString>)> = Vec::new();
    let mut pending = enter(&current, &mut visit)?;
    loop {
        if let Some(name) = pending.pop().map(PathBuf::from) {
            match current.below(&name) {
                Err(errno) if is_gone(errno) => {}
                child => {
                    current = Directory {
                        path: top.to_owned(),
                        ..child?
                    };
                    let children = enter(&current, &mut visit)?;
                    levels.push((name, std::mem::replace(&mut pending, children)));
                }
            }
        } else if let Some((name, siblings)) = levels.pop() {
            let fd = openat(&current.fd, "..", DIRECTORY, Mode::empty())?;
            current = Directory {
                fd,
                path: top.to_owned(),
            };
            visit(WalkEvent::Leave {
                parent: &current,
                name: &name,
            })?;
            pending = siblings;
        } else {
            return Ok(());
        }
    }
}

/// Reports `directory`, and lists the cgroups below it. There are none if it is gone by then.
fn enter(
    directory: &Directory,
    visit: &mut impl FnMut(WalkEvent) -> nix::Result<()>,
) -> nix::Result<Vec<OsString>> {
    visit(WalkEvent::Enter(directory))?;
    match directory.children() {
        Err(errno) if is_gone(errno) => Ok(Vec::new()),
        listed => listed,
    }
}
