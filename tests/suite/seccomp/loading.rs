//! The filter is installed after everything that it may forbid.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use crate::runner::Test;
use serde_json::{Value, json};

use super::{DOCKER, UNPRIVILEGED, allowing_but, assert_rights, profile_of, unprivileged};
use crate::harness::{Bundle, HostState, Kind, only_rt, skip, trials};
use crate::hooks::{POSTSTART, add};

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_filter_needs_no_privileges_of_the_process,
        a_filter_is_installed_with_the_capabilities_of_a_user_namespace,
        a_profile_becomes_a_single_filter,
        a_profile_needs_to_allow_only_execve_and_the_programs_own_calls,
        create_and_start_do_not_depend_on_the_profile,
        limits_are_set_even_if_the_profile_denies_it,
        a_failure_of_execve_is_reported_even_if_the_profile_denies_sending,
        an_empty_profile_installs_no_filter,
    ]
}

fn a_filter_needs_no_privileges_of_the_process() {
    for (uid, none) in UNPRIVILEGED {
        assert_rights(&unprivileged(uid, none).probe(), uid, none);
    }
}

fn a_filter_is_installed_with_the_capabilities_of_a_user_namespace() {
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    for none in [true, false] {
        let bundle = Bundle::new()
            .namespace("user", None)
            .set("/linux/uidMappings", map.clone())
            .set("/linux/gidMappings", map.clone())
            .user(1000, 1000)
            .set("/process/noNewPrivileges", json!(none))
            .set("/linux/seccomp", profile_of(DOCKER));
        let seen = bundle.probe();
        assert_eq!(seen["seccomp"], 2);
        assert_eq!(seen.capabilities("permitted"), [""; 0]);
    }
}

fn a_profile_becomes_a_single_filter() {
    let bundle = Bundle::new()
        .args(&[
            "/bin/busybox",
            "grep",
            "Seccomp_filters",
            "/proc/self/status",
        ])
        .set("/linux/seccomp", profile_of(DOCKER));
    assert_eq!(bundle.run().assert_ok().stdout, "Seccomp_filters:\t1\n");
}

/// A bundle whose program makes a single system call: `exit(7)`.
fn with_tiny_program() -> Bundle {
    if cfg!(not(target_arch = "x86_64")) {
        skip("the program is for x86-64");
    }
    let (header, program) = (64_u64, 56_u64);
    let base = 0x40_0000_u64;
    let code = b"\xb8\x3c\0\0\0\xbf\x07\0\0\0\x0f\x05"; // mov eax, 60; mov edi, 7; syscall
    let whole = header + program + code.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    let words = |elf: &mut Vec<u8>, words: &[u64]| {
        elf.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    };
    words(&mut elf, &[base + header + program, header, 0]);
    elf.extend(b"\0\0\0\0\x40\0\x38\0\x01\0\0\0\0\0\0\0\x01\0\0\0\x05\0\0\0");
    words(&mut elf, &[0, base, base, whole, whole, 0x1000]);
    elf.extend(code);
    let bundle = Bundle::new().args(&["/tiny"]);
    let path = bundle.rootfs().join("tiny");
    fs::write(&path, elf).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    bundle
}

fn only(names: &[&str]) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_KILL_PROCESS",
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
    })
}

fn a_profile_needs_to_allow_only_execve_and_the_programs_own_calls() {
    only_rt("the others make system calls of their own after they have installed the filter");
    for none in [true, false] {
        let bundle = with_tiny_program()
            .set("/process/noNewPrivileges", json!(none))
            .set("/linux/seccomp", only(&["execve", "exit"]));
        bundle.run().assert_code(7);
    }
}

fn create_and_start_do_not_depend_on_the_profile() {
    only_rt("the others make system calls of their own after they have installed the filter");
    for none in [true, false] {
        let bundle = with_tiny_program()
            .set("/process/noNewPrivileges", json!(none))
            .set("/linux/seccomp", only(&["execve", "exit"]));
        let before = HostState::of(&bundle);
        let container = bundle.create();
        assert_eq!(container.status(), "created");
        container.start().assert_ok();
        container.wait_stopped();
        container.delete().assert_ok();
        before.assert_unchanged(&bundle);
    }
}

fn limits_are_set_even_if_the_profile_denies_it() {
    // The profile allows prlimit(2) to read limits, but not to change them.
    let changing = json!([{"index": 2, "value": 0, "op": "SCMP_CMP_NE"}]);
    let entries = json!([
        {"names": ["setrlimit"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["prlimit64"], "action": "SCMP_ACT_ERRNO", "args": changing},
    ]);
    let limit = json!([{"type": "RLIMIT_CORE", "soft": 5, "hard": 6}]);
    let bundle = Bundle::new()
        .set("/process/rlimits", limit)
        .set("/linux/seccomp", allowing_but(entries));
    assert_eq!(bundle.probe()["rlimits"]["RLIMIT_CORE"], json!([5, 6]));
}

/// The runtime must get the failure, too, so that it does not call poststart hooks.
fn a_failure_of_execve_is_reported_even_if_the_profile_denies_sending() {
    let silent = json!([{"names": ["sendto", "sendmsg", "sendmmsg"], "action": "SCMP_ACT_ERRNO"}]);
    let bundle = Bundle::new()
        .executable("bin/broken", "\u{7f}ELF but not really\n")
        .args(&["/bin/broken"])
        .set("/process/noNewPrivileges", json!(true))
        .set("/linux/seccomp", allowing_but(silent));
    let text = "exec /bin/broken: exec format error";
    let outcome = bundle.run().assert_code(1);
    assert!(outcome.stderr.starts_with(text), "{outcome}");
    let hook = json!({"path": "/bin/false", "args": ["false"]});
    let bundle = match bundle.runtime().kind() {
        Kind::Rt => add(bundle, POSTSTART, hook),
        Kind::Runc | Kind::Crun => bundle,
    };
    let container = bundle.create();
    container.start().assert_ok();
    container.wait_stopped();
    assert!(
        container.stderr().starts_with(text),
        "{}",
        container.stderr()
    );
    container.delete_force().assert_ok();
}

fn an_empty_profile_installs_no_filter() {
    let bundle = Bundle::new().set("/linux/seccomp", json!({}));
    assert_eq!(bundle.probe()["seccomp"], 0);
}
