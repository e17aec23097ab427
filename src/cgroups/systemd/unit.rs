//! The unit of a container, and its slice: `linux.cgroupsPath` as `slice:prefix:name`.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

const FIELD: &str = "linux.cgroupsPath";
const SLICE: &str = ".slice";

/// The longest name of a unit (systemd.unit(5)).
const MAX_LENGTH: usize = 255;

/// The scope that systemd makes for a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// `docker-1234.scope`
    pub(super) name: String,
    /// `machine-a.slice`
    pub(super) slice: String,
    /// What the container is called in the description of the unit.
    pub(super) container: String,
}

impl Unit {
    /// The unit for the configured path. Without a path it is named after the container. `user` is
    /// true for the manager of a user.
    ///
    /// # Errors
    /// When the path has another form, or systemd would refuse a name. The text about the form is
    /// runc's.
    pub(super) fn plan(id: &str, path: Option<&Path>, user: bool) -> Result<Unit> {
        let path = path.map(|path| path.to_string_lossy());
        let path = path.filter(|path| !path.is_empty());
        let (slice, prefix, name) = match &path {
            None => ("", "runc", id),
            Some(path) => match path.split(':').collect::<Vec<_>>()[..] {
                [slice, prefix, name] => (slice, prefix, name),
                _ => bail!(
                    "{FIELD}: expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {path:?} instead"
                ),
            },
        };
        let slice = match (slice, user) {
            ("", false) => "system.slice",
            ("", true) => "user.slice",
            (slice, _) => slice,
        };
        ensure!(
            !name.ends_with(SLICE),
            "{FIELD}: {name:?} is a slice, in which systemd lets no process run; give a name without {SLICE:?}"
        );
        let unit = Unit {
            name: match prefix {
                "" => format!("{name}.scope"),
                prefix => format!("{prefix}-{name}.scope"),
            },
            slice: slice.to_owned(),
            container: name.to_owned(),
        };
        ensure!(!name.is_empty(), "{FIELD}: the name of the scope is empty");
        check_characters(&unit.name)?;
        expand(slice)?;
        Ok(unit)
    }

    /// The cgroup, relative to that of the manager: slices within slices, then the scope.
    pub(super) fn cgroup(&self) -> Result<PathBuf> {
        Ok(expand(&self.slice)?.join(&self.name))
    }
}

/// # Errors
/// When a unit cannot have this name (systemd.unit(5)).
fn check_characters(name: &str) -> Result<()> {
    let is_allowed = |c: &char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(*c);
    if let Some(wrong) = name.chars().find(|c| !is_allowed(c)) {
        bail!("{FIELD}: {name:?} cannot be the name of a unit: {wrong:?} is not allowed in it");
    }
    ensure!(
        name.len() <= MAX_LENGTH,
        "{FIELD}: {name:?} cannot be the name of a unit: it has more than {MAX_LENGTH} characters"
    );
    Ok(())
}

/// The cgroup of a slice. `a-b.slice` is in `a.slice`, and `-.slice` is the root
/// (systemd.slice(5)).
fn expand(slice: &str) -> Result<PathBuf> {
    check_characters(slice)?;
    let parts = slice.strip_suffix(SLICE).filter(|name| !name.is_empty());
    let Some(name) = parts else {
        bail!("{FIELD}: invalid slice name: {slice}: it has to end with {SLICE:?}");
    };
    let mut path = PathBuf::new();
    if name == "-" {
        return Ok(path);
    }
    for (at, _) in name.match_indices('-').chain([(name.len(), "")]) {
        let parent = &name[..at];
        ensure!(
            !parent.is_empty() && !parent.ends_with('-'),
            "{FIELD}: invalid slice name: {slice}: a part between \"-\" is empty"
        );
        path.push(format!("{parent}{SLICE}"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cgroup(path: &str, user: bool) -> String {
        let unit = Unit::plan("web", Some(Path::new(path)), user).unwrap();
        unit.cgroup().unwrap().display().to_string()
    }

    #[test]
    fn a_path_names_slice_prefix_and_scope() {
        for (path, user, expected) in [
            ("", false, "system.slice/runc-web.scope"),
            ("", true, "user.slice/runc-web.scope"),
            (":runc:1", false, "system.slice/runc-1.scope"),
            ("system.slice:docker:1", true, "system.slice/docker-1.scope"),
            ("-.slice:p:1", false, "p-1.scope"),
            ("a.slice::1", false, "a.slice/1.scope"),
            (
                "kubepods-burstable-pod1_2.slice:cri-containerd:ab",
                false,
                "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-ab.scope",
            ),
        ] {
            assert_eq!(cgroup(path, user), expected, "{path}");
        }
    }

    #[test]
    fn what_systemd_would_refuse_is_refused_before() {
        for (path, reason) in [
            (
                "/docker/1",
                "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got \"/docker/1\" instead",
            ),
            ("a:b", "expected cgroupsPath"),
            ("a.slice:b:c:d", "expected cgroupsPath"),
            ("a:b:c", "invalid slice name: a: "),
            (".slice:b:c", "invalid slice name: .slice: "),
            ("a--b.slice:b:c", "invalid slice name: a--b.slice: "),
            ("-a.slice:b:c", "invalid slice name: -a.slice: "),
            ("a-.slice:b:c", "invalid slice name: a-.slice: "),
            ("a/../b.slice:b:c", "'/' is not allowed"),
            ("a.slice:b:../c", "'/' is not allowed"),
            ("a.slice:b c:d", "' ' is not allowed"),
            ("a.slice:b:", "the name of the scope is empty"),
            ("a.slice:b:c.slice", "\"c.slice\" is a slice, "),
        ] {
            let error = Unit::plan("web", Some(Path::new(path)), false).unwrap_err();
            let error = error.to_string();
            assert!(
                error.starts_with("linux.cgroupsPath: ") && error.contains(reason),
                "{path}: {error}"
            );
        }
        let long = format!("a.slice:b:{}", "c".repeat(255));
        Unit::plan("web", Some(Path::new(&long)), false).unwrap_err();
        Unit::plan("a+b", None, false).unwrap_err();
    }
}
