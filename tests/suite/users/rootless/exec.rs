//! `exec` by rootless callers: the owner of the container, and other users.

use std::fs;

use crate::runner::Test;
use nix::sys::signal::Signal;
use serde_json::json;

use super::callers::{ALL, Caller, CallerKind, OTHER};
use crate::exec::{LINKS, call, exec, probe, running};
use crate::harness::{
    HostState, Kind, differs, namespace_of, only_rt, signal, trials, wait_gone, wait_until,
};

pub(super) fn tests() -> Vec<Test> {
    trials![
        the_owner_can_exec,
        exec_can_use_subordinate_ids,
        exec_returns_a_status_and_writes_a_pid_file,
        exec_works_with_a_shared_pid_namespace,
        another_user_cannot_exec,
        root_cannot_exec_in_a_users_container,
        failures_are_reported,
    ]
}

fn the_owner_can_exec() {
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let (bundle, container) = running(caller.bundle());
        let pid = container.pid().to_string();
        let seen = probe(&bundle, &[]);
        for link in LINKS {
            assert_eq!(
                seen.namespace(link),
                namespace_of(&pid, link),
                "{caller_kind:?} {link}"
            );
        }
        assert_eq!(
            (&seen["uid"], &seen["gid"]),
            (&json!(0), &json!(0)),
            "{caller_kind:?}"
        );
        assert_eq!(seen["cgroups"], cgroups_of(&pid), "{caller_kind:?}");
        let open: Vec<&String> = seen["fds"].as_object().unwrap().keys().collect();
        assert_eq!(open, ["0", "1", "2"], "{caller_kind:?}");
        container.end();
    }
}

fn cgroups_of(pid: &str) -> serde_json::Value {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    text.lines().collect()
}

fn exec_can_use_subordinate_ids() {
    for caller_kind in [CallerKind::Subordinate, CallerKind::Manager] {
        let caller = Caller::new(caller_kind);
        let (bundle, container) = running(caller.bundle());
        let outcome = exec(&bundle, &["-u", "0:0"], &["/bin/id", "-u"]);
        assert_eq!(outcome.assert_ok().stdout, "0\n", "{caller_kind:?}");
        let outcome = exec(&bundle, &["-u", "4294967294"], &["/bin/true"]);
        outcome.assert_code(255);
        container.end();
    }
}

fn exec_returns_a_status_and_writes_a_pid_file() {
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let (bundle, container) = running(caller.bundle());
        let before = HostState::of(&bundle);
        exec(&bundle, &[], &["/probe", "exit", "7"]).assert_code(7);
        exec(&bundle, &[], &["/bin/sh", "-c", "kill -KILL $$"]).assert_code(137);
        before.assert_unchanged(&bundle);
        let file = bundle.runtime().home().join("exec.pid");
        let flags = ["-d", "--pid-file", file.to_str().unwrap()];
        exec(&bundle, &flags, &["/bin/sleep", "1001"]).assert_ok();
        let pid = fs::read_to_string(file).unwrap();
        let line = || fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        if Kind::under_test() == Kind::Runc {
            // runc writes the pid file before execve(2).
            wait_until("the program is executed", || {
                line().starts_with(b"/bin/sleep")
            });
        }
        assert_eq!(line(), b"/bin/sleep\x001001\0", "{caller_kind:?}");
        let pid = pid.parse().unwrap();
        signal(pid, Signal::SIGKILL);
        wait_gone(pid);
        container.end();
    }
}

fn exec_works_with_a_shared_pid_namespace() {
    differs(Kind::Runc, "it requires a new /proc");
    for caller_kind in [CallerKind::Plain, CallerKind::Manager] {
        let caller = Caller::new(caller_kind);
        let proc = [("/proc", "/proc", &["rbind", "ro"])];
        let bundle = proc.iter().fold(
            caller
                .bundle()
                .without_namespace("pid")
                .without_mount("/proc"),
            |bundle, (from, to, options)| bundle.bind(from.as_ref(), to, *options),
        );
        let bundle = bundle
            .remove("/linux/maskedPaths")
            .remove("/linux/readonlyPaths");
        let (bundle, container) = running(bundle);
        exec(&bundle, &[], &["/probe", "exit", "7"]).assert_code(7);
        container.end();
    }
}

fn another_user_cannot_exec() {
    only_rt("the error text is rt's");
    let caller = Caller::new(CallerKind::Plain);
    let (bundle, _container) = running(caller.bundle());
    let root = bundle.runtime().root();
    let program = bundle.runtime().program();
    let other = OTHER.to_string();
    let command = vec![
        "setpriv",
        "--reuid",
        &other,
        "--regid",
        &other,
        "--clear-groups",
        "--",
        program.to_str().unwrap(),
        "--root",
        root.to_str().unwrap(),
        "exec",
        bundle.id(),
        "/bin/true",
    ];
    let outcome = bundle.runtime().call_as_is(command).run().assert_code(255);
    outcome.one_line();
}

fn root_cannot_exec_in_a_users_container() {
    only_rt("runc trusts the state of a user");
    let caller = Caller::new(CallerKind::Plain);
    let (bundle, _container) = running(caller.bundle());
    let root = bundle.runtime().root();
    let program = bundle.runtime().program();
    let command = vec![
        program.to_str().unwrap(),
        "--root",
        root.to_str().unwrap(),
        "exec",
        bundle.id(),
        "/bin/true",
    ];
    let outcome = bundle.runtime().call_as_is(command).run().assert_code(255);
    outcome.assert_refused("belongs to user 4001").one_line();
}

fn failures_are_reported() {
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let (bundle, container) = running(caller.bundle());
        let before = HostState::of(&bundle);
        let outcome = call(&bundle, &[], &["nosuch"]).run().assert_code(255);
        outcome.assert_refused("executable file not found in $PATH");
        // `spec --rootless` maps only root.
        exec(&bundle, &["-u", "4711"], &["/bin/true"]).assert_code(255);
        before.assert_unchanged(&bundle);
        container.end();
    }
}
