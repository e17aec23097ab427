//! Exit statuses: those of the process, and what tells a failing runtime from a failing process.

use std::fs;

use libtest_mimic::Trial;
use serde_json::json;

use super::call;
use crate::harness::{Bundle, Kind, differs, trials};

pub(super) fn tests() -> Vec<Trial> {
    trials![
        the_status_of_the_process_is_that_of_run,
        the_status_of_the_process_is_that_of_exec,
        what_run_cannot_do_is_1,
        what_exec_cannot_do_is_255,
        what_other_verbs_cannot_do_is_1,
        a_process_that_never_ran_has_no_pid_file,
        words_after_the_id_are_those_of_the_process,
    ]
}

/// A script, and what becomes of it: 128 and the signal's number, as in a shell.
const ENDS: [(&str, i32); 6] = [
    ("exit 0", 0),
    ("exit 7", 7),
    ("exit 255", 255),
    ("kill -KILL $$", 137),
    ("kill -TERM $$; sleep 9", 143),
    ("kill -SEGV $$", 139),
];

fn the_status_of_the_process_is_that_of_run() {
    for (script, code) in ENDS {
        // The first process of a pid namespace gets no signal from itself.
        let bundle = Bundle::new().without_namespace("pid").sh(script);
        bundle.run().assert_code(code);
    }
}

fn the_status_of_the_process_is_that_of_exec() {
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    for (script, code) in ENDS {
        let words = ["exec", container.id(), "/bin/sh", "-c", script];
        bundle.runtime().call(&words).run().assert_code(code);
    }
}

fn what_run_cannot_do_is_1() {
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

fn what_exec_cannot_do_is_255() {
    differs(Kind::Crun, "its own errors are 1");
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    let exec = |words: &[&str]| {
        let words: Vec<&str> = ["exec"].iter().chain(words).copied().collect();
        bundle.runtime().call(&words).run()
    };
    for words in [
        &[container.id(), "/no/such"] as &[&str],
        &["nobody", "true"],
        &["--process", "/nonexistent", container.id()],
        &["--user", "nobody", container.id(), "true"],
        &[container.id()],
    ] {
        exec(words).assert_code(255);
    }
    // Of the command line itself.
    exec(&[]).assert_code(1);
    exec(&["--bogus", container.id(), "true"]).assert_code(1);
    container.kill("KILL").assert_ok();
    container.wait_stopped();
    exec(&[container.id(), "true"]).assert_code(255);
}

fn what_other_verbs_cannot_do_is_1() {
    differs(Kind::Crun, "has other statuses");
    for verb in ["start", "state", "kill", "delete", "ps"] {
        call(&[verb, "nobody"]).assert_code(1);
        call(&[verb]).assert_code(1);
    }
    call(&["delete", "--force", "nobody"]).assert_ok();
    call(&["create", "-b", "/nonexistent", "x"]).assert_code(1);
    call(&["list", "--format=xml"]).assert_code(1);
}

/// By this conmon tells one that could not be started from one that has failed.
fn a_process_that_never_ran_has_no_pid_file() {
    differs(Kind::Crun, "its own errors are 1");
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    let file = bundle.runtime().home().join("exec.pid");
    let flags = ["exec", "--pid-file", file.to_str().unwrap(), container.id()];
    let exec = |words: &[&str]| {
        let words: Vec<&str> = flags.iter().chain(words).copied().collect();
        bundle.runtime().call(&words).run()
    };
    exec(&["/no/such"]).assert_code(255);
    assert!(!file.exists());
    exec(&["/bin/sh", "-c", "exit 255"]).assert_code(255);
    let pid = fs::read_to_string(&file).unwrap();
    assert!(pid.parse::<i32>().is_ok_and(|pid| pid > 0), "{pid:?}");
}

fn words_after_the_id_are_those_of_the_process() {
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    let words = ["--help", "-t", "--", "--cwd", "", "-e=x", "--bogus"];
    let mut line = vec!["exec", container.id(), "/bin/sh", "-c"];
    line.extend(["for word; do echo \"[$word]\"; done", "sh"]);
    line.extend(words);
    let said = bundle.runtime().call(&line).run().assert_ok().stdout;
    let expected: String = words.iter().map(|word| format!("[{word}]\n")).collect();
    assert_eq!(said, expected);
}
