//! config-linux.md, "Seccomp".

use serde_json::{Value, json};

use crate::common::assert_error;
use crate::harness::{Bundle, Kind, skip, test, trials, violates};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    let operators = OPERATORS.iter().map(|&(name, second, matching)| {
        test(format!("seccomp::operators::{name}"), move || {
            assert_operator(name, second, matching)
        })
    });
    let architectures = ARCHITECTURES.iter().map(|&name| {
        test(format!("seccomp::architectures::{name}"), move || {
            assert_architecture(name)
        })
    });
    let others = trials![
        the_default_action_applies_to_other_calls,
        the_calls_of_names_get_the_action,
        kill_ends_the_process,
        trap_sends_a_signal,
        log_allows_the_call,
        trace_without_a_tracer_returns_enosys,
        the_errno_is_errno_ret,
        the_default_errno_is_default_errno_ret,
        an_errno_of_an_action_without_one_is_an_error,
        a_default_errno_of_an_action_without_one_is_an_error,
        empty_names_are_an_error,
        unknown_names_are_ignored,
        index_says_which_argument_counts,
        value_is_what_the_argument_is_compared_with,
        create_applies_the_filter_before_the_process,
    ];
    operators.chain(architectures).chain(others).collect()
}

/// getpgrp(2), which the test program does not call otherwise.
const GETPGRP: &str = "111";
/// personality(2), whose argument `QUERY` changes nothing.
const PERSONALITY: &str = "135";

/// A container that makes these system calls, with a filter that allows all calls but those of the entries.
fn calling(calls: &[&str], entries: Value) -> Bundle {
    if cfg!(not(target_arch = "x86_64")) {
        skip("the numbers are those of x86-64");
    }
    let mut args = vec!["/probe", "syscalls"];
    args.extend(calls);
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": entries});
    Bundle::new().args(&args).set("/linux/seccomp", profile)
}

/// The result of each call.
#[track_caller]
fn results(bundle: &Bundle) -> Vec<String> {
    let outcome = bundle.run().assert_ok();
    outcome.stdout.lines().map(str::to_owned).collect()
}

fn on_getpgrp(action: &str) -> Bundle {
    calling(
        &[GETPGRP, "39"],
        json!([{"names": ["getpgrp"], "action": action}]),
    )
}

/// "defaultAction (string, REQUIRED) - the default action for seccomp."
fn the_default_action_applies_to_other_calls() {
    assert_eq!(results(&denying_getpgrp(json!({}))), ["EPERM"]);
}

/// "names (array of strings, REQUIRED) - the names of the syscalls.", "action (string, REQUIRED) - the action for seccomp
/// rules."
fn the_calls_of_names_get_the_action() {
    let entries = json!([{"names": ["getpgrp", "getppid"], "action": "SCMP_ACT_ERRNO"}]);
    let bundle = calling(&[GETPGRP, "110", "39"], entries);
    assert_eq!(results(&bundle), ["EPERM", "EPERM", "ok"]);
}

fn kill_ends_the_process() {
    for action in [
        "SCMP_ACT_KILL",
        "SCMP_ACT_KILL_THREAD",
        "SCMP_ACT_KILL_PROCESS",
    ] {
        let outcome = on_getpgrp(action).run();
        assert_eq!(
            (outcome.code(), outcome.stdout.as_str()),
            (128 + libc::SIGSYS, ""),
            "{action}"
        );
    }
}

fn trap_sends_a_signal() {
    let outcome = on_getpgrp("SCMP_ACT_TRAP").run();
    assert_eq!(outcome.code(), 128 + libc::SIGSYS, "{outcome}");
}

fn log_allows_the_call() {
    assert_eq!(results(&on_getpgrp("SCMP_ACT_LOG")), ["ok", "ok"]);
}

fn trace_without_a_tracer_returns_enosys() {
    assert_eq!(results(&on_getpgrp("SCMP_ACT_TRACE")), ["ENOSYS", "ok"]);
}

/// "errnoRet (uint, OPTIONAL) - the errno return code to use."
fn the_errno_is_errno_ret() {
    let entries =
        json!([{"names": ["getpgrp"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::EXDEV}]);
    assert_eq!(
        results(&calling(&[GETPGRP, "39"], entries)),
        ["EXDEV", "ok"]
    );
}

/// "defaultErrnoRet (uint, OPTIONAL) - the errno return code to use."
fn the_default_errno_is_default_errno_ret() {
    let bundle = denying_getpgrp(json!({"defaultErrnoRet": libc::EXDEV}));
    assert_eq!(results(&bundle), ["EXDEV"]);
}

/// A filter that allows every call but getpgrp(2), which gets the default action.
fn denying_getpgrp(more: Value) -> Bundle {
    let names = syscalls::Sysno::iter().map(|call| call.name());
    let names: Vec<&str> = names.filter(|name| *name != "getpgrp").collect();
    let mut profile = more;
    profile["defaultAction"] = json!("SCMP_ACT_ERRNO");
    profile["syscalls"] = json!([{"names": names, "action": "SCMP_ACT_ALLOW"}]);
    calling(&[GETPGRP], json!([])).set("/linux/seccomp", profile)
}

/// errnoRet: "When the action doesn't support an errno, the runtime MUST print and error and fail."
fn an_errno_of_an_action_without_one_is_an_error() {
    violates(Kind::Runc, "ignores it");
    for action in ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_LOG", "SCMP_ACT_TRAP"] {
        let entry = json!({"names": ["getpgrp"], "action": action, "errnoRet": 1});
        assert_error(calling(&[], json!([entry])));
    }
}

/// defaultErrnoRet: "When the action doesn't support an errno, the runtime MUST print and error and fail."
fn a_default_errno_of_an_action_without_one_is_an_error() {
    violates(Kind::Runc, "ignores it");
    let profile = json!({"defaultAction": "SCMP_ACT_LOG", "defaultErrnoRet": 1});
    assert_error(Bundle::new().set("/linux/seccomp", profile));
}

/// "names MUST contain at least one entry."
fn empty_names_are_an_error() {
    violates(Kind::Runc, "ignores the entry");
    violates(Kind::Crun, "ignores the entry");
    assert_error(calling(
        &[],
        json!([{"names": [], "action": "SCMP_ACT_ERRNO"}]),
    ));
}

/// A profile names system calls that only other kernels have.
fn unknown_names_are_ignored() {
    let entries = json!([{"names": ["unheard_of", "getpgrp"], "action": "SCMP_ACT_ERRNO"}]);
    assert_eq!(results(&calling(&[GETPGRP], entries)), ["EPERM"]);
}

/// An entry for personality(2) with a condition on an argument.
fn conditional(args: Value) -> Value {
    json!([{"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::EXDEV, "args": args}])
}

/// "index (uint, REQUIRED) - the index for syscall arguments in seccomp."
fn index_says_which_argument_counts() {
    let calls = ["135/0xffffffff/7", "135/0xffffffff/8"];
    let args = json!([{"index": 1, "value": 7, "op": "SCMP_CMP_EQ"}]);
    assert_eq!(
        results(&calling(&calls, conditional(args))),
        ["EXDEV", "ok"]
    );
}

/// "value (uint64, REQUIRED) - the value for syscall arguments in seccomp."
fn value_is_what_the_argument_is_compared_with() {
    let calls = ["135/0xffffffff/0x100000007", "135/0xffffffff/7"];
    let args = json!([{"index": 1, "value": 0x1_0000_0007_u64, "op": "SCMP_CMP_EQ"}]);
    assert_eq!(
        results(&calling(&calls, conditional(args))),
        ["EXDEV", "ok"]
    );
}

/// "op (string, REQUIRED) - the operator for syscall arguments in seccomp": its name, `valueTwo`, and which of 4, 5 and 6
/// match the value 5.
const OPERATORS: [(&str, Option<u64>, [bool; 3]); 7] = [
    ("SCMP_CMP_NE", None, [true, false, true]),
    ("SCMP_CMP_LT", None, [true, false, false]),
    ("SCMP_CMP_LE", None, [true, true, false]),
    ("SCMP_CMP_EQ", None, [false, true, false]),
    ("SCMP_CMP_GE", None, [false, true, true]),
    ("SCMP_CMP_GT", None, [false, false, true]),
    // The value is the mask: 4 and 5 have its bit 4 and not its bit 1, 6 has only bit 4 of it too.
    ("SCMP_CMP_MASKED_EQ", Some(4), [true, false, true]),
];

#[track_caller]
fn assert_operator(operator: &str, second: Option<u64>, matching: [bool; 3]) {
    let calls = ["135/0xffffffff/4", "135/0xffffffff/5", "135/0xffffffff/6"];
    assert!(calls.iter().all(|call| call.starts_with(PERSONALITY)));
    let mut condition = json!({"index": 1, "value": 5, "op": operator});
    if let Some(second) = second {
        condition["valueTwo"] = json!(second);
    }
    let seen = results(&calling(&calls, conditional(json!([condition]))));
    let expected = matching.map(|matches| if matches { "EXDEV" } else { "ok" });
    assert_eq!(seen, expected, "{operator}");
}

/// Of "architectures (array of strings, OPTIONAL) - the architecture used for system calls".
const ARCHITECTURES: [&str; 23] = [
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
];

/// A filter for one of them more, or an error: config.md, "Valid values": "Runtimes MAY choose which subset of the valid
/// values it will support", but must not ignore a value.
#[track_caller]
fn assert_architecture(name: &str) {
    let entries = json!([{"names": ["getpgrp"], "action": "SCMP_ACT_ERRNO"}]);
    let bundle = calling(&[GETPGRP], entries).set(
        "/linux/seccomp/architectures",
        json!(["SCMP_ARCH_X86_64", name]),
    );
    let outcome = bundle.run();
    let expected = if outcome.code() == 0 { "EPERM\n" } else { "" };
    assert_eq!(outcome.stdout, expected, "{outcome}");
    assert_eq!(outcome.code() == 0, outcome.stderr.is_empty(), "{outcome}");
}

/// runtime.md, "Create": the filter is there when the program is executed.
fn create_applies_the_filter_before_the_process() {
    let seen = Bundle::new().set(
        "/linux/seccomp",
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["getpgrp"], "action": "SCMP_ACT_ERRNO"}
        ]}),
    );
    assert_eq!(seen.probe()["seccomp"], 2);
}
