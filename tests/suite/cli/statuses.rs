//! Exit statuses: those of the process, and those of a failing runtime.

use std::fs;

use crate::runner::Test;
use serde_json::json;

use super::call;
use crate::harness::{Bundle, Kind, differs, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![
        run_exits_with_the_status_of_the_process,
        exec_exits_with_the_status_of_the_process,
        an_error_of_run_is_status_1,
        an_error_of_exec_is_status_255,
        an_error_of_another_verb_is_status_1,
        a_process_that_was_not_executed_has_no_pid_file,
        arguments_after_the_id_go_to_the_process,
    ]
}

/// A script and its exit status: after a signal, 128 plus its number, as in a shell.
const SCRIPTS: [(&str, i32); 6] = [
    ("exit 0", 0),
    ("exit 7", 7),
    ("exit 255", 255),
    ("kill -KILL $$", 137),
    ("kill -TERM $$; sleep 9", 143),
    ("kill -SEGV $$", 139),
];

fn run_exits_with_the_status_of_the_process() {
    for (script, code) in SCRIPTS {
        // The first process of a pid namespace ignores signals from itself.
        let bundle = Bundle::new().without_namespace("pid").sh(script);
        bundle.run().assert_code(code);
    }
}

fn exec_exits_with_the_status_of_the_process() {
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    for (script, code) in SCRIPTS {
        let args = ["exec", container.id(), "/bin/sh", "-c", script];
        bundle.runtime().call(&args).run().assert_code(code);
    }
}

fn an_error_of_run_is_status_1() {
    differs(
        Kind::Crun,
        "its own errors are 255 after the bundle is read",
    );
    Bundle::new().args(&["/no/such"]).run().assert_code(1);
    let wrong = Bundle::new().set("/process/cwd", json!("relative"));
    wrong.run().assert_code(1);
    call(&["run", "-b", "/nonexistent", "x"]).assert_code(1);
    call(&["run"]).assert_code(1);
    call(&["run", "--bogus", "x"]).assert_code(1);
}

fn an_error_of_exec_is_status_255() {
    differs(Kind::Crun, "its own errors are 1");
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    let exec = |args: &[&str]| {
        let args: Vec<&str> = ["exec"].iter().chain(args).copied().collect();
        bundle.runtime().call(&args).run()
    };
    for args in [
        &[container.id(), "/no/such"] as &[&str],
        &["no-such-container", "true"],
        &["--process", "/nonexistent", container.id()],
        &["--user", "nobody", container.id(), "true"],
        &[container.id()],
    ] {
        exec(args).assert_code(255);
    }
    // Errors of the command line itself have exit status 1.
    exec(&[]).assert_code(1);
    exec(&["--bogus", container.id(), "true"]).assert_code(1);
    container.kill("KILL").assert_ok();
    container.wait_stopped();
    exec(&[container.id(), "true"]).assert_code(255);
}

fn an_error_of_another_verb_is_status_1() {
    differs(Kind::Crun, "has other statuses");
    for verb in ["start", "state", "kill", "delete", "ps"] {
        call(&[verb, "no-such-container"]).assert_code(1);
        call(&[verb]).assert_code(1);
    }
    call(&["delete", "--force", "no-such-container"]).assert_ok();
    call(&["create", "-b", "/nonexistent", "x"]).assert_code(1);
    call(&["list", "--format=xml"]).assert_code(1);
}

/// conmon uses the pid file to tell a process that was not started from one that failed.
fn a_process_that_was_not_executed_has_no_pid_file() {
    differs(Kind::Crun, "its own errors are 1");
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    let file = bundle.runtime().home().join("exec.pid");
    let flags = ["exec", "--pid-file", file.to_str().unwrap(), container.id()];
    let exec = |args: &[&str]| {
        let args: Vec<&str> = flags.iter().chain(args).copied().collect();
        bundle.runtime().call(&args).run()
    };
    exec(&["/no/such"]).assert_code(255);
    assert!(!file.exists());
    exec(&["/bin/sh", "-c", "exit 255"]).assert_code(255);
    let pid = fs::read_to_string(&file).unwrap();
    assert!(pid.parse::<i32>().is_ok_and(|pid| pid > 0), "{pid:?}");
}

fn arguments_after_the_id_go_to_the_process() {
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    let args = ["--help", "-t", "--", "--cwd", "", "-e=x", "--bogus"];
    let mut line = vec!["exec", container.id(), "/bin/sh", "-c"];
    line.extend(["for arg; do echo \"[$arg]\"; done", "sh"]);
    line.extend(args);
    let output = bundle.runtime().call(&line).run().assert_ok().stdout;
    let expected: String = args.iter().map(|arg| format!("[{arg}]\n")).collect();
    assert_eq!(output, expected);
}
