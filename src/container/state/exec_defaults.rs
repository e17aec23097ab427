//! What `rt create` saves in `state.json` for `rt exec`, so that the bundle is not read again.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::file::State;
use crate::plan::{Plan, Shared};

/// The container's own `process`, and the decisions that all its processes share.
#[derive(Serialize, Deserialize)]
pub(crate) struct ExecDefaults {
    pub(crate) process: Value,
    pub(crate) shared: Shared,
}

impl ExecDefaults {
    /// The value of [`State::exec`] for a container with this `process`.
    pub(crate) fn to_json(process: Value, plan: &Plan) -> Result<Box<RawValue>> {
        let shared = plan.shared();
        to_raw_value(&ExecDefaults { process, shared }).context("state.json")
    }

    /// # Errors
    /// When `state.json` holds no defaults, or they cannot be parsed.
    pub(crate) fn load(state: &State) -> Result<ExecDefaults> {
        let exec = state.exec.as_ref();
        let text = exec.context("state.json: has nothing saved for exec")?;
        serde_json::from_str(text.get()).context("state.json")
    }
}
