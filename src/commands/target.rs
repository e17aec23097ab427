//! Derives the bundle and the id from the argument of `run` and `create`.
//!
//! Container managers give an id, and the bundle is `--bundle` or the working directory. On the
//! command line the argument may also be the bundle's directory. An argument with a slash cannot
//! be an id, so it is a directory. An argument without a slash is a directory only in cases where
//! runc would report an error.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use super::id;
use crate::container::valid_id;
use crate::nearest::nearest;

/// The bundle and the id of a new container.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) bundle: PathBuf,
    pub(super) id: String,
}

/// Resolves the path of a flag against the working directory.
///
/// # Errors
/// When the path is relative and the working directory has been removed.
pub(super) fn absolute(path: Option<&PathBuf>) -> Result<Option<PathBuf>> {
    path.map(|path| {
        if path.is_absolute() {
            Ok(path.clone())
        } else {
            Ok(working_directory()?.join(path))
        }
    })
    .transpose()
}

/// The caller's working directory.
///
/// # Errors
/// When the directory has been removed.
pub(super) fn working_directory() -> Result<PathBuf> {
    env::current_dir().context("working directory")
}

/// The bundle and the id that `argument` and `--bundle` (absolute) mean. `working_directory` is
/// called only if the result depends on it.
///
/// # Errors
/// When there is no bundle, or the id is invalid.
pub(super) fn find(
    argument: &OsStr,
    bundle: Option<&Path>,
    working_directory: impl FnOnce() -> Result<PathBuf>,
) -> Result<Target> {
    if argument.is_empty() {
        bail!("container id cannot be empty; give an id, or the directory of a bundle: ./DIR");
    }
    if is_path(argument) {
        if bundle.is_some() {
            bail!(
                "{}: cannot be combined with --bundle: give -b DIR ID",
                argument.display()
            );
        }
        return if Path::new(argument).is_absolute() {
            from_directory(Path::new(argument))
        } else {
            from_directory(&working_directory()?.join(argument))
        };
    }
    let id = || id::validate(argument).map(str::to_owned);
    if let Some(bundle) = bundle {
        return Ok(Target {
            bundle: without_parent_components(bundle),
            id: id()?,
        });
    }
    let working_directory = working_directory()?;
    if working_directory.join("config.json").exists() {
        return Ok(Target {
            bundle: working_directory,
            id: id()?,
        });
    }
    let directory = working_directory.join(argument);
    if directory.is_dir() {
        return from_directory(&directory);
    }
    let id = id()?;
    let suggestion = match nearest_bundle(&working_directory, &id) {
        Some(name) => format!("; did you mean ./{name}?"),
        None => String::new(),
    };
    Err(anyhow!(
        "no config.json in {}, and no directory {id:?}: give -b DIR ID{suggestion}",
        working_directory.display()
    ))
    .context(id)
}

/// The name of the bundle in `directory` that is nearest to `name`.
fn nearest_bundle(directory: &Path, name: &str) -> Option<String> {
    let names = fs::read_dir(directory).ok()?.flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let names: Vec<String> = names.collect();
    let nearest = nearest(name, names.iter().map(String::as_str))?;
    let is_bundle = directory.join(nearest).join("config.json").exists();
    is_bundle.then(|| nearest.to_owned())
}

fn is_path(argument: &OsStr) -> bool {
    argument.as_bytes().contains(&b'/') || argument == "." || argument == ".."
}

/// The path that `state` and hooks get. A path with `..` is resolved, because it may lead
/// elsewhere after a symbolic link in it has changed.
#[allow(
    clippy::disallowed_methods,
    reason = "only makes the path canonical; opening the bundle reports whether it exists"
)]
pub(super) fn without_parent_components(bundle: &Path) -> PathBuf {
    let has_parent = bundle.components().any(|part| part == Component::ParentDir);
    let resolved = has_parent.then(|| bundle.canonicalize().ok()).flatten();
    resolved.unwrap_or_else(|| bundle.to_owned())
}

/// The bundle in `directory`. The id is the name of the directory after symbolic links and `..`
/// are resolved.
#[allow(
    clippy::disallowed_methods,
    reason = "the id comes from this path, and the bundle is opened by the same path"
)]
fn from_directory(directory: &Path) -> Result<Target> {
    let context = || {
        format!(
            "bundle {}",
            directory.components().collect::<PathBuf>().display()
        )
    };
    let bundle = directory.canonicalize().with_context(context)?;
    let name = bundle.file_name().map(OsString::from).unwrap_or_default();
    match name.to_str().filter(|name| valid_id(name)) {
        Some(id) => Ok(Target {
            id: id.to_owned(),
            bundle,
        }),
        None => bail!(
            "bundle {}: its name {:?} is not a valid container ID: give -b DIR ID",
            bundle.display(),
            name.display().to_string()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// A temporary directory that contains `with/config.json`, `without/mybundle/`,
    /// `without/bad name/` and the symbolic link `without/link`.
    struct Fixture(PathBuf);

    impl Fixture {
        fn new(name: &str) -> Fixture {
            let top = std::env::temp_dir().join(format!("rt-target-{name}-{}", std::process::id()));
            for subdirectory in ["with", "without/mybundle", "without/bad name"] {
                fs::create_dir_all(top.join(subdirectory)).unwrap();
            }
            fs::write(top.join("with/config.json"), "{}").unwrap();
            symlink("mybundle", top.join("without/link")).unwrap();
            Fixture(top)
        }

        fn find(
            &self,
            argument: &str,
            bundle: Option<&str>,
            directory: &str,
        ) -> Result<(PathBuf, String)> {
            let directory = self.0.join(directory);
            let bundle = bundle.map(|bundle| directory.join(bundle));
            let found = find(argument.as_ref(), bundle.as_deref(), || Ok(directory))?;
            let below = found.bundle.strip_prefix(&self.0).unwrap_or(&found.bundle);
            Ok((below.to_owned(), found.id))
        }

        #[track_caller]
        fn assert(
            &self,
            argument: &str,
            bundle: Option<&str>,
            directory: &str,
            expected: (&str, &str),
        ) {
            let found = self.find(argument, bundle, directory).unwrap();
            assert_eq!(found, (PathBuf::from(expected.0), expected.1.to_owned()));
        }

        #[track_caller]
        fn assert_refused(
            &self,
            argument: &str,
            bundle: Option<&str>,
            directory: &str,
            text: &str,
        ) {
            let error = self.find(argument, bundle, directory).unwrap_err();
            let error = format!("{error:#}").replace(&self.0.display().to_string(), "TOP");
            assert_eq!(error, text);
        }
    }

    impl Drop for Fixture {
        fn drop(&mut self) {
            // A failed removal leaves a temporary directory and must not fail the test.
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn an_argument_without_a_slash_is_an_id_where_runc_takes_it_for_one() {
        let fixture = Fixture::new("id");
        fixture.assert("web", None, "with", ("with", "web"));
        fixture.assert("web", Some("../with"), "without", ("with", "web"));
        // A directory of that name does not count if there is a config.json or --bundle.
        fs::create_dir(fixture.0.join("with/web")).unwrap();
        fixture.assert("web", None, "with", ("with", "web"));
        fixture.assert("mybundle", Some("/b"), "without", ("/b", "mybundle"));
    }

    #[test]
    fn an_argument_without_a_slash_is_a_bundle_where_runc_would_fail() {
        let fixture = Fixture::new("bundle");
        fixture.assert(
            "mybundle",
            None,
            "without",
            ("without/mybundle", "mybundle"),
        );
        fixture.assert("link", None, "without", ("without/mybundle", "mybundle"));
    }

    #[test]
    fn a_path_is_always_a_bundle() {
        let fixture = Fixture::new("path");
        fixture.assert(
            "./mybundle/",
            None,
            "without",
            ("without/mybundle", "mybundle"),
        );
        fixture.assert(
            "../without/mybundle",
            None,
            "with",
            ("without/mybundle", "mybundle"),
        );
        fixture.assert(".", None, "with", ("with", "with"));
        fixture.assert("..", None, "without/mybundle", ("without", "without"));
        fixture.assert("./link", None, "without", ("without/mybundle", "mybundle"));
    }

    #[test]
    fn an_ambiguous_or_invalid_argument_is_refused() {
        let fixture = Fixture::new("refused");
        let both = "./a: cannot be combined with --bundle: give -b DIR ID";
        fixture.assert_refused("./a", Some("/b"), "with", both);
        let name = "bundle TOP/without/bad name: its name \"bad name\" is not a valid container ID: give -b DIR ID";
        fixture.assert_refused("./bad name", None, "without", name);
        fixture.assert_refused("bad name", None, "without", name);
        fixture.assert_refused(
            "/",
            None,
            "with",
            "bundle /: its name \"\" is not a valid container ID: give -b DIR ID",
        );
        let missing =
            "web: no config.json in TOP/without, and no directory \"web\": give -b DIR ID";
        fixture.assert_refused("web", None, "without", missing);
        let near = "wiht: no config.json in TOP/, and no directory \"wiht\": give -b DIR ID; did you mean ./with?";
        fixture.assert_refused("wiht", None, "", near);
        // Near, but not a bundle.
        let other = "mybundel: no config.json in TOP/without, and no directory \"mybundel\": give -b DIR ID";
        fixture.assert_refused("mybundel", None, "without", other);
        let empty = "container id cannot be empty; give an id, or the directory of a bundle: ./DIR";
        fixture.assert_refused("", None, "with", empty);
        let invalid = "a b: invalid container ID format: ' ' is not allowed; use letters, digits, _, +, - and .";
        fixture.assert_refused("a b", None, "with", invalid);
        fixture.assert_refused("a b", Some("../with"), "without", invalid);
    }
}
