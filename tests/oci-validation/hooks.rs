//! config.md, "POSIX-platform Hooks": when each hook runs, and the state that it receives.

use std::fs;
use std::path::PathBuf;

use crate::runner::Test;
use serde_json::{Value, json};

use crate::harness::{Bundle, HostState, Kind, differs, trials, wait_gone};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        hooks_run_in_order,
        hooks_get_the_state_on_stdin,
        a_failing_hook_fails_create_and_leaves_nothing,
        start_container_hooks_run_in_the_container_at_start,
        a_failing_hook_of_start_stops_the_container,
        a_failing_poststop_hook_does_not_stop_delete,
    ]
}

/// A bundle whose hooks append their name and the state to a file.
fn bundle_with_hooks(names: &[&str]) -> (Bundle, PathBuf) {
    let mut bundle = Bundle::new().args(&["/probe", "sleep"]);
    let file = bundle.path().join("hooks");
    for name in names {
        let script = format!("{{ echo {name}; cat; echo; }} >> {}", file.display());
        let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
        bundle = bundle.set(&format!("/hooks/{name}"), hook);
    }
    (bundle, file)
}

fn hooks_run_in_order() {
    differs(
        Kind::Runc,
        "config.md: poststart hooks \"MUST be called after the user-specified process is executed\"; it calls them in create",
    );
    let names = [
        "prestart",
        "createRuntime",
        "createContainer",
        "poststart",
        "poststop",
    ];
    let (bundle, file) = bundle_with_hooks(&names);
    let ran = || -> Vec<String> {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let lines = text.lines().filter(|line| names.contains(line));
        lines.map(str::to_owned).collect()
    };
    let container = bundle.create();
    assert_eq!(ran(), names[..3]);
    container.start().assert_ok();
    assert_eq!(ran(), names[..4]);
    let pid = container.pid();
    container.kill("KILL").assert_ok();
    wait_gone(pid);
    assert_eq!(ran(), names[..4]);
    container.delete().assert_ok();
    assert_eq!(ran(), names);
}

/// "The state of the container MUST be passed to hooks over stdin"
fn hooks_get_the_state_on_stdin() {
    let (bundle, file) = bundle_with_hooks(&["createRuntime"]);
    let container = bundle.create();
    let text = fs::read_to_string(file).unwrap();
    let (_, state) = text.split_once('\n').unwrap();
    let state: Value = serde_json::from_str(state).unwrap();
    assert_eq!(state["id"], bundle.id());
    assert_eq!(state["pid"], container.pid());
    assert_eq!(state["bundle"], bundle.path().to_str().unwrap());
}

/// "If any createRuntime hook fails, the runtime MUST generate an error, stop the container, and
/// continue the lifecycle at step 12."
fn a_failing_hook_fails_create_and_leaves_nothing() {
    for name in ["prestart", "createRuntime", "createContainer"] {
        let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}]);
        let bundle = Bundle::new().set(&format!("/hooks/{name}"), hook);
        let before = HostState::of(&bundle);
        assert_ne!(bundle.call("create", &[]).run().code(), 0, "{name}");
        before.assert_unchanged(&bundle);
    }
}

/// "The startContainer hooks MUST be called before the user-specified process is executed as part
/// of the start operation", and their path "MUST resolve in the container namespace".
fn start_container_hooks_run_in_the_container_at_start() {
    differs(
        Kind::Crun,
        "runtime.md, \"State\": \"created\", and \"the pid as seen by the container\"; it says starting, and 0",
    );
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", "cat > /state"]}]);
    let bundle = Bundle::new()
        .writable()
        .set("/hooks/startContainer", hook)
        .sh("cat /state; echo done");
    let container = bundle.create();
    assert!(!bundle.rootfs().join("state").exists());
    container.start().assert_ok();
    let output = container.wait_for("done");
    let state: Value = serde_json::from_str(output.trim_end_matches("done\n")).unwrap();
    assert_eq!(
        (&state["status"], &state["pid"]),
        (&json!("created"), &json!(1))
    );
}

/// "If any startContainer hook fails, the runtime MUST generate an error, stop the container, and
/// continue the lifecycle at step 12"; the specification requires the same for poststart.
fn a_failing_hook_of_start_stops_the_container() {
    differs(
        Kind::Crun,
        "runtime.md, \"Lifecycle\", 7: \"the runtime MUST generate an error\"; its start says nothing",
    );
    differs(
        Kind::Runc,
        "runtime.md, \"Lifecycle\", 7: \"the runtime MUST generate an error\"; its start says nothing",
    );
    for name in ["startContainer", "poststart"] {
        let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}]);
        let bundle = Bundle::new()
            .args(&["/probe", "sleep"])
            .set(&format!("/hooks/{name}"), hook);
        let before = HostState::of(&bundle);
        let container = bundle.create();
        container.start().assert_refused(name);
        before.assert_unchanged(&bundle);
    }
}

/// "If any poststop hook fails, the runtime MUST log a warning, but the remaining hooks and
/// lifecycle continue as if the hook had succeeded."
fn a_failing_poststop_hook_does_not_stop_delete() {
    differs(
        Kind::Crun,
        "runtime.md, \"Lifecycle\", 13: \"the runtime MUST log a warning\"; it says nothing",
    );
    differs(
        Kind::Runc,
        "runtime.md, \"Lifecycle\", 13: \"the remaining hooks and lifecycle continue\"; it calls none after one that failed",
    );
    let (bundle, file) = bundle_with_hooks(&[]);
    let last = format!("echo last > {}", file.display());
    let hooks = json!([
        {"path": "/bin/false"},
        {"path": "/bin/sh", "args": ["sh", "-c", last]},
    ]);
    let bundle = bundle.set("/hooks/poststop", hooks);
    let before = HostState::of(&bundle);
    let outcome = bundle.create().delete_force().assert_ok();
    before.assert_unchanged(&bundle);
    assert!(outcome.stderr.contains("warning"), "{outcome}");
    assert_eq!(fs::read_to_string(file).unwrap(), "last\n");
}
