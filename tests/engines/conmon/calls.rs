//! The calls after the start, CRI-O's own and those by conmon.

use std::fs;

use serde_json::{Value, json};

use super::{Driven, Ground, IDLE, expect, said, say};
use crate::call;
use crate::ground::Runtime;

pub(super) const FEATURES: &[Driven] = &[
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

/// As CRI-O's probes: no pid file, the exit status is that of the call.
fn exec_sync(ground: &Ground) {
    let container = ground.start("exec_sync", IDLE, &[]);
    let script = "echo out; echo err >&2; exit 42";
    let file = container.process("process", &["sh", "-c", script], false);
    let ran = ground.call(&["exec", "--process", &file, "exec_sync"]);
    assert_eq!(
        (ran.status, ran.stdout.as_str(), ran.stderr.as_str()),
        (42, "out\n", "err\n")
    );
}

fn exec(ground: &Ground) {
    let container = ground.start("exec", IDLE, &[]);
    let file = container.process("process", &["sh", "-c", "echo inside; exit 12"], false);
    let more = ["-e", "--exec-process-spec", &file];
    let bundle = &container.bundle;
    call::run(&mut ground.conmon(bundle, "exec", "exec", &more)).ok();
    call::wait_until("it has run", 20, || {
        fs::read_to_string(bundle.join("exec"))
            .is_ok_and(|said| said.contains("exit_code") || said.lines().count() > 1)
    });
    let ended = said(&bundle.join("exec"));
    let status = ended["exit_code"].as_i64().or(ended["data"].as_i64());
    assert_eq!(status, Some(12), "{ended}");
    let log = fs::read_to_string(bundle.join("exec.log")).unwrap();
    assert!(log.contains("stdout F inside"), "{log}");
}

fn exec_error(ground: &Ground) {
    let container = ground.start("exec_error", IDLE, &[]);
    let file = container.process("process", &["/no/such/program"], false);
    let more = ["-e", "--exec-process-spec", &file];
    let bundle = &container.bundle;
    call::run(&mut ground.conmon(bundle, "exec_error", "exec", &more));
    let said = said(&bundle.join("exec")).to_string();
    assert!(said.contains("no such file or directory"), "{said}");
    assert!(!bundle.join("exec.pid").exists());
    assert_eq!(container.status(), "running");
}

fn exec_terminal(ground: &Ground) {
    let container = ground.start("exec_terminal", IDLE, &[]);
    let script = "read go; tty; read line; echo got $line; exit 13";
    let file = container.process("process", &["sh", "-c", script], true);
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
    call::run(&mut ground.conmon(bundle, "exec_terminal", "exec", &more)).ok();
    let end = container.attach("exec-terminal-one");
    say(&end, "go\n");
    expect(&end, "/dev/pts/0");
    say(&end, "a word\n");
    expect(&end, "got a word");
}

/// A signal by its name, and at last the other.
fn stop(ground: &Ground) {
    let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done";
    let container = ground.start("stop", script, &[]);
    call::wait_until("it listens", 10, || container.log().contains("ready"));
    ground.call(&["kill", "stop", "TERM"]).ok();
    assert_eq!(container.ends(), 7);
    let deaf = ground.start(
        "stop_deaf",
        "trap '' TERM; echo ready; sleep 1000; true",
        &[],
    );
    call::wait_until("it listens", 10, || deaf.log().contains("ready"));
    ground.call(&["kill", "stop_deaf", "TERM"]).ok();
    ground.call(&["kill", "stop_deaf", "KILL"]).ok();
    assert_eq!(deaf.ends(), 137);
}

/// By these words CRI-O knows that there is nothing to do.
fn kill_stopped(ground: &Ground) {
    let container = ground.start("kill_stopped", "true", &[]);
    container.ends();
    let words = ground.call(&["kill", "kill_stopped", "KILL"]).fails(1);
    let known = [
        "no such process",
        "container not running",
        "invalid process",
    ];
    assert!(known.iter().any(|known| words.contains(known)), "{words}");
}

fn update(ground: &Ground) {
    let container = ground.start("update", IDLE, &[]);
    let resources = json!({ "memory": { "limit": 33_554_432 }, "cpu": { "shares": 333 } });
    let mut update = ground.runtime(&["update", "--resources", "-", "update"]);
    call::run_with(&mut update, resources.to_string().as_bytes()).ok();
    let pid = container.pid().try_into().unwrap();
    let seen = crate::cgroup::limit(pid, "memory", "memory.limit_in_bytes", "memory.max");
    assert_eq!(seen, "33554432");
}

fn pause(ground: &Ground) {
    let container = ground.start("pause", IDLE, &[]);
    ground.call(&["pause", "pause"]).ok();
    assert_eq!(container.status(), "paused");
    ground.call(&["resume", "pause"]).ok();
    assert_eq!(container.status(), "running");
}

fn delete(ground: &Ground) {
    let container = ground.start("delete", IDLE, &[]);
    ground.call(&["delete", "--force", "delete"]).ok();
    assert_eq!(container.ends(), 137);
    ground.call(&["delete", "--force", "delete"]).ok();
    let gone = ground.call(&["state", "delete"]).fails(1);
    assert!(gone.contains("does not exist"), "{gone}");
}

/// What CRI-O reads when it starts.
fn version(ground: &Ground) {
    let version = ground.call(&["--version"]).ok();
    assert!(
        version.lines().next().unwrap().contains(" version "),
        "{version}"
    );
    if ground.runtime == Runtime::Rt {
        let features: Value = serde_json::from_str(&ground.call(&["features"]).ok()).unwrap();
        assert!(
            features["mountOptions"]
                .as_array()
                .unwrap()
                .contains(&json!("rro"))
        );
    }
}
