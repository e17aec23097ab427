//! `exec --detach` and `--pid-file`.

use std::fs;
use std::path::PathBuf;

use crate::runner::Test;
use nix::sys::signal::Signal;
use serde_json::json;

use super::{call, exec, running};
use crate::harness::{
    Bundle, HostState, Kind, alive, cgroup_of, differs, only_rt, signal, trials, wait_gone,
    wait_until,
};

pub(super) fn tests() -> Vec<Test> {
    trials![
        detached_exec_returns_once_the_process_runs,
        a_detached_process_can_be_killed_by_its_pid,
        the_pid_file_exists_before_exec_returns,
        the_pid_file_is_written_in_the_foreground,
        the_pid_file_holds_the_pid_on_the_host,
        a_relative_pid_file_path_starts_at_the_callers_directory,
        an_existing_pid_file_is_replaced_atomically,
        no_pid_file_is_written_if_the_program_is_missing,
        no_pid_file_is_written_if_the_filter_kills_execve,
        a_pid_file_is_written_for_a_program_that_ends_at_once,
        the_process_is_killed_if_the_pid_file_cannot_be_written,
        failures_of_a_detached_exec_are_reported,
    ]
}

fn pid_file(bundle: &Bundle) -> PathBuf {
    bundle.runtime().home().join("exec.pid")
}

fn read_pid(bundle: &Bundle) -> i32 {
    let text = fs::read_to_string(pid_file(bundle)).unwrap();
    text.parse().unwrap_or_else(|e| panic!("{text:?}: {e}"))
}

/// Runs `exec --detach` with a pid file, and returns the pid.
#[track_caller]
fn start(bundle: &Bundle, args: &[&str]) -> i32 {
    let file = pid_file(bundle);
    let flags = ["--detach", "--pid-file", file.to_str().unwrap()];
    let outcome = exec(bundle, &flags, args).assert_ok();
    assert_eq!(outcome.stderr, "");
    read_pid(bundle)
}

fn detached_exec_returns_once_the_process_runs() {
    let (bundle, container) = running(Bundle::new());
    let outcome = call(
        &bundle,
        &["-d"],
        &["/bin/sh", "-c", "echo runs; sleep 1001"],
    );
    let (out, _) = (outcome.output().to_owned(), outcome.run().assert_ok());
    wait_until("its output", || {
        fs::read_to_string(out.with_extension("out")).is_ok_and(|said| said == "runs\n")
    });
    assert_eq!(container.status(), "running");
}

fn a_detached_process_can_be_killed_by_its_pid() {
    let (bundle, container) = running(Bundle::new());
    let pid = start(&bundle, &["/bin/sleep", "1001"]);
    assert!(alive(pid));
    assert_eq!(
        cgroup_of(pid, "memory"),
        cgroup_of(container.pid(), "memory")
    );
    signal(pid, Signal::SIGTERM);
    wait_gone(pid);
    assert_eq!(container.status(), "running");
}

fn the_pid_file_exists_before_exec_returns() {
    differs(Kind::Runc, "it returns before the program is executed");
    let (bundle, _container) = running(Bundle::new());
    for _ in 0..10 {
        let pid = start(&bundle, &["/bin/sleep", "1001"]);
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        assert_eq!(line, b"/bin/sleep\x001001\0", "the program runs by then");
        signal(pid, Signal::SIGKILL);
        wait_gone(pid);
    }
}

fn the_pid_file_is_written_in_the_foreground() {
    let (bundle, _container) = running(Bundle::new());
    let file = pid_file(&bundle);
    let flags = ["--pid-file", file.to_str().unwrap()];
    exec(&bundle, &flags, &["/bin/true"]).assert_ok();
    assert!(read_pid(&bundle) > 1);
}

fn the_pid_file_holds_the_pid_on_the_host() {
    let (bundle, _container) = running(Bundle::new());
    let pid = start(&bundle, &["/bin/sleep", "1001"]);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let pids = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .unwrap();
    let pids: Vec<i32> = pids
        .split_whitespace()
        .filter_map(|n| n.parse().ok())
        .collect();
    assert_eq!(pids[0], pid);
    assert!(pids[1] < 100, "{pids:?}");
    let text = fs::read_to_string(pid_file(&bundle)).unwrap();
    assert_eq!(text, pid.to_string(), "no line feed");
}

fn a_relative_pid_file_path_starts_at_the_callers_directory() {
    let (bundle, _container) = running(Bundle::new());
    let home = bundle.runtime().home().to_owned();
    let call = call(&bundle, &["--pid-file", "exec.pid"], &["/bin/true"]);
    call.with(|command| command.current_dir(home))
        .run()
        .assert_ok();
    assert!(read_pid(&bundle) > 1);
}

/// By rename(2), so that a reader that has the old file open can read it to its end.
fn an_existing_pid_file_is_replaced_atomically() {
    let (bundle, _container) = running(Bundle::new());
    let file = pid_file(&bundle);
    fs::write(&file, "4194303 and more").unwrap();
    let other = bundle.runtime().home().join("other");
    fs::hard_link(&file, &other).unwrap();
    assert!(alive(start(&bundle, &["/bin/sleep", "1001"])));
    assert_eq!(fs::read_to_string(other).unwrap(), "4194303 and more");
    let names = fs::read_dir(bundle.runtime().home()).unwrap().flatten();
    let hidden = names.filter(|entry| entry.file_name().to_string_lossy().starts_with('.'));
    assert_eq!(hidden.count(), 0, "a temporary file is left");
}

/// conmon uses this to distinguish a failure of the runtime from one of the process.
fn no_pid_file_is_written_if_the_program_is_missing() {
    let (bundle, _container) = running(Bundle::new());
    for program in ["nosuch", "/no/such", "/etc/passwd"] {
        for detach in [&["--detach"] as &[&str], &[]] {
            let file = pid_file(&bundle);
            let flags = [detach, &["--pid-file", file.to_str().unwrap()]].concat();
            exec(&bundle, &flags, &[program]).assert_code(255);
            assert!(!file.exists(), "{program}");
        }
    }
}

fn killing(name: &str) -> serde_json::Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": [name], "action": "SCMP_ACT_KILL_PROCESS"}],
    })
}

fn no_pid_file_is_written_if_the_filter_kills_execve() {
    only_rt("runc writes the pid file before execve(2)");
    let bundle = super::waiting(Bundle::new().set("/linux/seccomp", killing("execve")));
    // The container is not started, because the filter would kill init as well.
    let container = bundle.create();
    let before = HostState::of(&bundle);
    for detach in [&["--detach"] as &[&str], &[]] {
        let file = pid_file(&bundle);
        let flags = [detach, &["--pid-file", file.to_str().unwrap()]].concat();
        let outcome = exec(&bundle, &flags, &["/bin/sleep", "1001"]).assert_code(255);
        outcome
            .assert_refused("process: ended before it was executed")
            .one_line();
        assert!(!file.exists());
    }
    before.assert_unchanged(&bundle);
    container.end();
}

/// The program has run, so the way it ends does not matter.
fn a_pid_file_is_written_for_a_program_that_ends_at_once() {
    let bundle = Bundle::new().set("/linux/seccomp", killing("sethostname"));
    let (bundle, _container) = running(bundle);
    for (args, code) in [
        (&["/bin/true"] as &[&str], 0),
        (&["/bin/false"], 1),
        (&["/bin/sh", "-c", "kill -KILL $$"], 137),
        (&["/probe", "syscalls", "170"], 159),
    ] {
        for detach in [true, false] {
            drop(fs::remove_file(pid_file(&bundle)));
            let file = pid_file(&bundle);
            let mut flags = vec!["--pid-file", file.to_str().unwrap()];
            flags.extend(detach.then_some("--detach"));
            exec(&bundle, &flags, args).assert_code(if detach { 0 } else { code });
            assert!(read_pid(&bundle) > 1, "{args:?}");
        }
    }
}

fn the_process_is_killed_if_the_pid_file_cannot_be_written() {
    let (bundle, _container) = running(Bundle::new());
    let before = HostState::of(&bundle);
    let flags = ["--detach", "--pid-file", "/nonexistent/exec.pid"];
    let outcome = exec(&bundle, &flags, &["/bin/sleep", "1001"]).assert_code(255);
    outcome.assert_refused("/nonexistent/").one_line();
    before.assert_unchanged(&bundle);
}

fn failures_of_a_detached_exec_are_reported() {
    let (bundle, _container) = running(Bundle::new());
    for args in [&["nosuch"] as &[&str], &["/etc/passwd"], &[]] {
        let outcome = exec(&bundle, &["-d"], args).assert_code(255);
        outcome.one_line();
    }
}
