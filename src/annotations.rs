//! The annotations that `rt` itself understands. Its own begin with `rt.`; the
//! specification lets nobody refuse an unknown one, so those get a warning. One
//! is crun's, because Podman writes it.

use std::collections::HashMap;

use anyhow::{Result, bail};

use crate::log;

/// A copy-on-write layer on the root; the one value is `ephemeral`.
const OVERLAY: &str = "rt.rootfs.overlay";

/// The process keeps the additional groups of whoever calls `rt`: what `podman
/// run --group-add keep-groups` writes, with the value 1 (crun(1)).
const GROUPS: &str = "run.oci.keep_original_groups";

/// Every key, for the suggestion and for `rt features`.
pub(crate) const KNOWN: [&str; 2] = [OVERLAY, GROUPS];

/// What the annotations of one container ask for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Annotations {
    /// Changes to the root go with the container.
    pub(crate) ephemeral_root: bool,
    /// Additional groups are the caller's, not those of `process.user`.
    pub(crate) keeps_groups: bool,
}

/// Reads `annotations`.
///
/// # Errors
/// A known key with a value that it does not have.
pub(crate) fn parse(annotations: Option<&HashMap<String, String>>) -> Result<Annotations> {
    let mut parsed = Annotations::default();
    for (key, value) in annotations.into_iter().flatten() {
        match key.as_str() {
            OVERLAY if value == "ephemeral" => parsed.ephemeral_root = true,
            OVERLAY => {
                bail!("annotations: {OVERLAY}: {value:?} is unknown; the value is \"ephemeral\"")
            }
            GROUPS if value == "1" => parsed.keeps_groups = true,
            GROUPS if value == "0" => {}
            GROUPS => bail!("annotations: {GROUPS}: {value:?} is neither \"1\" nor \"0\""),
            unknown if unknown.starts_with("rt.") => {
                log::warn_later(format!(
                    "annotations: {unknown}: unknown, ignored; nearest is {}",
                    nearest(unknown)
                ));
            }
            _ => {}
        }
    }
    Ok(parsed)
}

fn nearest(key: &str) -> &'static str {
    let distance = |known: &&str| strsim::levenshtein(key, known);
    KNOWN.into_iter().min_by_key(distance).unwrap_or(OVERLAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(key: &str, value: &str) -> Result<Annotations> {
        parse(Some(&HashMap::from([(key.to_owned(), value.to_owned())])))
    }

    #[test]
    fn a_known_key_takes_its_value_only() {
        assert!(one(OVERLAY, "ephemeral").unwrap().ephemeral_root);
        assert!(one(OVERLAY, "Ephemeral").is_err());
        assert!(one(GROUPS, "1").unwrap().keeps_groups);
        assert_eq!(one(GROUPS, "0").unwrap(), Annotations::default());
        for value in ["", "true", "2"] {
            assert!(one(GROUPS, value).is_err());
        }
    }

    #[test]
    fn unknown_keys_are_no_error() {
        assert_eq!(
            one("rt.rootfs.overlai", "x").unwrap(),
            Annotations::default()
        );
        assert_eq!(one("org.example", "x").unwrap(), Annotations::default());
    }
}
