//! runtime.md, "Create" and "Start", for a configuration without `process`.

use crate::common::sleeper;
use crate::harness::{HostState, Kind, trials, violates};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![create_makes_a_container, start_is_an_error]
}

fn refused() {
    violates(Kind::Runc, "its create refuses it");
    violates(Kind::Crun, "its create refuses it");
}

/// process: "This property is REQUIRED when start is called", and not before: "This operation MUST create a new container."
fn create_makes_a_container() {
    refused();
    let bundle = sleeper().remove("/process");
    let before = HostState::of(&bundle);
    let container = bundle.create();
    assert_eq!(container.status(), "created");
    container.delete_force().assert_ok();
    before.assert_unchanged(&bundle);
}

/// "This operation MUST generate an error if process was not set."
fn start_is_an_error() {
    refused();
    let bundle = sleeper().remove("/process");
    let container = bundle.create();
    assert_ne!(container.start().code(), 0);
}
