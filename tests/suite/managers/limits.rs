//! Checks the cgroups of the container's process, and their resource limits.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::setup::{NODES, Setup, node};
use crate::harness::{Config, Report, cgroup_of, cgroup_top, on_v2};

const CONTROLLERS: [&str; 6] = ["memory", "cpu", "pids", "devices", "cpuset", "freezer"];

pub(super) fn check(setup: &Setup, pid: i32) {
    let own = std::process::id().cast_signed();
    let config = setup.config();
    for controller in CONTROLLERS {
        let cgroup = cgroup_of(pid, controller);
        if setup.is_rootless() {
            // The user owns no cgroup, and the configuration has no cgroupsPath.
            assert_eq!(cgroup, cgroup_of(own, controller), "{controller}");
        } else {
            assert_eq!(cgroup, expected_cgroup(setup, controller), "{controller}");
        }
    }
    if setup.is_rootless() {
        return;
    }
    let resources = Config(config.get("/linux/resources").clone());
    if on_v2() {
        check_v2(&resources, &cgroup_of(pid, ""));
    } else {
        check_v1(&resources, |controller| cgroup_of(pid, controller));
        check_device_list(&resources, &cgroup_of(pid, "devices"));
    }
}

/// The expected cgroup. An absolute cgroupsPath starts at the root of the hierarchy, a relative one at
/// the caller's cgroup (v1) or at its parent (v2). The default is the container's id.
fn expected_cgroup(setup: &Setup, controller: &str) -> PathBuf {
    let top = cgroup_top(controller);
    let default = format!("/{}", setup.bundle.id());
    let path = setup.config().get("/linux/cgroupsPath").as_str();
    let path = path.unwrap_or(&default);
    if let Some(below) = path.strip_prefix('/') {
        return top.join(below);
    }
    let own = cgroup_of(std::process::id().cast_signed(), controller);
    match own.parent() {
        Some(parent) if on_v2() && own != top => parent.join(path),
        _ => own.join(path),
    }
}

fn assert_file(cgroup: &Path, file: &str, expected: &str) {
    let written = fs::read_to_string(cgroup.join(file));
    let written = written.unwrap_or_else(|e| panic!("{}/{file}: {e}", cgroup.display()));
    assert_eq!(written.trim(), expected, "{file}");
}

/// The number at `pointer`. 0 and null set no limit.
fn number(resources: &Config, pointer: &str) -> Option<i64> {
    resources
        .get(pointer)
        .as_i64()
        .filter(|number| *number != 0)
}

fn check_v1(resources: &Config, cgroup: impl Fn(&str) -> PathBuf) {
    for (pointer, controller, file) in [
        ("/memory/limit", "memory", "memory.limit_in_bytes"),
        ("/memory/swap", "memory", "memory.memsw.limit_in_bytes"),
        ("/cpu/shares", "cpu", "cpu.shares"),
        ("/cpu/quota", "cpu", "cpu.cfs_quota_us"),
        ("/cpu/period", "cpu", "cpu.cfs_period_us"),
        ("/pids/limit", "pids", "pids.max"),
    ] {
        if let Some(expected) = number(resources, pointer) {
            assert_file(&cgroup(controller), file, &expected.to_string());
        }
    }
}

/// CPU weights are covered by other tests.
fn check_v2(resources: &Config, cgroup: &Path) {
    let number = |pointer| number(resources, pointer);
    if let Some(limit) = number("/memory/limit") {
        assert_file(cgroup, "memory.max", &limit.to_string());
        if let Some(both) = number("/memory/swap") {
            assert_file(cgroup, "memory.swap.max", &(both - limit).to_string());
        }
    }
    if let Some(quota) = number("/cpu/quota") {
        let period = number("/cpu/period").unwrap_or(100_000);
        assert_file(cgroup, "cpu.max", &format!("{quota} {period}"));
    }
    if let Some(limit) = number("/pids/limit") {
        assert_file(cgroup, "pids.max", &limit.to_string());
    }
}

fn check_device_list(resources: &Config, cgroup: &Path) {
    let list = fs::read_to_string(cgroup.join("devices.list")).unwrap();
    assert!(
        !list.contains("a *:* rwm"),
        "the first rule denies all: {list}"
    );
    for rule in resources.items("/devices").iter().skip(1) {
        let number = |key: &str| {
            let number = rule[key].as_i64();
            number.map_or("*".to_owned(), |number| number.to_string())
        };
        let line = format!("c {}:{} rwm", number("major"), number("minor"));
        let listed = list.lines().any(|entry| entry == line);
        assert_eq!(json!(listed), rule["allow"], "{line} in {list}");
    }
}

/// Asserts the result of creating and opening devices in the container. In a user namespace mknod(2) is
/// not permitted.
pub(super) fn check_devices(setup: &Setup, seen: &Report) {
    let config = setup.config();
    let capabilities = config.items("/process/capabilities/effective");
    if !capabilities.contains(&json!("CAP_MKNOD")) {
        return;
    }
    for (major, minor) in NODES {
        let allowed = !setup.is_rootless() && may_open(config, major, minor);
        let expected = if allowed { "ok" } else { "EPERM" };
        assert_eq!(seen.asked(&node(major, minor)), expected, "{major}:{minor}");
    }
}

/// Whether the device rules allow a device. The last matching rule applies; the devices that every
/// container has are always allowed.
fn may_open(config: &Config, major: u32, minor: u32) -> bool {
    let rules = config.items("/linux/resources/devices").iter();
    let fits = |rule: &&Value| {
        let fits = |key: &str, number: u32| rule[key].is_null() || rule[key] == number;
        fits("major", major) && fits("minor", minor)
    };
    let of_every_container = (major, minor) == (1, 3);
    of_every_container
        || rules
            .rev()
            .find(fits)
            .is_none_or(|rule| rule["allow"] == true)
}
