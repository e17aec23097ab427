//! Which bundle, and which id, the argument of `run` and `create` means.
//!
//! To a manager it is always an id, and the bundle is named by `--bundle` or is
//! the working directory. By hand it may name the bundle: what contains a slash
//! can be no id, and a word without one is a bundle only where runc's meaning
//! would be an error.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use super::id;
use crate::container::valid_id;

/// A container to be made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) bundle: PathBuf,
    pub(super) id: String,
}

/// The path that an option gives, as it is meant: from where the caller stands.
///
/// # Errors
/// When that is a directory that is gone, and the path needs it.
pub(super) fn absolute(path: Option<&PathBuf>) -> Result<Option<PathBuf>> {
    path.map(|path| match path.is_absolute() {
        true => Ok(path.clone()),
        false => Ok(here()?.join(path)),
    })
    .transpose()
}

/// Where the caller stands.
///
/// # Errors
/// When that directory is gone.
pub(super) fn here() -> Result<PathBuf> {
    env::current_dir().context("working directory")
}

/// Asks `here`, where the caller stands, only if it has to; `bundle` is absolute.
///
/// # Errors
/// When there is no such bundle, or no valid id can be had.
pub(super) fn find(
    argument: &OsStr,
    bundle: Option<&Path>,
    here: impl FnOnce() -> Result<PathBuf>,
) -> Result<Target> {
    if is_path(argument) {
        if bundle.is_some() {
            bail!(
                "{}: is a bundle, and so is --bundle: give -b DIR ID",
                argument.display()
            );
        }
        return match Path::new(argument).is_absolute() {
            true => named_by_directory(Path::new(argument)),
            false => named_by_directory(&here()?.join(argument)),
        };
    }
    let id = || id::checked(argument).map(str::to_owned);
    if let Some(bundle) = bundle {
        return Ok(Target {
            bundle: clean(bundle),
            id: id()?,
        });
    }
    let here = here()?;
    if here.join("config.json").exists() {
        return Ok(Target {
            bundle: here,
            id: id()?,
        });
    }
    let directory = here.join(argument);
    if directory.is_dir() {
        return named_by_directory(&directory);
    }
    let id = id()?;
    Err(anyhow!(
        "no config.json in {}, and no directory {id:?}: give -b DIR ID",
        here.display()
    ))
    .context(id)
}

fn is_path(argument: &OsStr) -> bool {
    argument.as_bytes().contains(&b'/') || argument == "." || argument == ".."
}

/// The path that others are told: without `..`, which may lead elsewhere once a
/// link on the way has changed.
#[allow(
    clippy::disallowed_methods,
    reason = "says where the bundle is; whether it is there is found out later"
)]
fn clean(bundle: &Path) -> PathBuf {
    let climbs = bundle.components().any(|part| part == Component::ParentDir);
    let resolved = climbs.then(|| bundle.canonicalize().ok()).flatten();
    resolved.unwrap_or_else(|| bundle.to_owned())
}

/// The container is called like the directory, once links and dots are resolved.
#[allow(
    clippy::disallowed_methods,
    reason = "gives the container its name; the bundle's files are opened by no other path"
)]
fn named_by_directory(directory: &Path) -> Result<Target> {
    let shown = || {
        format!(
            "bundle {}",
            directory.components().collect::<PathBuf>().display()
        )
    };
    let bundle = directory.canonicalize().with_context(shown)?;
    let name = bundle.file_name().map(OsString::from).unwrap_or_default();
    match name.to_str().filter(|name| valid_id(name)) {
        Some(id) => Ok(Target {
            id: id.to_owned(),
            bundle,
        }),
        None => bail!(
            "bundle {}: its name {:?} is no container ID: give -b DIR ID",
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

    /// `with/config.json`, `without/mybundle/`, `without/bad name/`, `without/link`.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Place {
            let top = std::env::temp_dir().join(format!("rt-target-{name}-{}", std::process::id()));
            for directory in ["with", "without/mybundle", "without/bad name"] {
                fs::create_dir_all(top.join(directory)).unwrap();
            }
            fs::write(top.join("with/config.json"), "{}").unwrap();
            symlink("mybundle", top.join("without/link")).unwrap();
            Place(top)
        }

        fn find(
            &self,
            argument: &str,
            bundle: Option<&str>,
            here: &str,
        ) -> Result<(PathBuf, String)> {
            let here = self.0.join(here);
            let bundle = bundle.map(|bundle| here.join(bundle));
            let found = find(argument.as_ref(), bundle.as_deref(), || Ok(here))?;
            let below = found.bundle.strip_prefix(&self.0).unwrap_or(&found.bundle);
            Ok((below.to_owned(), found.id))
        }

        #[track_caller]
        fn assert(&self, argument: &str, bundle: Option<&str>, here: &str, means: (&str, &str)) {
            let found = self.find(argument, bundle, here).unwrap();
            assert_eq!(found, (PathBuf::from(means.0), means.1.to_owned()));
        }

        #[track_caller]
        fn assert_refused(&self, argument: &str, bundle: Option<&str>, here: &str, text: &str) {
            let error = self.find(argument, bundle, here).unwrap_err();
            let error = format!("{error:#}").replace(&self.0.display().to_string(), "TOP");
            assert_eq!(error, text);
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            // What stays in the directory for temporary files fails no test.
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_word_is_an_id_where_runc_says_so() {
        let place = Place::new("word");
        place.assert("web", None, "with", ("with", "web"));
        place.assert("web", Some("../with"), "without", ("with", "web"));
        // A directory of that name does not count beside config.json or --bundle.
        fs::create_dir(place.0.join("with/web")).unwrap();
        place.assert("web", None, "with", ("with", "web"));
        place.assert("mybundle", Some("/b"), "without", ("/b", "mybundle"));
    }

    #[test]
    fn a_word_is_a_bundle_where_runc_would_fail() {
        let place = Place::new("bundle");
        place.assert(
            "mybundle",
            None,
            "without",
            ("without/mybundle", "mybundle"),
        );
        place.assert("link", None, "without", ("without/mybundle", "mybundle"));
    }

    #[test]
    fn a_path_is_a_bundle_everywhere() {
        let place = Place::new("path");
        place.assert(
            "./mybundle/",
            None,
            "without",
            ("without/mybundle", "mybundle"),
        );
        place.assert(
            "../without/mybundle",
            None,
            "with",
            ("without/mybundle", "mybundle"),
        );
        place.assert(".", None, "with", ("with", "with"));
        place.assert("..", None, "without/mybundle", ("without", "without"));
        place.assert("./link", None, "without", ("without/mybundle", "mybundle"));
    }

    #[test]
    fn what_cannot_be_is_one_line() {
        let place = Place::new("refused");
        let both = "./a: is a bundle, and so is --bundle: give -b DIR ID";
        place.assert_refused("./a", Some("/b"), "with", both);
        let name =
            "bundle TOP/without/bad name: its name \"bad name\" is no container ID: give -b DIR ID";
        place.assert_refused("./bad name", None, "without", name);
        place.assert_refused("bad name", None, "without", name);
        place.assert_refused(
            "/",
            None,
            "with",
            "bundle /: its name \"\" is no container ID: give -b DIR ID",
        );
        let none = "web: no config.json in TOP/without, and no directory \"web\": give -b DIR ID";
        place.assert_refused("web", None, "without", none);
        place.assert_refused("a b", None, "with", "a b: invalid container ID format");
        place.assert_refused(
            "a b",
            Some("/b"),
            "with",
            "a b: invalid container ID format",
        );
    }
}
