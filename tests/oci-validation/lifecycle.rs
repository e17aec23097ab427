//! runtime.md, "Lifecycle": the steps in order, without the hooks.

use std::fs;

use crate::runner::Test;
use serde_json::json;

use crate::harness::{Bundle, HostState, alive, namespace_of, trials, wait_gone};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        create_makes_the_environment,
        create_does_not_run_the_program,
        changes_of_the_config_after_create_have_no_effect,
        start_runs_the_program,
        the_container_stops_when_its_process_exits,
        delete_undoes_what_create_did,
        a_complete_lifecycle_leaves_nothing,
        several_containers_run_concurrently,
    ]
}

/// Step 2: "the resources requested in the config.json MUST be created".
fn create_makes_the_environment() {
    let bundle = Bundle::new()
        .hostname("validation")
        .args(&["/probe", "report"]);
    let container = bundle.create();
    let pid = container.pid().to_string();
    for kind in ["pid", "net", "ipc", "uts", "mnt"] {
        assert_ne!(
            namespace_of(&pid, kind),
            namespace_of("self", kind),
            "{kind}"
        );
    }
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    for path in [
        "/proc",
        "/dev",
        "/dev/pts",
        "/dev/shm",
        "/dev/mqueue",
        "/sys",
    ] {
        let is_mount = |line: &str| line.split(' ').nth(4) == Some(path);
        assert!(mounts.lines().any(is_mount), "{path} in {mounts}");
    }
}

/// Step 2: "the user-specified program (from process) MUST NOT be run at this time".
fn create_does_not_run_the_program() {
    let bundle = Bundle::new()
        .writable()
        .sh("cat /when; : > /ran; sleep 1000");
    let container = bundle.create();
    assert_eq!(container.status(), "created");
    assert!(!bundle.rootfs().join("ran").exists());
    // The program would have found no such file.
    let _bundle = bundle.file("when", "after create\n");
    container.start().assert_ok();
    assert_eq!(container.wait_for("\n"), "after create\n");
}

/// Step 2: "Any updates to config.json after this step MUST NOT affect the container."
fn changes_of_the_config_after_create_have_no_effect() {
    let bundle = Bundle::new().hostname("first").sh("hostname; echo done");
    let container = bundle.create();
    fs::write(bundle.path().join("config.json"), "{}").unwrap();
    container.start().assert_ok();
    assert_eq!(container.wait_for("done"), "first\ndone\n");
    container.wait_stopped();
    fs::remove_file(bundle.path().join("config.json")).unwrap();
    container.delete().assert_ok();
}

/// Step 8: "The runtime MUST run the user-specified program, as specified by process."
fn start_runs_the_program() {
    let bundle = Bundle::new()
        .sh("echo \"$PWD $WORD $*\"")
        .set("/process/args/-", json!("zero"))
        .set("/process/args/-", json!("one two"))
        .set("/process/cwd", json!("/tmp"))
        .set("/process/env/-", json!("WORD=three"));
    let container = bundle.create();
    container.start().assert_ok();
    assert_eq!(container.wait_for("\n"), "/tmp three one two\n");
}

/// Step 10: "The container process exits. This MAY happen due to erroring out, exiting, crashing".
fn the_container_stops_when_its_process_exits() {
    for script in ["exit 0", "exit 3", "kill -SEGV $$"] {
        let bundle = Bundle::new().sh(script);
        let container = bundle.create();
        let pid = container.pid();
        container.start().assert_ok();
        wait_gone(pid);
        assert_eq!(container.status(), "stopped", "{script}");
        container.delete().assert_ok();
    }
}

/// Step 12: "The container MUST be destroyed by undoing the steps performed during create phase".
fn delete_undoes_what_create_did() {
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let before = HostState::of(&bundle);
    let container = bundle.create();
    assert!(!before.changes_since(&bundle).is_empty());
    let pid = container.pid();
    container.kill("KILL").assert_ok();
    wait_gone(pid);
    container.delete().assert_ok();
    before.assert_unchanged(&bundle);
}

fn a_complete_lifecycle_leaves_nothing() {
    let bundle = Bundle::new().sh("exit 0");
    let before = HostState::of(&bundle);
    for _ in 0..3 {
        let container = bundle.create();
        let pid = container.pid();
        container.start().assert_ok();
        wait_gone(pid);
        container.delete().assert_ok();
    }
    before.assert_unchanged(&bundle);
}

fn several_containers_run_concurrently() {
    let one = Bundle::new().args(&["/probe", "sleep"]);
    let two = Bundle::with_runtime(one.runtime()).args(&["/probe", "sleep"]);
    let (first, second) = (one.create(), two.run_detached());
    assert_ne!(first.pid(), second.pid());
    first.delete_force().assert_ok();
    assert_eq!(second.status(), "running");
    assert!(alive(second.pid()));
}
