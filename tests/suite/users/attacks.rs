//! Attacks by root of a user namespace, and a runtime that is killed.

use crate::runner::Test;
use serde_json::json;

use super::{COUNT, FIRST, mapped, mappings};
use crate::harness::{Bundle, Holder, needs_strace, only_rt, trials};
use crate::security::sweep;

pub(super) fn tests() -> Vec<Test> {
    trials![
        delete_force_cleans_up_after_create_is_killed_at_any_point,
        delete_force_cleans_up_after_create_with_an_intermediate_process_is_killed,
        delete_force_cleans_up_after_delete_is_killed_at_any_point,
        root_of_a_joined_user_namespace_cannot_read_the_runtime,
    ]
}

fn delete_force_cleans_up_after_create_is_killed_at_any_point() {
    sweep(mapped(), "create", |_| ());
}

/// With a joined user namespace an intermediate process clones init.
fn delete_force_cleans_up_after_create_with_an_intermediate_process_is_killed() {
    let maps = format!("0 {FIRST} {COUNT}");
    let holder = Holder::with_maps(&["--user", "--net"], &maps, &maps);
    let bundle = Bundle::new()
        .namespace("user", Some(&holder.path("user")))
        .namespace("network", Some(&holder.path("net")));
    sweep(bundle, "create", |_| ());
    // With a new user namespace beside a joined network namespace, the intermediate process
    // waits for its id maps.
    let bundle = mapped().without_mount("/sys");
    let bundle = bundle.without_mount("/sys/fs/cgroup");
    sweep(
        bundle.namespace("network", Some(&holder.path("net"))),
        "run",
        |_| (),
    );
}

fn delete_force_cleans_up_after_delete_is_killed_at_any_point() {
    sweep(mapped(), "delete", |bundle| {
        bundle.call("create", &[]).run().assert_ok();
    });
}

/// CVE-2016-9962: a process of the container reads a process of the runtime that has entered
/// the container but not called execve(2) yet. The watcher has all capabilities in the joined
/// user namespace.
fn root_of_a_joined_user_namespace_cannot_read_the_runtime() {
    only_rt("an old runc executes itself, and crun is not protected");
    needs_strace();
    let all = [
        "CAP_SYS_PTRACE",
        "CAP_SYS_ADMIN",
        "CAP_DAC_READ_SEARCH",
        "CAP_DAC_OVERRIDE",
    ];
    let watcher = mapped().capabilities(&all).args(&["/probe", "watch"]);
    let container = watcher.run_detached();
    container.wait_for("ready");
    let pid = container.pid();
    let link = |kind: &str| format!("/proc/{pid}/ns/{kind}");
    let member = Bundle::new()
        .remove("/hostname")
        .namespace("user", Some(&link("user")))
        .namespace("pid", Some(&link("pid")))
        .namespace("network", Some(&link("net")))
        .namespace("uts", Some(&link("uts")))
        .set("/linux/uidMappings", mappings(&[(0, FIRST, COUNT)]))
        .set("/linux/gidMappings", mappings(&[(0, FIRST, COUNT)]))
        .set("/process/noNewPrivileges", json!(false));
    let busybox = member.args(&["/bin/sleep", "0.05"]);
    for _ in 0..60 {
        busybox.run().assert_ok();
    }
    let said = container.stdout();
    let seen: Vec<&str> = said.lines().collect();
    assert_eq!(
        seen,
        ["ready", "/bin/busybox"],
        "the watcher must have seen busybox and nothing else"
    );
    // The watcher sees a runtime whose calls of prctl(2) have no effect.
    let without_prctl = [
        "strace",
        "-f",
        "-o",
        "/dev/null",
        "-e",
        "inject=prctl:retval=0",
    ];
    drop(busybox.call_through(&without_prctl, "run", &[]).run());
    let said = container.stdout();
    // The runtime's file is the root of a detached mount, so its path is "/".
    let seen = said.lines().any(|line| line == "/");
    assert!(seen, "{said}");
}
