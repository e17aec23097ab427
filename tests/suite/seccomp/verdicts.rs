//! The profiles of Docker, Podman and Buildah, call by call.

use crate::runner::Test;
use serde_json::{Value, json};

use super::{KILLED, calling, profile_of, results};
use crate::harness::trials;

pub(super) fn tests() -> Vec<Test> {
    trials![
        dockers_profile_is_applied_to_each_call,
        podmans_profile_is_applied_to_each_call,
        buildahs_profile_is_applied_to_netlink_sockets,
        the_profile_applies_to_32_bit_programs,
        the_profile_applies_to_x32,
        calls_from_unlisted_architectures_kill_the_process,
        conditions_compare_unsigned_64_bit_values,
    ]
}

const DOCKER: &str = include_str!("../configs/docker-plain.json");
const PODMAN: &str = include_str!("../configs/podman-plain.json");
const BUILDAH: &str = include_str!("../configs/buildah-plain.json");

/// A system call, and the error that the profile returns for it, if any.
type Expected<'a> = (&'a str, Option<&'a str>);

const ALLOWED: Option<&str> = None;
const EPERM: Option<&str> = Some("EPERM");
const ENOSYS: Option<&str> = Some("ENOSYS");

/// Asserts that an allowed call has the same result as without a filter, and that a denied call
/// has the expected error, which differs from the result without a filter.
#[track_caller]
fn assert_verdicts(profile: &Value, expected: &[Expected]) {
    let calls: Vec<&str> = expected.iter().map(|(call, _)| *call).collect();
    let without = results(&calling(&calls));
    let with = results(&calling(&calls).set("/linux/seccomp", profile.clone()));
    assert_eq!((without.len(), with.len()), (calls.len(), calls.len()));
    for (((call, verdict), without), with) in expected.iter().zip(without).zip(with) {
        match verdict {
            None => assert_eq!(with, without, "{call} is allowed"),
            Some(errno) => {
                assert_eq!(with, *errno, "{call} is denied");
                assert_ne!(without, *errno, "{call} without the filter");
            }
        }
    }
}

fn dockers_profile_is_applied_to_each_call() {
    assert_verdicts(
        &profile_of(DOCKER),
        &[
            ("39", ALLOWED),             // getpid
            ("3/99", ALLOWED),           // close
            ("41/99", ALLOWED),          // socket
            ("161", ALLOWED),            // chroot
            ("56/0x800", ALLOWED),       // clone with CLONE_SIGHAND
            ("135/0xffffffff", ALLOWED), // personality
            ("135/0x20000", ALLOWED),    // personality with UNAME26
            ("135", ALLOWED),            // personality
            ("449", ALLOWED),            // futex_waitv
            ("56/0x10000200", EPERM),    // clone with CLONE_NEWUSER
            ("135/0x400000", EPERM),     // personality with READ_IMPLIES_EXEC
            ("135/0x100000008", EPERM),  // personality, beyond its 32 bits
            ("103/99", EPERM),           // syslog
            ("155", EPERM),              // pivot_root
            ("165", EPERM),              // mount
            ("166", EPERM),              // umount2
            ("168", EPERM),              // swapoff
            ("238/99", EPERM),           // set_mempolicy
            ("248", EPERM),              // add_key
            ("249", EPERM),              // request_key
            ("250/99", EPERM),           // keyctl
            ("272", EPERM),              // unshare
            ("298", EPERM),              // perf_event_open
            ("304/99", EPERM),           // open_by_handle_at
            ("308/99", EPERM),           // setns
            ("312/0x7fffffff", EPERM),   // kcmp
            ("321/99", EPERM),           // bpf
            ("323/99", EPERM),           // userfaultfd
            ("428/99", EPERM),           // open_tree
            ("430", EPERM),              // fsopen
            ("442/99", EPERM),           // mount_setattr
            ("435", ENOSYS),             // clone3
            // Newer than the profile: programs must see that the call is missing.
            ("450/1", ENOSYS), // set_mempolicy_home_node
        ],
    );
}

fn podmans_profile_is_applied_to_each_call() {
    assert_verdicts(
        &profile_of(PODMAN),
        &[
            ("39", ALLOWED),
            ("135/8", ALLOWED),
            ("135", ALLOWED),
            ("135/9", ENOSYS), // personality: the conditions of no entry hold
            ("304/99", EPERM), // open_by_handle_at: denied by an entry
            ("312/0x7fffffff", EPERM), // kcmp: denied by another entry
            ("443/99", ENOSYS), // quotactl_fd: not in the profile
            ("450/1", ENOSYS), // set_mempolicy_home_node: newer than the profile
        ],
    );
}

fn buildahs_profile_is_applied_to_netlink_sockets() {
    assert_verdicts(
        &profile_of(BUILDAH),
        &[
            ("41/16/3/9", Some("EINVAL")),      // the audit protocol of netlink
            ("41/16/3/0", ALLOWED),             // another protocol
            ("41/2/2/0", ALLOWED),              // another family
            ("x86:359/16/3/9", Some("EINVAL")), // the same in 32 bits
            ("x86:359/16/3/0", ALLOWED),
        ],
    );
}

fn the_profile_applies_to_32_bit_programs() {
    assert_verdicts(
        &profile_of(DOCKER),
        &[
            ("x86:20", ALLOWED),           // getpid
            ("x86:102/99", ALLOWED),       // socketcall
            ("x86:136/8", ALLOWED),        // personality
            ("x86:136", ALLOWED),          // personality
            ("x86:136/0x400000", EPERM),   // personality
            ("x86:120/0x10000200", EPERM), // clone
            ("x86:21", EPERM),             // mount
            ("x86:288/99", EPERM),         // keyctl
            ("x86:310", EPERM),            // unshare
            ("x86:357/99", EPERM),         // bpf
            ("x86:435", ENOSYS),           // clone3
            ("x86:450/1", ENOSYS),         // set_mempolicy_home_node
        ],
    );
}

/// Most kernels do not support x32 and return ENOSYS, but only after the filter has run.
fn the_profile_applies_to_x32() {
    assert_verdicts(
        &profile_of(DOCKER),
        &[
            ("0x40000027", ALLOWED), // getpid
            ("0x40000208", ALLOWED), // execve
            ("0x4000003b", EPERM),   // the number of execve on x86-64, which x32 does not have
            ("0x400000a5", EPERM),   // mount
            ("0x40000141", EPERM),   // bpf
        ],
    );
}

fn calls_from_unlisted_architectures_kill_the_process() {
    let mut profile = profile_of(DOCKER);
    profile["architectures"] = json!(["SCMP_ARCH_X86_64"]);
    for call in ["x86:20", "0x40000027"] {
        let bundle = calling(&["39", call, "39"]).set("/linux/seccomp", profile.clone());
        let outcome = bundle.run().assert_code(KILLED);
        assert_eq!(outcome.stdout, "ok\n", "{call}");
    }
    // Number -1, which a tracer sets to skip a call.
    let bundle = calling(&["0xffffffff"]).set("/linux/seccomp", profile);
    assert_eq!(results(&bundle), ["EPERM"]);
}

fn conditions_compare_unsigned_64_bit_values() {
    // getpgrp(2) ignores its arguments.
    let (high, low) = (0xffff_ffff_0000_0000_u64, 0x8000_0000_u64);
    let cases = [
        ("LT", low, "0x7fffffff", true),
        ("LT", low, "0xffffffff80000000", false),
        ("LE", high, "0xffffffff00000000", true),
        ("LE", high, "0xffffffff00000001", false),
        ("GT", low, "0x100000000", true),
        ("GT", low, "0x80000000", false),
        ("GE", high, "0xffffffff00000000", true),
        ("GE", high, "0xfffffffe80000000", false),
        ("EQ", 7 << 32, "0x700000000", true),
        ("EQ", 7 << 32, "0", false),
        ("NE", 7 << 32, "0x700000001", true),
        ("NE", 7 << 32, "0x700000000", false),
    ];
    for (operator, value, argument, denied) in cases {
        let profile = super::allowing_but(json!([{
            "names": ["getpgrp"], "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 1, "value": value, "op": format!("SCMP_CMP_{operator}")}],
        }]));
        let call = format!("111/0/{argument}");
        let expected = if denied { "EPERM" } else { "ok" };
        let bundle = calling(&[&call]).set("/linux/seccomp", profile);
        assert_eq!(
            results(&bundle),
            [expected],
            "{argument} {operator} {value:#x}"
        );
    }
}
