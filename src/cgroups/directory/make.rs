//! Making.

use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::{Directory, Origin, is_gone};

/// Opens the leaf `relative` below the mounted tree `root`, making what is
/// missing. Paths made are added to `created`, parents first.
///
/// # Errors
/// Those of mkdir(2) and openat2(2).
pub(in crate::cgroups) fn make_all(
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
            return make_one(root, name, created);
        }
        match root.below(parent) {
            Ok(parent) => make_one(&parent, name, created),
            Err(Errno::ENOENT) => {
                let mut names = parent.components().map(|part| Path::new(part.as_os_str()));
                let first = names.next().ok_or(Errno::EINVAL)?;
                let (mut at, _) = make_one(root, first, created)?;
                for name in names {
                    (at, _) = make_one(&at, name, created)?;
                }
                make_one(&at, name, created)
            }
            Err(errno) => Err(errno),
        }
    })
}

/// Repeats what failed because another container's end took a shared parent
/// away in between. Each repetition means that somebody else got on, so few
/// are ever needed.
pub(in crate::cgroups) fn retry_races<T>(
    mut attempt: impl FnMut() -> nix::Result<T>,
) -> nix::Result<T> {
    for _ in 0..100 {
        match attempt() {
            Err(errno) if is_gone(errno) => {}
            done => return done,
        }
    }
    attempt()
}

/// Opens the directory `name` in `parent`, made if missing.
pub(in crate::cgroups) fn make_one(
    parent: &Directory,
    name: &Path,
    created: &mut Vec<PathBuf>,
) -> nix::Result<(Directory, Origin)> {
    let origin = parent.make(name)?;
    let path = parent.path().join(name);
    // Made a second time when a race was lost after the first.
    if origin == Origin::Made && !created.contains(&path) {
        created.push(path);
    }
    Ok((parent.below(name)?, origin))
}
