//! config.md, "POSIX-platform Hooks", and runtime.md, "Lifecycle": when hooks of different kinds are called, and what
//! follows a failure. hook_kinds.rs has what is the same for each kind.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::common::{sleeper, tmpfs};
use crate::harness::{Bundle, HostState, Kind, trials, violates, wait_gone};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        prestart_hooks_come_before_create_runtime_hooks,
        create_container_hooks_come_after_create_runtime_hooks,
        prestart_hooks_are_called_before_pivot_root,
        create_runtime_hooks_are_called_before_pivot_root,
        create_container_hooks_are_called_before_pivot_root,
        start_container_hooks_are_called_by_start_before_the_program,
        poststart_hooks_are_called_by_start_after_the_program,
        poststop_hooks_are_called_by_delete,
        a_failing_prestart_hook_is_an_error,
        a_failing_create_runtime_hook_is_an_error,
        a_failing_create_container_hook_is_an_error,
        a_failing_start_container_hook_is_an_error,
        a_failing_poststart_hook_is_an_error,
        a_failing_poststop_hook_is_a_warning,
        the_hooks_after_a_failing_poststop_hook_are_called,
    ]
}

/// The environment in which a shell of the host finds its programs.
const PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";

/// A script that sets `pid` to that of the state on standard input.
const READ_PID: &str = r#"pid=$(sed 's/.*"pid": *\([0-9]*\).*/\1/')"#;

/// Appends a hook that runs a script, in which `$out` is the file that is returned.
fn with_script(bundle: Bundle, kind: &str, script: &str) -> (Bundle, PathBuf) {
    let file = bundle.path().join("from-hooks");
    // A hook reads its input to the end: some runtimes take an early end for a failure.
    let script = format!("out={}; {script}; cat > /dev/null", file.display());
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": [PATH]});
    (bundle.set(&format!("/hooks/{kind}/-"), hook), file)
}

/// What the hooks of two kinds say that `create` calls.
#[track_caller]
fn called_by_create(kinds: [&str; 2]) -> String {
    let mut bundle = sleeper();
    let mut file = PathBuf::new();
    // In reverse: the order of calling is not that of the configuration.
    for kind in kinds.into_iter().rev() {
        (bundle, file) = with_script(bundle, kind, &format!("echo {kind} >> $out"));
    }
    let _container = bundle.create();
    fs::read_to_string(file).unwrap_or_default()
}

/// "The prestart hooks MUST be called before the createRuntime hooks."
fn prestart_hooks_come_before_create_runtime_hooks() {
    assert_eq!(
        called_by_create(["prestart", "createRuntime"]),
        "prestart\ncreateRuntime\n"
    );
}

/// "The createContainer hooks MUST be called after the createRuntime hooks."
fn create_container_hooks_come_after_create_runtime_hooks() {
    let kinds = ["createRuntime", "createContainer"];
    assert_eq!(called_by_create(kinds), "createRuntime\ncreateContainer\n");
}

/// "… MUST be called as part of the create operation after the runtime environment has been created (according to the
/// configuration in config.json) but before the pivot_root or any equivalent operation has been executed": the mount
/// namespace of the container has the mounts of the configuration below the path of its root on the host.
#[track_caller]
fn assert_called_before_pivot_root(kind: &str, process: &str) {
    let bundle = sleeper().mount(tmpfs("/tmp", &[]));
    let look = format!("{READ_PID}; cat /proc/{process}/mountinfo > $out");
    let (bundle, file) = with_script(bundle, kind, &look);
    let _container = bundle.create();
    let table = fs::read_to_string(file).expect("create has not called the hook");
    for place in ["proc", "dev", "sys", "tmp"] {
        let place = format!(" {}/{place} ", bundle.rootfs().display());
        assert!(table.contains(&place), "no{place}in {table}");
    }
}

fn prestart_hooks_are_called_before_pivot_root() {
    assert_called_before_pivot_root("prestart", "$pid");
}

fn create_runtime_hooks_are_called_before_pivot_root() {
    assert_called_before_pivot_root("createRuntime", "$pid");
}

fn create_container_hooks_are_called_before_pivot_root() {
    assert_called_before_pivot_root("createContainer", "self");
}

/// "The startContainer hooks MUST be called before the user-specified process is executed as part of the start operation."
fn start_container_hooks_are_called_by_start_before_the_program() {
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", "echo hook > /from-hook; cat > /dev/null"]}]);
    let bundle = Bundle::new()
        .writable()
        .set("/hooks/startContainer", hook)
        .sh("cat /from-hook; echo done");
    let container = bundle.create();
    assert!(
        !bundle.rootfs().join("from-hook").exists(),
        "create has called it"
    );
    container.start().assert_ok();
    assert_eq!(container.wait_for("done"), "hook\ndone\n");
}

/// "The poststart hooks MUST be called after the user-specified process is executed but before the start operation
/// returns."
fn poststart_hooks_are_called_by_start_after_the_program() {
    violates(Kind::Runc, "its create calls them");
    let look = format!("{READ_PID}; tr '\\0' ' ' < /proc/$pid/cmdline > $out");
    let (bundle, file) = with_script(sleeper(), "poststart", &look);
    let container = bundle.create();
    assert!(!file.exists(), "create has called it");
    container.start().assert_ok();
    assert_eq!(fs::read_to_string(file).unwrap(), "/probe sleep ");
}

/// "The poststop hooks MUST be called after the container is deleted but before the delete operation returns."
fn poststop_hooks_are_called_by_delete() {
    let bundle = sleeper();
    let look = format!(
        "test ! -e /proc/$(cat {}/pid) && echo gone > $out",
        bundle.path().display()
    );
    let (bundle, file) = with_script(bundle, "poststop", &look);
    let container = bundle.create();
    let pid = container.pid();
    fs::write(bundle.path().join("pid"), pid.to_string()).unwrap();
    container.start().assert_ok();
    container.kill("KILL").assert_ok();
    wait_gone(pid);
    container.wait_stopped();
    assert!(!file.exists(), "it is called before delete");
    container.delete().assert_ok();
    assert_eq!(fs::read_to_string(file).unwrap(), "gone\n");
}

fn failing(kind: &str) -> Bundle {
    let hook: Value = json!([{"path": "/bin/sh", "args": ["sh", "-c", "cat > /dev/null; exit 3"]}]);
    sleeper().set(&format!("/hooks/{kind}"), hook)
}

/// "If any … hook fails, the runtime MUST generate an error, stop the container, and continue the lifecycle at step 12",
/// which destroys the container.
#[track_caller]
fn assert_fails_create(kind: &str) {
    let bundle = failing(kind);
    let before = HostState::of(&bundle);
    let outcome = bundle.call("create", &[]).run();
    assert_ne!(outcome.code(), 0, "{outcome}");
    assert_ne!(outcome.stderr, "");
    before.assert_unchanged(&bundle);
}

fn a_failing_prestart_hook_is_an_error() {
    assert_fails_create("prestart");
}

fn a_failing_create_runtime_hook_is_an_error() {
    assert_fails_create("createRuntime");
}

fn a_failing_create_container_hook_is_an_error() {
    assert_fails_create("createContainer");
}

#[track_caller]
fn assert_fails_start(kind: &str) {
    let bundle = failing(kind);
    let before = HostState::of(&bundle);
    let container = bundle.create();
    let outcome = container.start();
    assert_ne!(outcome.code(), 0, "{outcome}");
    before.assert_unchanged(&bundle);
}

fn a_failing_start_container_hook_is_an_error() {
    violates(Kind::Crun, "its start reports nothing");
    violates(Kind::Runc, "its start reports nothing");
    assert_fails_start("startContainer");
}

fn a_failing_poststart_hook_is_an_error() {
    violates(Kind::Crun, "its start reports nothing");
    violates(Kind::Runc, "its create fails, which calls it");
    assert_fails_start("poststart");
}

/// "If any poststop hook fails, the runtime MUST log a warning".
fn a_failing_poststop_hook_is_a_warning() {
    violates(Kind::Crun, "says nothing");
    let bundle = failing("poststop");
    let outcome = bundle.create().delete_force().assert_ok();
    assert_ne!(outcome.stderr, "", "nothing is logged");
}

/// "but the remaining hooks and lifecycle continue as if the hook had succeeded."
fn the_hooks_after_a_failing_poststop_hook_are_called() {
    violates(Kind::Runc, "calls none after one that has failed");
    let (bundle, file) = with_script(failing("poststop"), "poststop", "echo last > $out");
    let before = HostState::of(&bundle);
    bundle.create().delete_force().assert_ok();
    before.assert_unchanged(&bundle);
    assert_eq!(fs::read_to_string(file).unwrap(), "last\n");
}
