//! Walking.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use nix::fcntl::openat;
use nix::sys::stat::Mode;

use super::{DIRECTORY, Directory, is_gone};

/// What [`walk`] comes by.
pub(in crate::cgroups) enum Visit<'a> {
    /// A cgroup, before those below it.
    Enter(&'a Directory),
    /// The cgroup `name` in `parent`, after those below it.
    Leave {
        parent: &'a Directory,
        name: &'a Path,
    },
}

/// Visits `top` (entered only) and everything below it. Holds one descriptor
/// however deep the tree is: a container may have made it, to exhaust ours or
/// to exceed the length of a path.
pub(in crate::cgroups) fn walk(
    top: &Path,
    mut visit: impl FnMut(Visit) -> nix::Result<()>,
) -> nix::Result<()> {
    let mut current = match Directory::open(top) {
        Err(errno) if is_gone(errno) => return Ok(()),
        opened => opened?,
    };
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
                    let below = enter(&current, &mut visit)?;
                    levels.push((name, std::mem::replace(&mut pending, below)));
                }
            }
        } else if let Some((name, siblings)) = levels.pop() {
            let fd = openat(&current.fd, "..", DIRECTORY, Mode::empty())?;
            current = Directory {
                fd,
                path: top.to_owned(),
            };
            visit(Visit::Leave {
                parent: &current,
                name: &name,
            })?;
            pending = siblings;
        } else {
            return Ok(());
        }
    }
}

/// Visits `directory`, and lists what is below unless it is gone meanwhile.
fn enter(
    directory: &Directory,
    visit: &mut impl FnMut(Visit) -> nix::Result<()>,
) -> nix::Result<Vec<OsString>> {
    visit(Visit::Enter(directory))?;
    match directory.children() {
        Err(errno) if is_gone(errno) => Ok(Vec::new()),
        listed => listed,
    }
}
