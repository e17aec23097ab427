//! The container's seccomp filter applies to every exec process.

use std::fs;

use crate::runner::Test;
use serde_json::{Value, json};

use super::{described, exec, probe, running};
use crate::harness::{Bundle, HostState, Kind, differs, trials};
use crate::seccomp::{UNPRIVILEGED, assert_rights, unprivileged};

pub(super) fn tests() -> Vec<Test> {
    trials![
        the_containers_filter_applies_to_exec,
        the_filter_is_the_one_the_container_was_created_with,
        a_filter_does_not_remove_capabilities,
        a_process_file_cannot_change_the_filter,
        the_filter_need_not_allow_system_calls_of_the_runtime,
        without_a_configured_filter_none_is_installed,
    ]
}

/// A filter that allows all system calls except `names`, which fail with ENOANO.
fn allowing_all_but(names: &[&str]) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOANO}],
    })
}

#[track_caller]
fn assert_filtered(bundle: &Bundle) {
    let outcome = exec(bundle, &[], &["/probe", "syscalls", "170", "39"]);
    assert_eq!(outcome.assert_ok().stdout, "ENOANO\nok\n");
}

fn the_containers_filter_applies_to_exec() {
    let bundle = Bundle::new().set("/linux/seccomp", allowing_all_but(&["sethostname"]));
    let (bundle, _container) = running(bundle);
    assert_filtered(&bundle);
    let seen = probe(&bundle, &["-u", "7", "--no-new-privs"]);
    assert_eq!(seen["seccomp"], 2);
    let counted = super::sh(
        &bundle,
        &[],
        "busybox grep Seccomp_filters /proc/self/status",
    );
    assert_eq!(counted, "Seccomp_filters:\t1\n");
}

fn the_filter_is_the_one_the_container_was_created_with() {
    differs(Kind::Runc, "it needs the bundle's config.json");
    let bundle = Bundle::new().set("/linux/seccomp", allowing_all_but(&["sethostname"]));
    let (bundle, _container) = running(bundle);
    let config = bundle.path().join("config.json");
    fs::write(&config, Bundle::new().config().0.to_string()).unwrap();
    assert_filtered(&bundle);
    fs::remove_file(config).unwrap();
    assert_filtered(&bundle);
}

fn a_filter_does_not_remove_capabilities() {
    for (uid, none) in UNPRIVILEGED {
        let (bundle, _container) = running(unprivileged(uid, none));
        assert_rights(&probe(&bundle, &[]), uid, none);
    }
}

fn a_process_file_cannot_change_the_filter() {
    let bundle = Bundle::new().set("/linux/seccomp", allowing_all_but(&["sethostname"]));
    let (bundle, _container) = running(bundle);
    let changes = [
        ("/noNewPrivileges", json!(false)),
        ("/user", json!({"uid": 7, "gid": 7})),
    ];
    let outcome = described(&bundle, &["/probe", "syscalls", "170"], &changes).run();
    assert_eq!(outcome.assert_ok().stdout, "ENOANO\n");
}

/// The runtime installs the filter right before execve(2).
fn the_filter_need_not_allow_system_calls_of_the_runtime() {
    differs(
        Kind::Runc,
        "it makes system calls of its own after it has installed the filter",
    );
    let forbidden = [
        "setns",
        "clone3",
        "openat2",
        "chdir",
        "fchdir",
        "setresuid",
        "setresgid",
        "setgroups",
        "sendto",
        "sendmsg",
        "recvfrom",
        "socketpair",
        "prctl",
        "close_range",
        "keyctl",
        "capset",
        "umask",
        "faccessat2",
        "prlimit64",
        "setsid",
    ];
    let bundle = Bundle::new().set("/linux/seccomp", allowing_all_but(&forbidden));
    let (bundle, _container) = running(bundle);
    let before = HostState::of(&bundle);
    exec(&bundle, &[], &["/bin/true"]).assert_ok();
    let outcome = exec(&bundle, &[], &["/bin/nosuch"]).assert_code(255);
    outcome.assert_refused("no such file or directory");
    before.assert_unchanged(&bundle);
}

fn without_a_configured_filter_none_is_installed() {
    let (bundle, _container) = running(Bundle::new().remove("/linux/seccomp"));
    assert_eq!(probe(&bundle, &[])["seccomp"], 0);
}
