//! The state of a container as the specification defines it, for hooks and seccomp agents.

use std::collections::BTreeMap;
use std::path::Path;

use nix::unistd::Pid;
use serde::Serialize;

use super::state::{State, Status};
use crate::bundle::VERSIONS;

/// The state (runtime.md, "State").
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OciState<'a> {
    /// Of the specification that this state complies with.
    oci_version: &'static str,
    id: &'a str,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    bundle: &'a Path,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

impl<'a> OciState<'a> {
    /// `pid` is the init process's pid as the reader sees it.
    pub(super) fn new(state: &'a State, status: Status, pid: Option<Pid>) -> OciState<'a> {
        OciState {
            oci_version: VERSIONS.1,
            id: &state.id,
            status: status.to_string(),
            pid: pid.map(Pid::as_raw),
            bundle: &state.bundle,
            annotations: &state.annotations,
        }
    }
}
