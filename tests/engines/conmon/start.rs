//! What conmon makes of a container, from its creation to its end.

use std::fs::{self, File};
use std::path::Path;

use serde_json::{Value, json};

use super::{Driven, Ground, IDLE, expect, said, say};
use crate::call;

pub(super) const FEATURES: &[Driven] = &[
    ("create", create),
    ("exit_status", exit_status),
    ("create_error", create_error),
    ("log", log),
    ("stdin", stdin),
    ("terminal", terminal),
    ("exit_command", exit_command),
    ("timeout", timeout),
];

fn create(ground: &Ground) {
    let container = ground.create("create", IDLE, &[]);
    assert!(container.pid() > 0);
    assert_eq!(container.status(), "created");
    let file = fs::read_to_string(container.bundle.join("said.pid")).unwrap();
    assert_eq!(container.pid().to_string(), file);
    ground.call(&["start", "create"]).ok();
    assert_eq!(container.status(), "running");
}

fn exit_status(ground: &Ground) {
    let container = ground.start("exit_status", "exit 43", &[]);
    assert_eq!(container.ends(), 43);
    assert_eq!(container.status(), "stopped");
    let killed = ground.start("exit_killed", "kill -KILL $$; sleep 9", &[]);
    ground.call(&["kill", "exit_killed", "KILL"]);
    assert_eq!(killed.ends(), 137);
}

/// What the runtime has said reaches who has called conmon.
fn create_error(ground: &Ground) {
    let bundle = ground.bundle("create_error", IDLE, false);
    let file = bundle.join("config.json");
    let config = fs::read_to_string(&file).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["process"]["args"] = json!(["/no/such/program"]);
    fs::write(&file, config.to_string()).unwrap();
    call::run(&mut ground.conmon(&bundle, "create_error", "said", &[]));
    let said = said(&bundle.join("said")).to_string();
    assert!(said.contains("/no/such/program"), "{said}");
    assert!(said.contains("no such file or directory"), "{said}");
    assert!(!ground.call(&["list", "-q"]).ok().contains("create_error"));
}

fn log(ground: &Ground) {
    let container = ground.start("log", "echo out; echo err >&2", &[]);
    container.ends();
    let log = container.log();
    assert!(
        log.contains(" stdout F out\n") && log.contains(" stderr F err\n"),
        "{log}"
    );
}

fn stdin(ground: &Ground) {
    let script = "read line; echo got $line; exit 4";
    let container = ground.start("stdin", script, &["-i"]);
    let end = container.attach("stdin");
    say(&end, "a word\n");
    expect(&end, "got a word");
    assert_eq!(container.ends(), 4);
}

fn terminal(ground: &Ground) {
    let script =
        "trap 'stty size' WINCH; tty; while ! read line; do :; done; echo got $line; exit 6";
    let container = ground.start("terminal", &format!("read go; {script}"), &["-t", "-i"]);
    let end = container.attach("terminal");
    say(&end, "go\n");
    expect(&end, "/dev/pts/0");
    let mut control = File::options()
        .write(true)
        .open(container.bundle.join("ctl"))
        .unwrap();
    std::io::Write::write_all(&mut control, b"1 37 91\n").unwrap();
    expect(&end, "37 91");
    say(&end, "a word\n");
    expect(&end, "got a word");
    assert_eq!(container.ends(), 6);
    assert!(container.log().contains("37 91"), "{}", container.log());
}

fn exit_command(ground: &Ground) {
    let mark = ground.directory.join("exit_command.mark");
    let mark = mark.display().to_string();
    let more = [
        "--exit-command",
        "/usr/bin/touch",
        "--exit-command-arg",
        &mark,
    ];
    let container = ground.start("exit_command", "true", &more);
    container.ends();
    call::wait_until("the command is called", 10, || Path::new(&mark).exists());
}

fn timeout(ground: &Ground) {
    let container = ground.start("timeout", IDLE, &["-T", "1"]);
    assert_eq!(container.ends(), -1, "what conmon says of its own doing");
    call::wait_until("it is killed", 10, || container.status() == "stopped");
}
