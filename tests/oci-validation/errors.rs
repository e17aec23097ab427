//! runtime.md, "Errors" and "Warnings": an error leaves the environment as if the operation had never been attempted,
//! and a warning does not change the operation.

use crate::runner::Test;
use serde_json::{Value, json};

use crate::harness::{Bundle, HostState, trials};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        create_with_an_invalid_config_leaves_nothing,
        create_with_a_failing_setup_leaves_nothing,
        run_with_a_failing_setup_leaves_nothing,
        the_id_can_be_used_again_after_an_error,
        a_warning_does_not_change_the_operation,
    ]
}

/// Errors that are detected in config.json.
fn config_errors() -> Vec<(&'static str, Value)> {
    vec![
        ("/ociVersion", json!(1)),
        ("/root/path", json!("missing")),
        ("/process/args", json!([])),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_X", "soft": 1, "hard": 1}]),
        ),
        ("/linux/namespaces/-", json!({"type": "nonsense"})),
        ("/linux/sysctl", json!({"vm.swappiness": "1"})),
    ]
}

/// Errors that are detected when the kernel refuses or a file is missing. Mounts, cgroups and processes exist by then.
fn setup_errors() -> Vec<(&'static str, Value)> {
    vec![
        ("/process/args", json!(["/bin/missing"])),
        ("/process/args", json!(["/etc/passwd"])),
        (
            "/mounts/-",
            json!({"destination": "/tmp", "type": "nosuchfs", "source": "x"}),
        ),
        (
            "/mounts/-",
            json!({"destination": "/tmp", "type": "bind", "source": "/missing", "options": ["bind"]}),
        ),
        (
            "/mounts/-",
            json!({"destination": "/tmp", "type": "tmpfs", "source": "x", "options": ["nonsense=1"]}),
        ),
        ("/linux/sysctl", json!({"net.ipv4.missing": "1"})),
        (
            "/linux/namespaces/0",
            json!({"type": "pid", "path": "/missing"}),
        ),
    ]
}

#[track_caller]
fn assert_fails_without_leftovers(verb: &str, pointer: &str, value: &Value) {
    let bundle = Bundle::new().set(pointer, value.clone());
    let before = HostState::of(&bundle);
    let outcome = bundle.call(verb, &[]).run();
    assert_ne!(outcome.code(), 0, "{pointer}: {value}: {outcome}");
    assert!(!outcome.stderr.is_empty(), "{pointer}: {value}");
    before.assert_unchanged(&bundle);
}

fn create_with_an_invalid_config_leaves_nothing() {
    for (pointer, value) in config_errors() {
        assert_fails_without_leftovers("create", pointer, &value);
    }
}

fn create_with_a_failing_setup_leaves_nothing() {
    for (pointer, value) in setup_errors() {
        assert_fails_without_leftovers("create", pointer, &value);
    }
}

fn run_with_a_failing_setup_leaves_nothing() {
    for (pointer, value) in setup_errors() {
        assert_fails_without_leftovers("run", pointer, &value);
    }
}

fn the_id_can_be_used_again_after_an_error() {
    let bundle = Bundle::new().args(&["/bin/missing"]);
    assert_ne!(bundle.call("create", &[]).run().code(), 0);
    bundle.sh("exit 5").run().assert_code(5);
}

/// "logging a warning does not change the flow of the operation"
fn a_warning_does_not_change_the_operation() {
    let bundle = Bundle::new().capabilities(&["CAP_KILL", "CAP_UNHEARD_OF"]);
    let seen = bundle.probe();
    assert_eq!(seen.capabilities("effective"), ["CAP_KILL"]);
    assert_eq!(seen.capabilities("bounding"), ["CAP_KILL"]);
}
