//! A container's state with the keys, and the order of the keys, that runc's has.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;

use crate::container::Report;

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
