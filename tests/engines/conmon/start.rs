//! A container under conmon, from its creation to its exit status.

use std::fs::{self, File};
use std::path::Path;

use serde_json::{Value, json};

use super::{Environment, IDLE, Test, expect, read_report, send_text};
use crate::command;

pub(super) const TESTS: &[Test] = &[
    ("create", create),
    ("exit_status", exit_status),
    ("create_error", create_error),
    ("log", log),
    ("stdin", stdin),
    ("terminal", terminal),
    ("exit_command", exit_command),
    ("timeout", timeout),
];

fn create(env: &Environment) {
    let container = env.create("create", IDLE, &[]);
    assert!(container.pid() > 0);
    assert_eq!(container.status(), "created");
    let file = fs::read_to_string(container.bundle.join("report.pid")).unwrap();
    assert_eq!(container.pid().to_string(), file);
    env.call(&["start", "create"]).ok();
    assert_eq!(container.status(), "running");
}

fn exit_status(env: &Environment) {
    let container = env.start("exit_status", "exit 43", &[]);
    assert_eq!(container.exit_status(), 43);
    assert_eq!(container.status(), "stopped");
    let killed = env.start("exit_killed", "kill -KILL $$; sleep 9", &[]);
    env.call(&["kill", "exit_killed", "KILL"]);
    assert_eq!(killed.exit_status(), 137);
}

/// conmon reports the runtime's error message to its caller.
fn create_error(env: &Environment) {
    let bundle = env.bundle("create_error", IDLE, false);
    let file = bundle.join("config.json");
    let config = fs::read_to_string(&file).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["process"]["args"] = json!(["/no/such/program"]);
    fs::write(&file, config.to_string()).unwrap();
    command::run(&mut env.conmon(&bundle, "create_error", "report", &[]));
    let report = read_report(&bundle.join("report")).to_string();
    assert!(report.contains("/no/such/program"), "{report}");
    assert!(report.contains("no such file or directory"), "{report}");
    assert!(!env.call(&["list", "-q"]).ok().contains("create_error"));
}

fn log(env: &Environment) {
    let container = env.start("log", "echo out; echo err >&2", &[]);
    container.exit_status();
    let log = container.log();
    assert!(
        log.contains(" stdout F out\n") && log.contains(" stderr F err\n"),
        "{log}"
    );
}

fn stdin(env: &Environment) {
    let script = "read line; echo got $line; exit 4";
    let container = env.start("stdin", script, &["-i"]);
    let end = container.attach("stdin");
    send_text(&end, "a word\n");
    expect(&end, "got a word");
    assert_eq!(container.exit_status(), 4);
}

fn terminal(env: &Environment) {
    let script =
        "trap 'stty size' WINCH; tty; while ! read line; do :; done; echo got $line; exit 6";
    let container = env.start("terminal", &format!("read go; {script}"), &["-t", "-i"]);
    let end = container.attach("terminal");
    send_text(&end, "go\n");
    expect(&end, "/dev/pts/0");
    let mut control = File::options()
        .write(true)
        .open(container.bundle.join("ctl"))
        .unwrap();
    std::io::Write::write_all(&mut control, b"1 37 91\n").unwrap();
    expect(&end, "37 91");
    send_text(&end, "a word\n");
    expect(&end, "got a word");
    assert_eq!(container.exit_status(), 6);
    assert!(container.log().contains("37 91"), "{}", container.log());
}

fn exit_command(env: &Environment) {
    let mark = env.directory.join("exit_command.mark");
    let mark = mark.display().to_string();
    let more = [
        "--exit-command",
        "/usr/bin/touch",
        "--exit-command-arg",
        &mark,
    ];
    let container = env.start("exit_command", "true", &more);
    container.exit_status();
    command::wait_until("the command is called", 10, || Path::new(&mark).exists());
}

fn timeout(env: &Environment) {
    let container = env.start("timeout", IDLE, &["-T", "1"]);
    assert_eq!(
        container.exit_status(),
        -1,
        "conmon reports -1 for its own time-out"
    );
    command::wait_until("the process is killed", 10, || {
        container.status() == "stopped"
    });
}
