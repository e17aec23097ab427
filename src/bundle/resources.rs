//! A `linux.resources` object without the rest of a configuration, for `rt update`.

use std::io::Read;

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};

use super::{MAX_CONFIG_BYTES, VERSIONS, interpret};

/// The resources to change. This version supports every field that is set.
#[derive(Debug)]
pub(crate) struct Resources {
    spec: LinuxResources,
    from_flags: bool,
}

impl Resources {
    /// Reads JSON until the end of the file. Errors begin with `name`.
    ///
    /// # Errors
    /// When the file cannot be read or is not a JSON object, and those of [`Resources::new`].
    pub(crate) fn read(from: impl Read, name: &str) -> Result<Resources> {
        let mut text = Vec::new();
        let mut limited = from.take(MAX_CONFIG_BYTES + 1);
        limited
            .read_to_end(&mut text)
            .with_context(|| name.to_owned())?;
        ensure!(
            text.len() as u64 <= MAX_CONFIG_BYTES,
            "{name}: larger than {} MiB",
            MAX_CONFIG_BYTES >> 20
        );
        match super::json::parse(&text, name)? {
            Value::Object(members) => Resources::new(members),
            // Go encodes a nil pointer as null.
            Value::Null => Resources::new(Map::new()),
            _ => bail!("{name}: not a JSON object"),
        }
    }

    /// Checks the members by the rules for `linux.resources` in config.json.
    ///
    /// # Errors
    /// When a value is invalid or uses a feature that this version does not support. The error
    /// begins with the path of the field.
    pub(crate) fn new(mut members: Map<String, Value>) -> Result<Resources> {
        // Container managers send the container's device rules with every update. An update does
        // not change them.
        members.remove("devices");
        let spec = interpret(json!({
            "ociVersion": VERSIONS.1,
            "root": { "path": "/" },
            "process": { "args": ["/"], "cwd": "/" },
            "linux": { "resources": members },
        }))?;
        let linux = spec.linux().as_ref();
        let resources = linux.and_then(|linux| linux.resources().clone());
        Ok(Resources {
            spec: resources.unwrap_or_default(),
            from_flags: false,
        })
    }

    /// Resources that flags set one by one.
    ///
    /// # Errors
    /// Those of [`Resources::new`].
    pub(crate) fn from_flags(members: Map<String, Value>) -> Result<Resources> {
        Ok(Resources {
            from_flags: true,
            ..Resources::new(members)?
        })
    }

    /// Whether flags set the values. Then a zero is a value that the user gave; in JSON from a
    /// container manager it may be a default.
    pub(crate) fn is_from_flags(&self) -> bool {
        self.from_flags
    }

    /// The resources in oci-spec's type.
    pub(crate) fn spec(&self) -> &LinuxResources {
        &self.spec
    }
}
