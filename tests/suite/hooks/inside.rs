//! startContainer hooks run with the restrictions and the standard output of the container's
//! process.

use crate::runner::Test;
use nix::sys::signal::Signal;
use serde_json::json;

use super::{START_CONTAINER, add, probing, script, seen};
use crate::harness::{Bundle, HostState, only_rt, signal, trials};
use crate::terminal::Session;

pub(super) fn tests() -> Vec<Test> {
    trials![
        start_container_hooks_have_the_filter_of_the_process,
        start_container_hooks_do_not_escape_a_filter_that_kills,
        start_container_hooks_have_the_limits_of_the_process,
        output_of_a_failing_hook_on_a_terminal_is_shown,
        a_hook_may_write_long_output_to_a_terminal,
        a_signal_to_run_kills_a_start_container_hook_that_hangs,
    ]
}

fn start_container_hooks_have_the_filter_of_the_process() {
    for unprivileged in [true, false] {
        let bundle = probing(START_CONTAINER)
            .set("/process/noNewPrivileges", json!(unprivileged))
            .set(
                "/linux/seccomp",
                json!({
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [{"names": ["syslog"], "action": "SCMP_ACT_ERRNO"}],
                }),
            );
        let container = bundle.create();
        container.start().assert_ok();
        assert_eq!(seen(&bundle, START_CONTAINER).report["seccomp"], 2);
        container.end();
    }
}

/// The filter also applies to the program that the hook executes.
fn start_container_hooks_do_not_escape_a_filter_that_kills() {
    only_rt("runc's own init is under the filter, too");
    let bundle = Bundle::new().sh("echo executed").set(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["uname"], "action": "SCMP_ACT_KILL_PROCESS"}],
        }),
    );
    let hook = json!({"path": "/bin/busybox", "args": ["uname"]});
    let outcome = add(bundle, START_CONTAINER, hook).run();
    outcome.assert_code(1).assert_refused("ended by SIGSYS");
}

fn start_container_hooks_have_the_limits_of_the_process() {
    let limit = json!([{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}]);
    let bundle = probing(START_CONTAINER).set("/process/rlimits", limit);
    let container = bundle.create();
    container.start().assert_ok();
    let report = seen(&bundle, START_CONTAINER).report;
    assert_eq!(report["rlimits"]["RLIMIT_NOFILE"], json!([77, 88]));
    container.end();
}

fn on_a_terminal(text: &str) -> Bundle {
    let bundle = Bundle::new().set("/process/terminal", json!(true));
    add(bundle, START_CONTAINER, script(text)).sh("exit 0")
}

fn output_of_a_failing_hook_on_a_terminal_is_shown() {
    let bundle = on_a_terminal("echo the reason; exit 3");
    let output = Session::start(&bundle).assert_end(1);
    assert!(output.contains("the reason"), "{output:?}");
}

/// The output is larger than the buffer of a terminal.
fn a_hook_may_write_long_output_to_a_terminal() {
    only_rt("runc keeps it for the error");
    let bundle = on_a_terminal("busybox seq 1 40000; echo all is said");
    let output = Session::start(&bundle).assert_end(0);
    let all: String = (1..=40000).map(|number| format!("{number}\n")).collect();
    assert!(output.starts_with(&all), "{} bytes", output.len());
    assert!(output.contains("all is said"), "{} bytes", output.len());
}

fn a_signal_to_run_kills_a_start_container_hook_that_hangs() {
    only_rt("runc does not hear signals before the process runs");
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let bundle = add(bundle, START_CONTAINER, script("echo hangs; sleep 1000"));
    let before = HostState::of(&bundle);
    let run = bundle.call("run", &[]).start();
    run.wait_for("hangs");
    signal(run.pid(), Signal::SIGTERM);
    run.wait().assert_code(143);
    before.assert_unchanged(&bundle);
}
