//! Invalid and unsupported profiles are refused.

use crate::runner::Test;
use serde_json::{Value, json};

use crate::harness::{Bundle, HostState, Kind, differs, only_rt, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![
        an_errno_for_an_action_without_one_is_refused,
        an_invalid_errno_is_refused,
        an_entry_without_names_is_refused,
        an_argument_index_above_five_is_refused,
        contradictory_entries_are_refused,
        values_that_the_specification_does_not_define_are_refused,
        missing_required_fields_are_refused,
        a_profile_too_long_for_the_kernel_is_refused,
        every_architecture_is_accepted,
    ]
}

#[track_caller]
fn assert_refused(profile: Value, text: &str) {
    let bundle = Bundle::new().set("/linux/seccomp", profile);
    let before = HostState::of(&bundle);
    let outcome = bundle.run().assert_refused("");
    if Kind::under_test() == Kind::Rt {
        let line = format!("rt run: {}: {text}", bundle.id());
        assert_eq!(outcome.one_line(), line);
    }
    before.assert_unchanged(&bundle);
}

fn entry(key: &str, value: Value) -> Value {
    let mut entry = json!({"names": ["mknod"], "action": "SCMP_ACT_ERRNO"});
    entry[key] = value;
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["acct"], "action": "SCMP_ACT_ERRNO"}, entry,
    ]})
}

fn an_errno_for_an_action_without_one_is_refused() {
    only_rt(
        "\"When the action doesn't support an errno, the runtime MUST print and error and fail\"",
    );
    let mut profile = entry("action", json!("SCMP_ACT_KILL"));
    profile["syscalls"][1]["errnoRet"] = json!(1);
    let text = "linux.seccomp.syscalls[1].errnoRet: SCMP_ACT_KILL has no errno; remove it";
    assert_refused(profile, text);
    assert_refused(
        json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 38}),
        "linux.seccomp.defaultErrnoRet: SCMP_ACT_ALLOW has no errno; remove it",
    );
}

fn an_invalid_errno_is_refused() {
    only_rt("the others truncate it");
    let text = "linux.seccomp.syscalls[1].errnoRet: 4096 is not between 0 and 4095";
    assert_refused(entry("errnoRet", json!(4096)), text);
}

fn an_entry_without_names_is_refused() {
    only_rt("\"names MUST contain at least one entry\"");
    let text = "linux.seccomp.syscalls[1].names: at least one entry is required";
    assert_refused(entry("names", json!([])), text);
    let text = "linux.seccomp.syscalls[1].names[1]: must not be empty";
    assert_refused(entry("names", json!(["acct", ""])), text);
}

fn an_argument_index_above_five_is_refused() {
    let text = "linux.seccomp.syscalls[1].args[0].index: 6 is not between 0 and 5: a system call has six arguments";
    let arg = json!({"index": 6, "value": 1, "op": "SCMP_CMP_EQ"});
    assert_refused(entry("args", json!([arg])), text);
}

fn contradictory_entries_are_refused() {
    let mut profile = entry(
        "args",
        json!([{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]),
    );
    let mut other = profile["syscalls"][1].clone();
    other["errnoRet"] = json!(2);
    profile["syscalls"] = json!([profile["syscalls"][0], profile["syscalls"][1], other]);
    let text = "linux.seccomp.syscalls[2]: an earlier entry has another action for \"mknod\" with the same args";
    assert_refused(profile, text);
}

fn values_that_the_specification_does_not_define_are_refused() {
    differs(Kind::Crun, "it says so with a status of 0");
    let text = "linux.seccomp.syscalls[1].action: unknown value \"SCMP_ACT_MAYBE\": one of \"SCMP_ACT_KILL\", \"SCMP_ACT_KILL_THREAD\", \"SCMP_ACT_KILL_PROCESS\", \"SCMP_ACT_TRAP\", \"SCMP_ACT_ERRNO\", \"SCMP_ACT_NOTIFY\", \"SCMP_ACT_TRACE\", \"SCMP_ACT_LOG\", \"SCMP_ACT_ALLOW\"";
    assert_refused(entry("action", json!("SCMP_ACT_MAYBE")), text);
    let text = "linux.seccomp.syscalls[1].args[0].op: unknown value \"SCMP_CMP_ABOUT\": one of \"SCMP_CMP_NE\", \"SCMP_CMP_LT\", \"SCMP_CMP_LE\", \"SCMP_CMP_EQ\", \"SCMP_CMP_GE\", \"SCMP_CMP_GT\", \"SCMP_CMP_MASKED_EQ\"";
    let arg = json!({"index": 0, "value": 1, "op": "SCMP_CMP_ABOUT"});
    assert_refused(entry("args", json!([arg])), text);
    let text = "linux.seccomp.architectures[0]: unknown value \"SCMP_ARCH_Z80\"";
    assert_refused(
        json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_Z80"]}),
        text,
    );
}

fn missing_required_fields_are_refused() {
    only_rt("the others treat a missing field as empty");
    let text = "linux.seccomp.defaultAction: required";
    assert_refused(json!({"architectures": ["SCMP_ARCH_X86"]}), text);
    let text = "linux.seccomp.syscalls[1].args[0].op: required";
    assert_refused(entry("args", json!([{"index": 0, "value": 1}])), text);
}

fn a_profile_too_long_for_the_kernel_is_refused() {
    let arg = |value: u32| json!({"index": 0, "value": value, "op": "SCMP_CMP_EQ"});
    let args: Vec<Value> = (0..5000).map(|i| arg(3 * i)).collect();
    assert_refused(
        entry("args", json!(args)),
        "linux.seccomp: needs more than 4096 instructions, the most that a filter can have",
    );
}

fn every_architecture_is_accepted() {
    only_rt("libseccomp 2.5 knows fewer of them");
    let names = [
        "X86",
        "X86_64",
        "X32",
        "ARM",
        "AARCH64",
        "MIPS",
        "MIPS64",
        "MIPS64N32",
        "MIPSEL",
        "MIPSEL64",
        "MIPSEL64N32",
        "PPC",
        "PPC64",
        "PPC64LE",
        "S390",
        "S390X",
        "PARISC",
        "PARISC64",
        "RISCV64",
        "LOONGARCH64",
        "M68K",
        "SH",
        "SHEB",
    ];
    let names = names.map(|name| format!("SCMP_ARCH_{name}"));
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": names});
    let bundle = Bundle::new()
        .args(&["/bin/true"])
        .set("/linux/seccomp", profile);
    bundle.run().assert_ok();
}
