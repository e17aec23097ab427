//! The effect of each action, and which of several entries applies.

use crate::runner::Test;
use serde_json::{Value, json};

use super::{KILLED, allowing_but, calling, results};
use crate::harness::{Bundle, Kind, differs, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![
        the_errno_is_that_of_the_entry_or_eperm,
        kill_ends_the_process,
        kill_thread_ends_a_thread,
        trap_sends_a_signal,
        log_allows,
        trace_without_a_tracer_returns_enosys,
        the_first_entry_without_conditions_applies,
        entries_with_conditions_apply_in_order,
        two_conditions_on_one_argument_are_alternatives,
        four_hundred_conditions_on_one_argument_fit,
        an_entry_with_the_default_action_is_ignored,
        unknown_system_call_names_are_ignored,
    ]
}

fn entry(action: &str) -> Value {
    json!({"names": ["getpgrp"], "action": action})
}

/// getpgrp(2), which the test program does not call otherwise.
const CALL: &str = "111";

fn on_getpgrp(profile: Value) -> Bundle {
    calling(&[CALL, "39"]).set("/linux/seccomp", profile)
}

fn the_errno_is_that_of_the_entry_or_eperm() {
    assert_eq!(
        results(&on_getpgrp(allowing_but(json!([entry("SCMP_ACT_ERRNO")])))),
        ["EPERM", "ok"]
    );
    let mut named = entry("SCMP_ACT_ERRNO");
    named["errnoRet"] = json!(libc::EXDEV);
    assert_eq!(
        results(&on_getpgrp(allowing_but(json!([named])))),
        ["EXDEV", "ok"]
    );
    // errno 0: the call is skipped and returns success.
    named["errnoRet"] = json!(0);
    assert_eq!(
        results(&on_getpgrp(allowing_but(json!([named])))),
        ["ok", "ok"]
    );
}

fn kill_ends_the_process() {
    for action in [
        "SCMP_ACT_KILL",
        "SCMP_ACT_KILL_THREAD",
        "SCMP_ACT_KILL_PROCESS",
    ] {
        let outcome = on_getpgrp(allowing_but(json!([entry(action)]))).run();
        let outcome = outcome.assert_code(KILLED);
        assert_eq!(outcome.stdout, "", "{action}");
    }
}

fn kill_thread_ends_a_thread() {
    for (action, code, said) in [
        ("SCMP_ACT_KILL", 0, "alive\n"),
        ("SCMP_ACT_KILL_THREAD", 0, "alive\n"),
        ("SCMP_ACT_KILL_PROCESS", KILLED, ""),
    ] {
        let bundle = calling(&[]).args(&["/probe", "syscall-in-thread", CALL]);
        let bundle = bundle.set("/linux/seccomp", allowing_but(json!([entry(action)])));
        let outcome = bundle.run().assert_code(code);
        assert_eq!(outcome.stdout, said, "{action}");
    }
}

fn trap_sends_a_signal() {
    let profile = allowing_but(json!([{"names": ["umask"], "action": "SCMP_ACT_TRAP"}]));
    let bundle = Bundle::new()
        .sh("trap 'echo trapped' SYS; umask 027; echo after")
        .set("/linux/seccomp", profile);
    assert_eq!(bundle.run().assert_ok().stdout, "trapped\nafter\n");
}

fn log_allows() {
    assert_eq!(
        results(&on_getpgrp(allowing_but(json!([entry("SCMP_ACT_LOG")])))),
        ["ok", "ok"]
    );
}

fn trace_without_a_tracer_returns_enosys() {
    let mut traced = entry("SCMP_ACT_TRACE");
    assert_eq!(
        results(&on_getpgrp(allowing_but(json!([traced.clone()])))),
        ["ENOSYS", "ok"]
    );
    traced["errnoRet"] = json!(65535);
    assert_eq!(
        results(&on_getpgrp(allowing_but(json!([traced])))),
        ["ENOSYS", "ok"]
    );
}

fn with_errno(errno: i32, args: Value) -> Value {
    json!({"names": ["getpgrp"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "args": args})
}

fn equal(index: u32, value: u32) -> Value {
    json!({"index": index, "value": value, "op": "SCMP_CMP_EQ"})
}

fn the_first_entry_without_conditions_applies() {
    let (some, all) = (
        with_errno(7, json!([equal(0, 0)])),
        with_errno(8, json!([])),
    );
    let other = with_errno(9, json!([]));
    for entries in [json!([some, all, other]), json!([all, other, some])] {
        assert_eq!(
            results(&on_getpgrp(allowing_but(entries))),
            ["ENOEXEC", "ok"]
        );
    }
}

fn entries_with_conditions_apply_in_order() {
    differs(
        Kind::Runc,
        "libseccomp looks at the last arguments first; the specification is silent",
    );
    let (first, second) = (
        with_errno(7, json!([equal(0, 1)])),
        with_errno(8, json!([equal(1, 2)])),
    );
    let calls = ["111/1/2", "111/1/0", "111/0/2", "111/0/0"];
    for (entries, expected) in [
        (json!([first, second]), ["E2BIG", "E2BIG", "ENOEXEC", "ok"]),
        (
            json!([second, first]),
            ["ENOEXEC", "E2BIG", "ENOEXEC", "ok"],
        ),
    ] {
        let bundle = calling(&calls).set("/linux/seccomp", allowing_but(entries));
        assert_eq!(results(&bundle), expected);
    }
}

fn two_conditions_on_one_argument_are_alternatives() {
    let args = json!([equal(0, 1), equal(0, 2), equal(1, 5)]);
    let profile = allowing_but(json!([with_errno(7, args)]));
    let bundle = calling(&["111/1", "111/2", "111/3", "111/3/5"]).set("/linux/seccomp", profile);
    assert_eq!(results(&bundle), ["E2BIG", "E2BIG", "ok", "E2BIG"]);
}

/// For three architectures.
fn four_hundred_conditions_on_one_argument_fit() {
    let entries: Vec<Value> = (0..401)
        .map(|i| with_errno(7, json!([equal(0, 3 * i)])))
        .collect();
    let bundle = calling(&[
        "111/0",
        "111/1",
        "111/3",
        "111/1200",
        "111/1201",
        "111/4294967299",
    ]);
    assert_eq!(
        results(&bundle.set("/linux/seccomp", allowing_but(json!(entries)))),
        ["E2BIG", "ok", "E2BIG", "E2BIG", "ok", "ok"]
    );
}

fn an_entry_with_the_default_action_is_ignored() {
    let entries = json!([entry("SCMP_ACT_ALLOW"), entry("SCMP_ACT_ERRNO")]);
    assert_eq!(results(&on_getpgrp(allowing_but(entries))), ["EPERM", "ok"]);
}

fn unknown_system_call_names_are_ignored() {
    let entries = json!([
        {"names": ["no_such_call", "getpgrp", "riscv_flush_icache"], "action": "SCMP_ACT_ERRNO"},
    ]);
    assert_eq!(results(&on_getpgrp(allowing_but(entries))), ["EPERM", "ok"]);
}
