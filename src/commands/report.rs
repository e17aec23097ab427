//! The JSON of a container's state, with runc's keys, order of keys and escapes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;
use serde_json::value::RawValue;

use super::figures;
use crate::annotations::key;
use crate::cgroups::Usage;
use crate::container::Report;

/// Adds the escapes of Go's `json.Marshal`, which make JSON safe to embed in HTML and JavaScript.
/// In JSON these characters occur only inside strings.
pub(super) fn go_json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                escaped.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            character => escaped.push(character),
        }
    }
    escaped
}

/// The output of `state`, and of `list` for each container.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry<'a> {
    oci_version: &'a str,
    pub(super) id: &'a str,
    pub(super) pid: i32,
    pub(super) status: String,
    pub(super) bundle: Cow<'a, str>,
    rootfs: Cow<'a, str>,
    pub(super) created: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    pub(super) owner: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<Box<RawValue>>,
}

impl<'a> Entry<'a> {
    pub(super) fn new(report: &'a Report, owner: String) -> Self {
        Entry {
            oci_version: report.oci_version,
            id: &report.id,
            pid: report.pid,
            status: report.status.to_string(),
            bundle: report.bundle.to_string_lossy(),
            rootfs: report.rootfs.to_string_lossy(),
            created: &report.created,
            annotations: &report.annotations,
            owner,
            stats: None,
        }
    }

    /// Adds the member `stats`, which runc does not have.
    ///
    /// # Errors
    /// When the text is not JSON.
    pub(super) fn add_stats(&mut self, usage: &Usage) -> Result<()> {
        let stats = format!("{{{}}}", figures::json_members(usage));
        self.stats = Some(RawValue::from_string(stats)?);
        Ok(())
    }

    /// The addresses of its network, without their prefixes. `None` without a network of `rt`.
    pub(super) fn addresses(&self) -> Option<String> {
        self.annotations.get(key::BRIDGE)?;
        let addresses = self
            .annotations
            .get(key::ADDRESS)
            .map_or("", String::as_str);
        let bare = addresses
            .split(',')
            .filter_map(|address| address.trim().split('/').next());
        Some(bare.collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_what_go_writes() {
        let text = serde_json::to_string("a<b>&c\u{2028}\u{2029} é \"\\").unwrap();
        let go = r#""a\u003cb\u003e\u0026c\u2028\u2029 é \"\\""#;
        assert_eq!(go_json(&text), go);
    }
}
