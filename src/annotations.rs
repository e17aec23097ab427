//! The annotations that `rt` supports: those with the prefix `rt.`, and one of crun's
//! that Podman writes.
//!
//! config.md, "Annotations": a runtime must not fail because of an unknown key. An
//! unknown key with the prefix `rt.` gets a warning.

use std::collections::HashMap;

use anyhow::{Result, bail};

use crate::log;
use crate::nearest::nearest;

/// Mounts an overlay on the root. The only value is `ephemeral`.
const OVERLAY: &str = "rt.rootfs.overlay";

/// The container's process keeps the supplementary groups of the caller of `rt`
/// (crun(1)). `podman run --group-add keep-groups` sets it to 1.
const GROUPS: &str = "run.oci.keep_original_groups";

/// All keys, for suggestions and for `rt features`.
pub(crate) const KNOWN: [&str; 2] = [OVERLAY, GROUPS];

/// The settings in the annotations of one container.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Annotations {
    /// Changes to the root are discarded with the container.
    pub(crate) ephemeral_root: bool,
    /// The supplementary groups are the caller's, not `process.user.additionalGids`.
    pub(crate) keeps_groups: bool,
}

/// Reads `annotations`.
///
/// # Errors
/// When a known key has an unknown value.
pub(crate) fn parse(annotations: Option<&HashMap<String, String>>) -> Result<Annotations> {
    let mut parsed = Annotations::default();
    for (key, value) in annotations.into_iter().flatten() {
        match key.as_str() {
            OVERLAY if value == "ephemeral" => parsed.ephemeral_root = true,
            OVERLAY => {
                bail!(
                    "annotations: {OVERLAY}: unknown value {value:?}: the only value is \"ephemeral\""
                )
            }
            GROUPS if value == "1" => parsed.keeps_groups = true,
            GROUPS if value == "0" => {}
            GROUPS => bail!("annotations: {GROUPS}: {value:?} is neither \"1\" nor \"0\""),
            unknown if unknown.starts_with("rt.") => {
                let remedy = match nearest(unknown, KNOWN) {
                    Some(nearest) => format!("did you mean {nearest}?"),
                    None => format!("the only one is {OVERLAY}"),
                };
                log::defer_warning(format!(
                    "annotations: {unknown}: unknown, ignored: {remedy}"
                ));
            }
            _ => {}
        }
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(key: &str, value: &str) -> Result<Annotations> {
        parse(Some(&HashMap::from([(key.to_owned(), value.to_owned())])))
    }

    #[test]
    fn a_known_key_with_an_unknown_value_is_an_error() {
        assert!(one(OVERLAY, "ephemeral").unwrap().ephemeral_root);
        assert!(one(OVERLAY, "Ephemeral").is_err());
        assert!(one(GROUPS, "1").unwrap().keeps_groups);
        assert_eq!(one(GROUPS, "0").unwrap(), Annotations::default());
        for value in ["", "true", "2"] {
            assert!(one(GROUPS, value).is_err());
        }
    }

    #[test]
    fn an_unknown_key_is_ignored() {
        assert_eq!(
            one("rt.rootfs.overlai", "x").unwrap(),
            Annotations::default()
        );
        assert_eq!(one("org.example", "x").unwrap(), Annotations::default());
    }
}
