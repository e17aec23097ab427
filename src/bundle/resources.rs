//! What `rt update` is to change: `linux.resources` of the specification, alone.

use std::io::Read;

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};

use super::{LARGEST_CONFIG, VERSIONS, checked};

/// Resources of which this version applies every field that asks for something.
#[derive(Debug)]
pub(crate) struct Resources {
    spec: LinuxResources,
    of_flags: bool,
}

impl Resources {
    /// Reads JSON until its end. Errors begin with `name`.
    ///
    /// # Errors
    /// What cannot be read or is no JSON, and what [`Resources::new`] refuses.
    pub(crate) fn read(from: impl Read, name: &str) -> Result<Resources> {
        let mut text = Vec::new();
        let mut bounded = from.take(LARGEST_CONFIG + 1);
        bounded
            .read_to_end(&mut text)
            .with_context(|| name.to_owned())?;
        ensure!(
            text.len() as u64 <= LARGEST_CONFIG,
            "{name}: larger than {} MiB",
            LARGEST_CONFIG >> 20
        );
        match super::json::read(&text, name)? {
            Value::Object(members) => Resources::new(members),
            // What a pointer to nothing is written as.
            Value::Null => Resources::new(Map::new()),
            _ => bail!("{name}: not a JSON object"),
        }
    }

    /// By the same rules as in a configuration.
    ///
    /// # Errors
    /// A value that is none, or something that this version does not apply,
    /// with its place: `linux.resources.blockIO.weight: not applied by this version`.
    pub(crate) fn new(mut members: Map<String, Value>) -> Result<Resources> {
        // Managers send what the container has; no update changes it.
        members.remove("devices");
        let spec = checked(json!({
            "ociVersion": VERSIONS.1,
            "root": { "path": "/" },
            "process": { "args": ["/"], "cwd": "/" },
            "linux": { "resources": members },
        }))?;
        let linux = spec.linux().as_ref();
        let resources = linux.and_then(|linux| linux.resources().clone());
        Ok(Resources {
            spec: resources.unwrap_or_default(),
            of_flags: false,
        })
    }

    /// What somebody has asked for one by one.
    ///
    /// # Errors
    /// Those of [`Resources::new`].
    pub(crate) fn of_flags(members: Map<String, Value>) -> Result<Resources> {
        let of_flags = true;
        Ok(Resources {
            of_flags,
            ..Resources::new(members)?
        })
    }

    /// Whether each value is meant: managers fill a list of resources up with zeros.
    pub(crate) fn is_of_flags(&self) -> bool {
        self.of_flags
    }

    /// In the types of the specification.
    pub(crate) fn as_spec(&self) -> &LinuxResources {
        &self.spec
    }
}
