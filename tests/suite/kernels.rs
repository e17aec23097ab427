//! Older kernels: strace makes the system calls fail that they lack, and the container must be the same.
//!
//! Linux 5.10 has neither mount_setattr(2) (5.12) nor cgroup.kill (5.14).

use crate::runner::Test;
use serde_json::{Value, json};

use crate::harness::{
    Bundle, Directory, HostState, Report, Runtime, View, needs_strace, only_rt, trials,
};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        without_mount_setattr_the_mounts_are_the_same,
        without_mount_setattr_bind_mounts_are_the_same,
        without_mount_setattr_recursive_options_are_refused,
        without_mount_setattr_idmapped_mounts_are_refused,
        without_mount_setattr_no_pivot_works,
        without_cgroup_kill_all_processes_are_killed,
    ]
}

/// An `strace` command that makes system calls fail as on the old kernel.
fn strace_failing<'a>(trace: &'a str, inject: &'a str) -> Vec<&'a str> {
    only_rt("the system calls are those of rt");
    needs_strace();
    vec!["strace", "-f", "-o", trace, "-e", inject]
}

const NO_MOUNT_SETATTR: &str = "inject=mount_setattr:error=ENOSYS";

/// The mounts in the probe's report, without values that differ between runs.
fn mounts(report: &Report) -> Vec<Value> {
    let mut seen = report["mounts"].as_array().cloned().unwrap_or_default();
    assert!(!seen.is_empty());
    for mount in &mut seen {
        let mount = mount.as_object_mut().expect("a mount");
        ["id", "parent", "device"]
            .into_iter()
            .for_each(|field| drop(mount.remove(field)));
    }
    seen
}

/// Runs the same bundle on this kernel and on an older one, and compares the mounts.
fn same_mounts(bundle: &Bundle, flags: &[&str]) {
    let bundle_args = ["/probe", "report"];
    assert_eq!(bundle.config().0["process"]["args"], json!(bundle_args));
    let before = HostState::of(bundle);
    let now = bundle.call("run", flags).assert_report();
    let strace = strace_failing("/dev/null", NO_MOUNT_SETATTR);
    let old = bundle.call_through(&strace, "run", flags).assert_report();
    assert_eq!(mounts(&old), mounts(&now));
    before.assert_unchanged(bundle);
}

fn probing() -> Bundle {
    Bundle::new().args(&["/probe", "report"])
}

fn without_mount_setattr_the_mounts_are_the_same() {
    same_mounts(&probing(), &[]);
}

fn without_mount_setattr_bind_mounts_are_the_same() {
    let directory = Directory::new();
    let bundle = ["one", "two", "three"]
        .into_iter()
        .fold(probing(), Bundle::folder);
    let bundle = bundle
        .bind(directory.path(), "/one", &["bind", "ro", "nosuid"])
        .bind(
            directory.path(),
            "/two",
            &["rbind", "rprivate", "nodev", "noexec"],
        )
        .bind(directory.path(), "/three", &["rbind", "rw", "noatime"]);
    same_mounts(&bundle, &[]);
}

fn without_mount_setattr_recursive_options_are_refused() {
    let directory = Directory::new();
    let bundle = probing().bind(directory.path(), "/one", &["rbind", "rro"]);
    let before = HostState::of(&bundle);
    let strace = strace_failing("/dev/null", NO_MOUNT_SETATTR);
    let refused = bundle.call_through(&strace, "run", &[]).run();
    refused.assert_refused("mounts[7].options: recursive options need mount_setattr(2)");
    before.assert_unchanged(&bundle);
}

fn without_mount_setattr_idmapped_mounts_are_refused() {
    let directory = Directory::new();
    let map = json!([{"containerID": 0, "hostID": 1, "size": 1}]);
    let bundle = probing()
        .bind(directory.path(), "/one", &["rbind", "idmap"])
        .set("/mounts/7/uidMappings", map.clone())
        .set("/mounts/7/gidMappings", map);
    let before = HostState::of(&bundle);
    let strace = strace_failing("/dev/null", NO_MOUNT_SETATTR);
    let refused = bundle.call_through(&strace, "run", &[]).run();
    refused.assert_refused("mounts[7].options: idmap: needs mount_setattr(2)");
    before.assert_unchanged(&bundle);
}

fn without_mount_setattr_no_pivot_works() {
    same_mounts(&probing(), &["--no-pivot"]);
}

fn without_cgroup_kill_all_processes_are_killed() {
    let bundle = Bundle::with_runtime(&Runtime::new().view(View::V2))
        .without_namespace("pid")
        .sh("sleep 1000 & sleep 1000 & echo up; wait");
    let before = HostState::of(&bundle);
    let running = bundle.call("run", &[]).start();
    running.wait_for("up");
    let mut strace = strace_failing("/dev/null", "inject=openat:error=ENOENT");
    strace.extend(["-P", "cgroup.kill"]);
    let args = ["kill", bundle.id(), "KILL"];
    bundle
        .runtime()
        .call_through(&strace, &args)
        .run()
        .assert_ok();
    running.wait().assert_code(137);
    before.assert_unchanged(&bundle);
}
