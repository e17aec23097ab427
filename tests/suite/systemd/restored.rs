//! `checkpoint` and `restore` with the systemd driver, on a host that runs systemd.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::checkpoint::Counter;
use crate::harness::{Bundle, HostState, Runtime, skip, trials, wait_until};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![a_restored_container_has_a_scope_again]
}

fn property(unit: &str, name: &str) -> String {
    let mut systemctl = Command::new("systemctl");
    let shown = systemctl.args(["show", "--value", "-p", name, unit]);
    let shown = shown.output().unwrap().stdout;
    String::from_utf8(shown).unwrap().trim().to_owned()
}

fn a_restored_container_has_a_scope_again() {
    if !Path::new("/run/systemd/system").exists() {
        skip("this host does not run systemd");
    }
    let runtime = Runtime::new().global("--systemd-cgroup");
    let bundle = Bundle::with_runtime(&runtime);
    let (id, path) = (bundle.id().to_owned(), "system.slice:rt-restored:");
    let bundle = bundle
        .set("/linux/cgroupsPath", json!(format!("{path}{id}")))
        .set("/linux/resources/pids", json!({ "limit": 77 }));
    let mut counter = Counter::new(bundle);
    let before = HostState::of(&counter.bundle);
    let unit = format!("rt-restored-{id}.scope");
    counter.start();
    assert_eq!(property(&unit, "ActiveState"), "active");
    counter.checkpoint(&[]).assert_ok();
    counter.assert_gone();
    wait_until("the end of the scope", || {
        property(&unit, "ActiveState") == "inactive"
    });
    counter.restore(&[]).assert_ok();
    counter.wait_for_more();
    assert_eq!(property(&unit, "ActiveState"), "active");
    assert_eq!(property(&unit, "TasksMax"), "77");
    let container = counter.bundle.container();
    let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    let expected = format!("/system.slice/{unit}\n");
    assert!(cgroup.contains(&expected), "{cgroup}");
    container.call("pause", &[]).assert_ok();
    container.call("resume", &[]).assert_ok();
    counter.wait_for_more();
    container.delete_force().assert_ok();
    wait_until("the end of the scope", || {
        property(&unit, "ActiveState") == "inactive"
    });
    before.assert_unchanged(&counter.bundle);
}
