//! `linux.seccomp`: each system call as the profile says, and no call that it does not.

mod actions;
mod loading;
mod refusals;
mod verdicts;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::harness::{Bundle, Config, skip};

pub(crate) fn tests() -> Vec<Trial> {
    [
        verdicts::tests(),
        actions::tests(),
        loading::tests(),
        refusals::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The exit status of a process that SIGSYS ended.
const KILLED: i32 = 128 + libc::SIGSYS;

/// The profile that a manager wrote.
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

/// A container that makes these calls; it may do all that a filter should forbid.
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

/// What became of each call.
#[track_caller]
fn said(bundle: &Bundle) -> Vec<String> {
    let outcome = bundle.run().assert_ok();
    outcome.stdout.lines().map(str::to_owned).collect()
}
