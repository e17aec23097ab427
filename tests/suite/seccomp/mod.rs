//! `linux.seccomp`: system calls are allowed and denied as the profile demands.

mod actions;
mod agent;
mod loading;
mod refusals;
mod verdicts;

use crate::runner::Test;
use serde_json::{Value, json};

use crate::harness::{Bundle, Config, Report, skip};

pub(crate) fn tests() -> Vec<Test> {
    [
        verdicts::tests(),
        actions::tests(),
        agent::tests(),
        loading::tests(),
        refusals::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The exit status of a process that was killed by SIGSYS.
const KILLED: i32 = 128 + libc::SIGSYS;

const DOCKER: &str = include_str!("../configs/docker-plain.json");

/// User and `noNewPrivileges` of processes that may not install a filter by themselves.
pub(crate) const UNPRIVILEGED: [(u32, bool); 4] =
    [(0, true), (0, false), (1000, true), (1000, false)];

/// A bundle with Docker's profile for such a process.
pub(crate) fn unprivileged(uid: u32, none: bool) -> Bundle {
    Bundle::new()
        .user(uid, uid)
        .set("/process/noNewPrivileges", json!(none))
        .set("/process/capabilities", json!({"bounding": ["CAP_KILL"]}))
        .set("/linux/seccomp", profile_of(DOCKER))
}

/// Asserts that the filter is installed, and that the process has the same capabilities as
/// without a filter.
#[track_caller]
pub(crate) fn assert_rights(seen: &Report, uid: u32, none: bool) {
    assert_eq!(seen["seccomp"], 2);
    assert_eq!(seen["no_new_privs"], u8::from(none));
    // For root, execve(2) grants all capabilities of the bounding set.
    let expected: &[&str] = if uid == 0 && !none {
        &["CAP_KILL"]
    } else {
        &[]
    };
    for set in ["permitted", "effective"] {
        assert_eq!(seen.capabilities(set), expected, "{set} of {uid}");
    }
    assert_eq!(seen.capabilities("bounding"), ["CAP_KILL"]);
    assert_eq!(seen.capabilities("inheritable"), [""; 0]);
    assert_eq!(seen.capabilities("ambient"), [""; 0]);
}

/// The profile in a configuration of a manager.
fn profile_of(config: &str) -> Value {
    Config::parse(config).get("/linux/seccomp").clone()
}

/// A profile that allows all calls but those of `entries`.
fn allowing_but(entries: Value) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": entries,
    })
}

/// A container that makes these system calls, with all privileges that they need.
fn calling(calls: &[&str]) -> Bundle {
    if cfg!(not(target_arch = "x86_64")) {
        skip("the numbers are those of x86-64");
    }
    let mut args = vec!["/probe", "syscalls"];
    args.extend(calls);
    Bundle::new().args(&args).capabilities(&[
        "CAP_DAC_READ_SEARCH",
        "CAP_SYS_ADMIN",
        "CAP_SYS_CHROOT",
        "CAP_SYS_PTRACE",
        "CAP_SYSLOG",
    ])
}

/// The result of each system call.
#[track_caller]
fn results(bundle: &Bundle) -> Vec<String> {
    let outcome = bundle.run().assert_ok();
    outcome.stdout.lines().map(str::to_owned).collect()
}
