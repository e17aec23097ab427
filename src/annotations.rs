//! The annotations that `rt` itself understands. All begin with `rt.`; the
//! specification lets nobody refuse an unknown one, so those get a warning.

use std::collections::HashMap;

use anyhow::{Result, bail};

use crate::log;

/// A copy-on-write layer on the root; the one value is `ephemeral`.
const OVERLAY: &str = "rt.rootfs.overlay";

/// Every key, for the suggestion and for `rt features`.
pub(crate) const KNOWN: [&str; 1] = [OVERLAY];

/// What the annotations of one container ask for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Annotations {
    /// Changes to the root go with the container.
    pub(crate) ephemeral_root: bool,
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
