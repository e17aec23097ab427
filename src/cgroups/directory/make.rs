//! Makes cgroup directories, while other containers make and remove the same parents.

use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::{Directory, Origin, is_gone};

/// Opens the cgroup `relative` below `root`, the root of a hierarchy. Makes missing directories;
/// their paths are added to `created`, parents first.
///
/// # Errors
/// When the kernel refuses to make or open a directory; `EINVAL` when `relative` is empty.
pub(in crate::cgroups) fn make_with_parents(
    root: &Directory,
    relative: &Path,
    created: &mut Vec<PathBuf>,
) -> nix::Result<(Directory, Origin)> {
    let (Some(parent), Some(name)) = (relative.parent(), relative.file_name().map(Path::new))
    else {
        return Err(Errno::EINVAL);
    };
    retry_races(|| {
        if parent.as_os_str().is_empty() {
            return make_or_open(root, name, created);
        }
        match root.below(parent) {
            Ok(parent) => make_or_open(&parent, name, created),
            Err(Errno::ENOENT) => {
                let mut names = parent.components().map(|part| Path::new(part.as_os_str()));
                let first = names.next().ok_or(Errno::EINVAL)?;
                let (mut current, _) = make_or_open(root, first, created)?;
                for name in names {
                    (current, _) = make_or_open(&current, name, created)?;
                }
                make_or_open(&current, name, created)
            }
            Err(errno) => Err(errno),
        }
    })
}

/// Repeats `attempt` when it failed because a shared parent was removed with another container
/// in between. Each failure means that another runtime made progress, so a few attempts are
/// enough.
pub(in crate::cgroups) fn retry_races<T>(
    mut attempt: impl FnMut() -> nix::Result<T>,
) -> nix::Result<T> {
    for _ in 0..100 {
        match attempt() {
            Err(errno) if is_gone(errno) => {}
            result => return result,
        }
    }
    attempt()
}

/// Opens the directory `name` in `parent`, and makes it if it is missing.
///
/// # Errors
/// When the kernel refuses to make or open it.
pub(in crate::cgroups) fn make_or_open(
    parent: &Directory,
    name: &Path,
    created: &mut Vec<PathBuf>,
) -> nix::Result<(Directory, Origin)> {
    let origin = parent.make(name)?;
    let path = parent.path().join(name);
    // A path is already in the list when it was made by an earlier attempt of `retry_races`.
    if origin == Origin::Created && !created.contains(&path) {
        created.push(path);
    }
    Ok((parent.below(name)?, origin))
}
