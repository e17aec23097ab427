//! The annotations that `rt` supports: those with the prefix `rt.`, and one of crun's
//! that Podman writes.
//!
//! config.md, "Annotations": a runtime must not fail because of an unknown key. An
//! unknown key with the prefix `rt.` gets a warning.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Error, Result, anyhow, bail};

use crate::log;
use crate::nearest::nearest;

/// The keys. `docs/annotations.md` has their meaning and values.
pub(crate) mod key {
    pub(crate) const INIT: &str = "rt.init";
    pub(crate) const ADDRESS: &str = "rt.network.address";
    pub(crate) const BRIDGE: &str = "rt.network.bridge";
    pub(crate) const DNS: &str = "rt.network.dns";
    pub(crate) const GATEWAY: &str = "rt.network.gateway";
    pub(crate) const HOSTS: &str = "rt.network.hosts";
    pub(crate) const INTERFACE: &str = "rt.network.interface";
    pub(crate) const MAC: &str = "rt.network.mac";
    pub(crate) const MASQUERADE: &str = "rt.network.masquerade";
    pub(crate) const MTU: &str = "rt.network.mtu";
    pub(crate) const PUBLISH: &str = "rt.network.publish";
    pub(crate) const SUBNET: &str = "rt.network.subnet";
    pub(crate) const LOWER: &str = "rt.rootfs.lower";
    pub(crate) const OVERLAY: &str = "rt.rootfs.overlay";
    pub(crate) const SIZE: &str = "rt.rootfs.size";
    pub(crate) const CREATE_VOLUMES: &str = "rt.volumes.create";

    /// The container's process keeps the supplementary groups of the caller of `rt`
    /// (crun(1)). `podman run --group-add keep-groups` sets it to 1.
    pub(crate) const GROUPS: &str = "run.oci.keep_original_groups";

    /// All of them.
    pub(crate) const ALL: [&str; 17] = [
        INIT,
        ADDRESS,
        BRIDGE,
        DNS,
        GATEWAY,
        HOSTS,
        INTERFACE,
        MAC,
        MASQUERADE,
        MTU,
        PUBLISH,
        SUBNET,
        LOWER,
        OVERLAY,
        SIZE,
        CREATE_VOLUMES,
        GROUPS,
    ];
}

/// The prefix of the keys of `rt` itself.
pub(crate) const PREFIX: &str = "rt.";

/// The values of the known keys in one container's `annotations`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Annotations(BTreeMap<&'static str, String>);

impl Annotations {
    /// Reads `annotations`, and warns about unknown keys with the prefix `rt.`.
    pub(crate) fn read(annotations: Option<&HashMap<String, String>>) -> Annotations {
        let mut read = Annotations::default();
        for (key, value) in annotations.into_iter().flatten() {
            if let Some(known) = key::ALL.into_iter().find(|known| known == key) {
                read.0.insert(known, value.clone());
            } else if key.starts_with(PREFIX) {
                let remedy = match nearest(key, key::ALL) {
                    Some(nearest) => format!("did you mean {nearest}?"),
                    None => "docs/annotations.md lists those that rt knows".to_owned(),
                };
                log::defer_warning(format!("annotations: {key}: unknown, ignored: {remedy}"));
            }
        }
        read
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Whether any of the keys is there, and which.
    pub(crate) fn first_of<'k>(&self, keys: &[&'k str]) -> Option<&'k str> {
        keys.iter().copied().find(|key| self.0.contains_key(key))
    }

    /// A value that is `true` or `false`. `None` where the key is absent.
    ///
    /// # Errors
    /// When it is something else.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => bail!("annotations: {key}: {other:?} is neither \"true\" nor \"false\""),
        }
    }

    /// The elements of a list, which commas separate, without the spaces around them. `None`
    /// where the key is absent.
    ///
    /// # Errors
    /// When an element is empty.
    pub(crate) fn list(&self, key: &str) -> Result<Option<Vec<&str>>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let elements: Vec<&str> = value.split(',').map(str::trim).collect();
        if elements.contains(&"") {
            return Err(invalid(key, value, "an element of the list is empty"));
        }
        Ok(Some(elements))
    }

    /// crun's annotation [`key::GROUPS`].
    ///
    /// # Errors
    /// When its value is neither 1 nor 0.
    pub(crate) fn keeps_groups(&self) -> Result<bool> {
        match self.get(key::GROUPS) {
            None | Some("0") => Ok(false),
            Some("1") => Ok(true),
            Some(other) => {
                bail!(
                    "annotations: {}: {other:?} is neither \"1\" nor \"0\"",
                    key::GROUPS
                )
            }
        }
    }
}

/// The error for a value, with the reason.
pub(crate) fn invalid(key: &str, value: &str, reason: &str) -> Error {
    anyhow!("annotations: {key}: {value:?}: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(key: &str, value: &str) -> Annotations {
        Annotations::read(Some(&HashMap::from([(key.to_owned(), value.to_owned())])))
    }

    #[test]
    fn flags_have_two_values() {
        assert_eq!(one(key::INIT, "true").flag(key::INIT).unwrap(), Some(true));
        assert_eq!(
            one(key::INIT, "false").flag(key::INIT).unwrap(),
            Some(false)
        );
        assert_eq!(one(key::INIT, "true").flag(key::MASQUERADE).unwrap(), None);
        for value in ["", "1", "True"] {
            assert!(one(key::INIT, value).flag(key::INIT).is_err());
        }
    }

    #[test]
    fn groups_have_the_values_of_crun() {
        assert!(one(key::GROUPS, "1").keeps_groups().unwrap());
        assert!(!one(key::GROUPS, "0").keeps_groups().unwrap());
        for value in ["", "true", "2"] {
            assert!(one(key::GROUPS, value).keeps_groups().is_err());
        }
    }

    #[test]
    fn lists_are_separated_by_commas() {
        let list = |value| {
            let read = one(key::DNS, value);
            read.list(key::DNS)
                .map(|list| list.unwrap_or_default().join("|"))
                .ok()
        };
        assert_eq!(list("a, b").as_deref(), Some("a|b"));
        for value in ["", "a,", ",a", "a,,b"] {
            assert_eq!(list(value), None, "{value:?}");
        }
    }

    #[test]
    fn an_unknown_key_is_ignored() {
        assert_eq!(one("rt.rootfs.overlai", "x"), Annotations::default());
        assert_eq!(one("org.example", "x"), Annotations::default());
    }
}
