//! `linux.cgroupsPath`: where in each tree a container's cgroup lies.

use std::path::{Component, Path, PathBuf};

use anyhow::{Result, ensure};

/// A container's place in a tree, from the configuration alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cgroups) enum Place {
    /// Below the tree's mount point.
    Absolute(PathBuf),
    /// Below the cgroup of the caller.
    Relative(PathBuf),
}

impl Place {
    /// Without a path the cgroup is called after the container: at the top of a
    /// tree that is the caller's, below the caller's own cgroup of another.
    ///
    /// # Errors
    /// When the path names no cgroup but the root of a tree, or cannot be a path.
    pub(in crate::cgroups) fn plan(
        id: &str,
        path: Option<&Path>,
        from_the_top: bool,
    ) -> Result<Place> {
        let path = match path.filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => path,
            None if from_the_top => &Path::new("/").join(id),
            None => Path::new(id),
        };
        ensure!(
            !path.as_os_str().as_encoded_bytes().contains(&0),
            "linux.cgroupsPath: a path cannot hold a NUL byte"
        );
        let inside = clean(path);
        ensure!(
            !inside.as_os_str().is_empty(),
            "linux.cgroupsPath: \"{}\" names no cgroup of the container's own",
            path.display()
        );
        Ok(if path.is_absolute() {
            Place::Absolute(inside)
        } else {
            Place::Relative(inside)
        })
    }

    /// The path below the mount point of a tree in which the caller's own
    /// cgroup, or the one that takes its place, is `own`.
    pub(in crate::cgroups) fn below(&self, own: &Path) -> PathBuf {
        match self {
            Place::Absolute(path) => path.clone(),
            Place::Relative(path) => clean(own).join(path),
        }
    }
}

/// `path` without `.` and `..`, relative to the mount point that it cannot
/// leave: Go's `filepath.Clean("/" + path)`. Lexically, for a cgroup file
/// system has no symbolic links.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str, own: &str) -> String {
        let place = Place::plan("web", Some(Path::new(path)), true).unwrap();
        place.below(Path::new(own)).display().to_string()
    }

    #[test]
    fn no_path_is_the_id_at_the_top() {
        assert_eq!(at("", "/user/a"), "web");
        let place = Place::plan("web", None, true).unwrap();
        assert_eq!(place, Place::Absolute("web".into()));
        let users = Place::plan("web", None, false).unwrap();
        assert_eq!(users, Place::Relative("web".into()));
    }

    #[test]
    fn an_absolute_path_ignores_the_callers_own() {
        assert_eq!(at("/docker/abc", "/user/a"), "docker/abc");
        assert_eq!(at("//docker/./abc/", "/user/a"), "docker/abc");
    }

    #[test]
    fn a_relative_path_is_below_the_callers_own() {
        assert_eq!(at("abc", "/"), "abc");
        assert_eq!(at("a/b", "/user/x"), "user/x/a/b");
        assert_eq!(at("slice:prefix:name", "/user"), "user/slice:prefix:name");
    }

    #[test]
    fn dots_never_lead_out() {
        assert_eq!(at("/../../etc", "/"), "etc");
        assert_eq!(at("../../etc", "/user/x"), "user/x/etc");
        assert_eq!(at("a/../../b", "/user/x"), "user/x/b");
        // A cgroup namespace shows what is above it so.
        assert_eq!(at("a", "/../../user"), "user/a");
    }

    #[test]
    fn a_root_is_nobodys_cgroup() {
        for path in ["/", "/..", ".", "..", "a/.."] {
            let error = Place::plan("web", Some(Path::new(path)), true).unwrap_err();
            assert!(
                error.to_string().starts_with("linux.cgroupsPath: "),
                "{error}"
            );
        }
        assert!(Place::plan("web", Some(Path::new("/a\0b")), true).is_err());
    }
}
