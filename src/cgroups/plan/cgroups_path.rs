//! `linux.cgroupsPath`: where in each hierarchy a container's cgroup is.

use std::path::{Component, Path, PathBuf};

use anyhow::{Result, ensure};

/// The path from the configuration, without `.` and `..`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cgroups) enum CgroupsPath {
    /// Below the mount point of the hierarchy.
    Absolute(PathBuf),
    /// Below the caller's cgroup.
    Relative(PathBuf),
}

impl CgroupsPath {
    /// The configured path, or one made of the container's `id`: at the top of the hierarchy for
    /// root, and below the caller's cgroup for any other user.
    ///
    /// # Errors
    /// When the path is the root of a hierarchy, or contains a NUL byte.
    pub(in crate::cgroups) fn plan(
        id: &str,
        path: Option<&Path>,
        is_root: bool,
    ) -> Result<CgroupsPath> {
        let path = match path.filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => path,
            None if is_root => &Path::new("/").join(id),
            None => Path::new(id),
        };
        ensure!(
            !path.as_os_str().as_encoded_bytes().contains(&0),
            "linux.cgroupsPath: a path cannot hold a NUL byte"
        );
        let cleaned = clean(path);
        ensure!(
            !cleaned.as_os_str().is_empty(),
            "linux.cgroupsPath: \"{}\" names no cgroup of the container's own; want a path such as \"/{id}\"",
            path.display()
        );
        Ok(if path.is_absolute() {
            CgroupsPath::Absolute(cleaned)
        } else {
            CgroupsPath::Relative(cleaned)
        })
    }

    /// A warning about a path in systemd's form, `slice:prefix:name`, which has no meaning here.
    /// The slice may be empty.
    pub(in crate::cgroups) fn systemd_warning(path: &Path) -> Option<String> {
        let text = path.to_str()?;
        let (slice, name) = text.split_once(':')?;
        let is_systemds = (slice.is_empty() || slice.ends_with(".slice"))
            && name.split(':').count() == 2
            && !text.contains('/');
        is_systemds.then(|| {
            format!(
                "linux.cgroupsPath: {text:?} is a path for --systemd-cgroup; it is used as an ordinary path"
            )
        })
    }

    /// The path relative to the mount point. `own` is what relative paths start at: the caller's
    /// cgroup or its parent.
    pub(in crate::cgroups) fn below(&self, own: &Path) -> PathBuf {
        match self {
            CgroupsPath::Absolute(path) => path.clone(),
            CgroupsPath::Relative(path) => clean(own).join(path),
        }
    }
}

/// `path` without `.` and `..`, and relative to the mount point, which `..` does not leave: the
/// result of Go's `filepath.Clean("/" + path)`. This is done on the text, because a cgroup file
/// system has no symbolic links.
fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => {
                cleaned.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(path: &str, own: &str) -> String {
        let path = CgroupsPath::plan("web", Some(Path::new(path)), true).unwrap();
        path.below(Path::new(own)).display().to_string()
    }

    #[test]
    fn without_a_path_the_cgroup_is_named_after_the_container() {
        assert_eq!(below("", "/user/a"), "web");
        let path = CgroupsPath::plan("web", None, true).unwrap();
        assert_eq!(path, CgroupsPath::Absolute("web".into()));
        let of_user = CgroupsPath::plan("web", None, false).unwrap();
        assert_eq!(of_user, CgroupsPath::Relative("web".into()));
    }

    #[test]
    fn an_absolute_path_does_not_depend_on_the_callers_cgroup() {
        assert_eq!(below("/docker/abc", "/user/a"), "docker/abc");
        assert_eq!(below("//docker/./abc/", "/user/a"), "docker/abc");
    }

    #[test]
    fn a_relative_path_is_below_the_callers_cgroup() {
        assert_eq!(below("abc", "/"), "abc");
        assert_eq!(below("a/b", "/user/x"), "user/x/a/b");
        assert_eq!(
            below("slice:prefix:name", "/user"),
            "user/slice:prefix:name"
        );
    }

    #[test]
    fn only_a_path_in_systemds_form_causes_a_warning() {
        let warns = |path| CgroupsPath::systemd_warning(Path::new(path)).is_some();
        for path in ["system.slice:docker:1", ":runc:web", "-.slice:a:b"] {
            assert!(warns(path), "{path}");
        }
        for path in [
            "/docker/1",
            "web",
            "a:b:c",
            "system.slice:docker",
            "system.slice:a:b:c",
            "/system.slice:docker:1",
            "system.slice/docker:1:2",
        ] {
            assert!(!warns(path), "{path}");
        }
    }

    #[test]
    fn dot_dot_does_not_leave_the_hierarchy() {
        assert_eq!(below("/../../etc", "/"), "etc");
        assert_eq!(below("../../etc", "/user/x"), "user/x/etc");
        assert_eq!(below("a/../../b", "/user/x"), "user/x/b");
        // /proc/self/cgroup starts with `..` for a cgroup outside the cgroup namespace.
        assert_eq!(below("a", "/../../user"), "user/a");
    }

    #[test]
    fn the_root_of_a_hierarchy_is_refused() {
        for path in ["/", "/..", ".", "..", "a/.."] {
            let error = CgroupsPath::plan("web", Some(Path::new(path)), true).unwrap_err();
            assert!(
                error.to_string().starts_with("linux.cgroupsPath: "),
                "{error}"
            );
        }
        assert!(CgroupsPath::plan("web", Some(Path::new("/a\0b")), true).is_err());
    }
}
