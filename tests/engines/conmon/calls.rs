//! Operations on a running container: exec, stop, update, pause, delete.

use std::fs;

use serde_json::{Value, json};

use super::{Environment, IDLE, Test, expect, read_report, send_text};
use crate::command;
use crate::environment::Runtime;

pub(super) const TESTS: &[Test] = &[
    ("exec_sync", exec_sync),
    ("exec", exec),
    ("exec_error", exec_error),
    ("exec_terminal", exec_terminal),
    ("stop", stop),
    ("kill_stopped", kill_stopped),
    ("update", update),
    ("pause", pause),
    ("delete", delete),
    ("version", version),
];

/// CRI-O's ExecSync calls the runtime without a pid file and uses the exit status of the call.
fn exec_sync(env: &Environment) {
    let container = env.start("exec_sync", IDLE, &[]);
    let script = "echo out; echo err >&2; exit 42";
    let file = container.write_process("process", &["sh", "-c", script], false);
    let ran = env.call(&["exec", "--process", &file, "exec_sync"]);
    assert_eq!(
        (ran.status, ran.stdout.as_str(), ran.stderr.as_str()),
        (42, "out\n", "err\n")
    );
}

fn exec(env: &Environment) {
    let container = env.start("exec", IDLE, &[]);
    let file = container.write_process("process", &["sh", "-c", "echo inside; exit 12"], false);
    let more = ["-e", "--exec-process-spec", &file];
    let bundle = &container.bundle;
    command::run(&mut env.conmon(bundle, "exec", "exec", &more)).ok();
    command::wait_until("the process has run", 20, || {
        fs::read_to_string(bundle.join("exec"))
            .is_ok_and(|report| report.contains("exit_code") || report.lines().count() > 1)
    });
    let ended = read_report(&bundle.join("exec"));
    let status = ended["exit_code"].as_i64().or(ended["data"].as_i64());
    assert_eq!(status, Some(12), "{ended}");
    let log = fs::read_to_string(bundle.join("exec.log")).unwrap();
    assert!(log.contains("stdout F inside"), "{log}");
}

fn exec_error(env: &Environment) {
    let container = env.start("exec_error", IDLE, &[]);
    let file = container.write_process("process", &["/no/such/program"], false);
    let more = ["-e", "--exec-process-spec", &file];
    let bundle = &container.bundle;
    command::run(&mut env.conmon(bundle, "exec_error", "exec", &more));
    let report = read_report(&bundle.join("exec")).to_string();
    assert!(report.contains("no such file or directory"), "{report}");
    assert!(!bundle.join("exec.pid").exists());
    assert_eq!(container.status(), "running");
}

fn exec_terminal(env: &Environment) {
    let container = env.start("exec_terminal", IDLE, &[]);
    let script = "read go; tty; read line; echo got $line; exit 13";
    let file = container.write_process("process", &["sh", "-c", script], true);
    let more = [
        "-e",
        "-t",
        "-i",
        "--exec-process-spec",
        &file,
        "-u",
        "exec-terminal-one",
    ];
    let bundle = &container.bundle;
    command::run(&mut env.conmon(bundle, "exec_terminal", "exec", &more)).ok();
    // conmon drops input that arrives before the process has its terminal.
    command::wait_until("the process runs", 20, || bundle.join("exec.pid").exists());
    let end = container.attach("exec-terminal-one");
    send_text(&end, "go\n");
    expect(&end, "/dev/pts/0");
    send_text(&end, "a word\n");
    expect(&end, "got a word");
}

/// CRI-O stops a container with a signal given by name, and then with SIGKILL.
fn stop(env: &Environment) {
    let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done";
    let container = env.start("stop", script, &[]);
    command::wait_until("the trap is set", 10, || container.log().contains("ready"));
    env.call(&["kill", "stop", "TERM"]).ok();
    assert_eq!(container.exit_status(), 7);
    let ignores_term = env.start(
        "stop_ignored",
        "trap '' TERM; echo ready; sleep 1000; true",
        &[],
    );
    command::wait_until("the trap is set", 10, || {
        ignores_term.log().contains("ready")
    });
    env.call(&["kill", "stop_ignored", "TERM"]).ok();
    env.call(&["kill", "stop_ignored", "KILL"]).ok();
    assert_eq!(ignores_term.exit_status(), 137);
}

/// CRI-O recognizes these error texts and treats the container as stopped.
fn kill_stopped(env: &Environment) {
    let container = env.start("kill_stopped", "true", &[]);
    container.exit_status();
    let output = env.call(&["kill", "kill_stopped", "KILL"]).fails(1);
    let known = [
        "no such process",
        "container not running",
        "invalid process",
    ];
    assert!(known.iter().any(|known| output.contains(known)), "{output}");
}

fn update(env: &Environment) {
    let container = env.start("update", IDLE, &[]);
    let resources = json!({ "memory": { "limit": 33_554_432 }, "cpu": { "shares": 333 } });
    let mut update = env.runtime(&["update", "--resources", "-", "update"]);
    command::run_with(&mut update, resources.to_string().as_bytes()).ok();
    let pid = container.pid().try_into().unwrap();
    let seen = crate::cgroups::limit(pid, "memory", "memory.limit_in_bytes", "memory.max");
    assert_eq!(seen, "33554432");
}

fn pause(env: &Environment) {
    let container = env.start("pause", IDLE, &[]);
    env.call(&["pause", "pause"]).ok();
    assert_eq!(container.status(), "paused");
    env.call(&["resume", "pause"]).ok();
    assert_eq!(container.status(), "running");
}

fn delete(env: &Environment) {
    let container = env.start("delete", IDLE, &[]);
    env.call(&["delete", "--force", "delete"]).ok();
    assert_eq!(container.exit_status(), 137);
    env.call(&["delete", "--force", "delete"]).ok();
    let gone = env.call(&["state", "delete"]).fails(1);
    assert!(gone.contains("does not exist"), "{gone}");
}

/// The version and the features that CRI-O reads when it starts.
fn version(env: &Environment) {
    let version = env.call(&["--version"]).ok();
    assert!(
        version.lines().next().unwrap().contains(" version "),
        "{version}"
    );
    if env.runtime == Runtime::Rt {
        let features: Value = serde_json::from_str(&env.call(&["features"]).ok()).unwrap();
        assert!(
            features["mountOptions"]
                .as_array()
                .unwrap()
                .contains(&json!("rro"))
        );
    }
}
