//! A container's state with the keys, their order and the letters that runc's has.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;

use crate::container::Report;

/// JSON as Go writes it: fit for HTML and JavaScript as well. In JSON these
/// letters can stand in strings alone.
pub(super) fn go_json(text: &str) -> String {
    let mut all = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                all.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            letter => all.push(letter),
        }
    }
    all
}

/// What `state` shows, and `list` for each container.
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
}

impl<'a> Entry<'a> {
    pub(super) fn new(report: &'a Report, owner: String) -> Self {
        Entry {
            oci_version: &report.oci_version,
            id: &report.id,
            pid: report.pid,
            status: report.status.to_string(),
            bundle: report.bundle.to_string_lossy(),
            rootfs: report.rootfs.to_string_lossy(),
            created: &report.created,
            annotations: &report.annotations,
            owner,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_that_of_go() {
        let text = serde_json::to_string("a<b>&c\u{2028}\u{2029} é \"\\").unwrap();
        let go = r#""a\u003cb\u003e\u0026c\u2028\u2029 é \"\\""#;
        assert_eq!(go_json(&text), go);
    }
}
