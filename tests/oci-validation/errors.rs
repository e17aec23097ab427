//! runtime.md, "Errors" and "Warnings": an error leaves everything as if the operation had never
//! been attempted, a warning changes nothing.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::harness::{Bundle, Kind, Traces, differs, trials};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        a_create_that_fails_early_leaves_nothing,
        a_create_that_fails_late_leaves_nothing,
        a_run_that_fails_leaves_nothing,
        after_an_error_the_id_is_free,
        a_warning_does_not_change_the_flow,
    ]
}

/// Found in config.json alone.
fn early() -> Vec<(&'static str, Value)> {
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

/// Found when the kernel or the root file system says no: mounts, cgroups and processes exist
/// by then.
fn late() -> Vec<(&'static str, Value)> {
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
fn assert_no_trace(verb: &str, pointer: &str, value: &Value) {
    let bundle = Bundle::new().set(pointer, value.clone());
    let before = Traces::of(&bundle);
    let outcome = bundle.call(verb, &[]).run();
    assert_ne!(outcome.code(), 0, "{pointer}: {value}: {outcome}");
    assert!(!outcome.stderr.is_empty(), "{pointer}: {value}");
    before.assert_unchanged(&bundle);
}

fn a_create_that_fails_early_leaves_nothing() {
    differs(Kind::Crun, "takes most of them");
    for (pointer, value) in early() {
        assert_no_trace("create", pointer, &value);
    }
}

fn a_create_that_fails_late_leaves_nothing() {
    for (pointer, value) in late() {
        assert_no_trace("create", pointer, &value);
    }
}

fn a_run_that_fails_leaves_nothing() {
    for (pointer, value) in late() {
        assert_no_trace("run", pointer, &value);
    }
}

fn after_an_error_the_id_is_free() {
    let bundle = Bundle::new().args(&["/bin/missing"]);
    assert_ne!(bundle.call("create", &[]).run().code(), 0);
    bundle.sh("exit 5").run().assert_code(5);
}

/// "logging a warning does not change the flow of the operation"
fn a_warning_does_not_change_the_flow() {
    let bundle = Bundle::new().capabilities(&["CAP_KILL", "CAP_UNHEARD_OF"]);
    let seen = bundle.probe();
    assert_eq!(seen.capabilities("effective"), ["CAP_KILL"]);
    assert_eq!(seen.capabilities("bounding"), ["CAP_KILL"]);
}
