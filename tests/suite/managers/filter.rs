//! Evaluates seccomp profiles independently of the runtime, for twenty-five system calls.

use nix::errno::Errno;
use serde_json::Value;

use crate::harness::{Config, Report};

/// A system call with arguments that have no effect even if the profile allows it.
pub(super) struct Call {
    name: &'static str,
    number: libc::c_long,
    arguments: &'static [u64],
}

const fn call(name: &'static str, number: libc::c_long, arguments: &'static [u64]) -> Call {
    Call {
        name,
        number,
        arguments,
    }
}

const NONE: u64 = u64::MAX;

/// Without a filter, none of these calls fails with the errno that a filter returns.
pub(super) const CALLS: [Call; 25] = [
    call("getpid", libc::SYS_getpid, &[]),
    call("getppid", libc::SYS_getppid, &[]),
    call("ptrace", libc::SYS_ptrace, &[NONE]),
    // Reads the persona; two other values that have rules of their own; a value that no profile allows.
    call("personality", libc::SYS_personality, &[0xffff_ffff]),
    call("personality", libc::SYS_personality, &[0x2_0000]),
    call("personality", libc::SYS_personality, &[0]),
    call("personality", libc::SYS_personality, &[0x4_0000]),
    call("mount", libc::SYS_mount, &[]),
    call("umount2", libc::SYS_umount2, &[0, 0xff00]),
    call("unshare", libc::SYS_unshare, &[]),
    call("setns", libc::SYS_setns, &[NONE]),
    // CLONE_SIGHAND without CLONE_VM; CLONE_NEWUSER with CLONE_FS.
    call("clone", libc::SYS_clone, &[0x800]),
    call("clone", libc::SYS_clone, &[0x1000_0200]),
    call("clone3", libc::SYS_clone3, &[]),
    // AF_INET SOCK_DGRAM; AF_NETLINK NETLINK_ROUTE; AF_NETLINK NETLINK_AUDIT.
    call("socket", libc::SYS_socket, &[2, 2, 0]),
    call("socket", libc::SYS_socket, &[16, 3, 0]),
    call("socket", libc::SYS_socket, &[16, 3, 9]),
    call("keyctl", libc::SYS_keyctl, &[999]),
    call("chroot", libc::SYS_chroot, &[]),
    call("kcmp", libc::SYS_kcmp, &[]),
    call("userfaultfd", libc::SYS_userfaultfd, &[0x8001]),
    call("perf_event_open", libc::SYS_perf_event_open, &[]),
    call("clock_settime", libc::SYS_clock_settime, &[999]),
    call("get_mempolicy", libc::SYS_get_mempolicy, &[]),
    call("open_tree", libc::SYS_open_tree, &[NONE, 0, 0xff00_0000]),
];

impl Call {
    /// The question for the probe.
    pub(super) fn question(&self) -> String {
        let mut question = format!("call {}", self.number);
        for argument in self.arguments {
            question.push_str(&format!(" {}", argument.cast_signed()));
        }
        question
    }

    fn argument(&self, index: u64) -> u64 {
        let index = usize::try_from(index).unwrap();
        self.arguments.get(index).copied().unwrap_or(0)
    }
}

/// The effect of a profile on a call.
#[derive(PartialEq, Debug)]
enum Outcome {
    Allow,
    Refuse(Errno),
}

/// The effect of `profile` on `call`. A rule without conditions on arguments takes precedence over
/// rules with conditions; among rules of the same kind the first one applies.
fn evaluate(profile: &Value, call: &Call) -> Outcome {
    let rules = profile["syscalls"].as_array().unwrap().iter();
    let for_call: Vec<&Value> = rules
        .filter(|rule| {
            rule["names"]
                .as_array()
                .unwrap()
                .contains(&call.name.into())
        })
        .collect();
    let unconditional = for_call.iter().find(|rule| conditions(rule).is_empty());
    let matching = || for_call.iter().find(|rule| matches(rule, call));
    match unconditional.or_else(matching) {
        Some(rule) => outcome(&rule["action"], &rule["errnoRet"]),
        None => outcome(&profile["defaultAction"], &profile["defaultErrnoRet"]),
    }
}

fn conditions(rule: &Value) -> &[Value] {
    rule["args"].as_array().map_or(&[], Vec::as_slice)
}

fn matches(rule: &Value, call: &Call) -> bool {
    conditions(rule).iter().all(|condition| {
        let number = |key: &str| condition[key].as_u64().unwrap_or(0);
        let (argument, value) = (call.argument(number("index")), number("value"));
        match condition["op"].as_str().unwrap() {
            "SCMP_CMP_EQ" => argument == value,
            "SCMP_CMP_NE" => argument != value,
            "SCMP_CMP_MASKED_EQ" => argument & value == number("valueTwo"),
            other => panic!("no profile here has {other}"),
        }
    })
}

fn outcome(action: &Value, errno: &Value) -> Outcome {
    match action.as_str().unwrap() {
        "SCMP_ACT_ALLOW" => Outcome::Allow,
        "SCMP_ACT_ERRNO" => {
            let number = errno.as_i64().unwrap_or(i64::from(libc::EPERM));
            Outcome::Refuse(Errno::from_raw(i32::try_from(number).unwrap()))
        }
        other => panic!("no profile here has {other}"),
    }
}

/// Asserts that each call has the result that the profile specifies. `unfiltered` is the report from
/// the same container without the profile.
pub(super) fn check(config: &Config, seen: &Report, unfiltered: &Report) {
    let profile = config.get("/linux/seccomp");
    for call in &CALLS {
        let question = call.question();
        let [answer, unfiltered] = [seen, unfiltered].map(|report| report.asked(&question));
        let (name, arguments) = (call.name, call.arguments);
        match evaluate(profile, call) {
            Outcome::Allow => assert_eq!(answer, unfiltered, "{name} {arguments:x?}"),
            Outcome::Refuse(errno) => {
                let errno = format!("{errno:?}");
                assert_ne!(
                    unfiltered, errno,
                    "{name} {arguments:x?} fails without the filter, too"
                );
                assert_eq!(answer, errno, "{name} {arguments:x?}");
            }
        }
    }
}
