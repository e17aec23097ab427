//! Seccomp profiles judged apart from the runtime: what twenty-five calls must answer.

use nix::errno::Errno;
use serde_json::Value;

use crate::harness::{Config, Report};

/// A system call with arguments that harm nobody, should it be let through.
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

/// Chosen so that the kernel, asked without a filter, never answers what a filter would.
pub(super) const CALLS: [Call; 25] = [
    call("getpid", libc::SYS_getpid, &[]),
    call("getppid", libc::SYS_getppid, &[]),
    call("ptrace", libc::SYS_ptrace, &[NONE]),
    // The present persona; an old kernel's (two rules of their own); one that no profile lets through.
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
    // IPv4 datagrams; netlink's routes; netlink's audit.
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
    /// In the probe's words.
    pub(super) fn question(&self) -> String {
        let mut words = format!("call {}", self.number);
        for argument in self.arguments {
            words.push_str(&format!(" {}", argument.cast_signed()));
        }
        words
    }

    fn argument(&self, index: u64) -> u64 {
        let index = usize::try_from(index).unwrap();
        self.arguments.get(index).copied().unwrap_or(0)
    }
}

/// What a profile does with a call.
#[derive(PartialEq, Debug)]
enum Verdict {
    Allow,
    Refuse(Errno),
}

/// A rule for all arguments counts before those for some, the first of either kind before the rest.
fn judge(profile: &Value, call: &Call) -> Verdict {
    let rules = profile["syscalls"].as_array().unwrap().iter();
    let of_call: Vec<&Value> = rules
        .filter(|rule| {
            rule["names"]
                .as_array()
                .unwrap()
                .contains(&call.name.into())
        })
        .collect();
    let plain = of_call.iter().find(|rule| conditions(rule).is_empty());
    let fitting = || of_call.iter().find(|rule| fits(rule, call));
    match plain.or_else(fitting) {
        Some(rule) => verdict(&rule["action"], &rule["errnoRet"]),
        None => verdict(&profile["defaultAction"], &profile["defaultErrnoRet"]),
    }
}

fn conditions(rule: &Value) -> &[Value] {
    rule["args"].as_array().map_or(&[], Vec::as_slice)
}

fn fits(rule: &Value, call: &Call) -> bool {
    conditions(rule).iter().all(|condition| {
        let number = |key: &str| condition[key].as_u64().unwrap_or(0);
        let (given, value) = (call.argument(number("index")), number("value"));
        match condition["op"].as_str().unwrap() {
            "SCMP_CMP_EQ" => given == value,
            "SCMP_CMP_NE" => given != value,
            "SCMP_CMP_MASKED_EQ" => given & value == number("valueTwo"),
            other => panic!("no profile here has {other}"),
        }
    })
}

fn verdict(action: &Value, errno: &Value) -> Verdict {
    match action.as_str().unwrap() {
        "SCMP_ACT_ALLOW" => Verdict::Allow,
        "SCMP_ACT_ERRNO" => {
            let number = errno.as_i64().unwrap_or(i64::from(libc::EPERM));
            Verdict::Refuse(Errno::from_raw(i32::try_from(number).unwrap()))
        }
        other => panic!("no profile here has {other}"),
    }
}

/// `free` is what the probe saw in the same container without the profile.
pub(super) fn confirm(config: &Config, seen: &Report, free: &Report) {
    let profile = config.get("/linux/seccomp");
    for call in &CALLS {
        let question = call.question();
        let [answer, unfiltered] = [seen, free].map(|report| report.asked(&question));
        let (name, arguments) = (call.name, call.arguments);
        match judge(profile, call) {
            Verdict::Allow => assert_eq!(answer, unfiltered, "{name} {arguments:x?}"),
            Verdict::Refuse(errno) => {
                let errno = format!("{errno:?}");
                assert_ne!(unfiltered, errno, "{name} {arguments:x?} shows nothing");
                assert_eq!(answer, errno, "{name} {arguments:x?}");
            }
        }
    }
}
