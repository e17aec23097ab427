//! Containers that share the pid or the mount namespace with the host.

use std::fs;

use crate::runner::Test;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{
    Bundle, HostState, Kind, alive, differs, only_rt, signal, trials, wait_gone, wait_until,
};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        without_a_pid_namespace_kill_ends_every_process,
        without_a_pid_namespace_delete_force_ends_processes_that_outlive_init,
        without_a_mount_namespace_it_runs_by_chroot,
        without_a_mount_namespace_mounts_are_refused,
    ]
}

/// Waits until init has a child, and returns the pids of both.
fn init_and_child(bundle: &Bundle) -> (i32, i32) {
    let pid = bundle.container().pid();
    let path = format!("/proc/{pid}/task/{pid}/children");
    wait_until("the child", || {
        !fs::read_to_string(&path).unwrap_or_default().is_empty()
    });
    let child = fs::read_to_string(&path).unwrap().trim().parse().unwrap();
    (pid, child)
}

fn without_a_pid_namespace_kill_ends_every_process() {
    differs(Kind::Runc, "the old one kills only init without --all");
    let bundle = Bundle::new()
        .without_namespace("pid")
        .args(&["/probe", "spawn-sleep"]);
    let before = HostState::of(&bundle);
    let container = bundle.run_detached();
    let (pid, child) = init_and_child(&bundle);
    assert!(alive(pid) && alive(child));
    container.kill("KILL").assert_ok();
    wait_gone(pid);
    wait_gone(child);
    container.delete().assert_ok();
    before.assert_unchanged(&bundle);
}

fn without_a_pid_namespace_delete_force_ends_processes_that_outlive_init() {
    let bundle = Bundle::new()
        .without_namespace("pid")
        .args(&["/probe", "spawn-sleep"]);
    let before = HostState::of(&bundle);
    let container = bundle.run_detached();
    let (pid, child) = init_and_child(&bundle);
    signal(pid, Signal::SIGKILL);
    wait_gone(pid);
    assert!(alive(child), "the child outlives init");
    container.delete_force().assert_ok();
    wait_gone(child);
    before.assert_unchanged(&bundle);
}

/// A configuration without a mount namespace, mounts, masked or read-only paths.
fn without_mounts() -> Bundle {
    Bundle::new()
        .without_namespace("mount")
        .set("/mounts", json!([]))
        .remove("/linux/maskedPaths")
        .remove("/linux/readonlyPaths")
        .remove("/root/readonly")
}

fn without_a_mount_namespace_it_runs_by_chroot() {
    only_rt("Debian's runc calls pivot_root in the caller's mount namespace");
    let bundle = without_mounts();
    let before = HostState::of(&bundle);
    let seen = bundle.probe();
    assert_eq!((&seen["cwd"], &seen["pid"]), (&json!("/"), &json!(1)));
    let bundle = bundle.args(&["/bin/ls", "/"]);
    let said = bundle.run().assert_ok().stdout;
    assert!(
        said.contains("probe\n") && !said.contains("home\n"),
        "{said}"
    );
    assert_eq!(crate::harness::mountinfo(), before.mounts());
    let bundle = bundle.args(&["/no/such"]);
    bundle.run().assert_refused("");
    assert_eq!(crate::harness::mountinfo(), before.mounts());
}

fn without_a_mount_namespace_mounts_are_refused() {
    only_rt("Debian's runc calls pivot_root in the caller's mount namespace");
    let tmpfs = json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs" });
    let cases = [
        ("/mounts", json!([tmpfs]), "mounts"),
        ("/linux/maskedPaths", json!(["/etc/passwd"]), "maskedPaths"),
        ("/linux/readonlyPaths", json!(["/etc"]), "readonlyPaths"),
        ("/root/readonly", json!(true), "readonly"),
    ];
    for (pointer, value, name) in cases {
        let bundle = without_mounts().set(pointer, value).args(&["/bin/true"]);
        let before = HostState::of(&bundle);
        bundle.run().assert_refused(name).one_line();
        before.assert_unchanged(&bundle);
    }
}
