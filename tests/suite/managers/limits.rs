//! Where the container's process is kept, and its limits as the kernel holds them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::scene::{NODES, Scene, node};
use crate::harness::{Config, Report, cgroup_of, cgroup_top, on_v2};

const CONTROLLERS: [&str; 6] = ["memory", "cpu", "pids", "devices", "cpuset", "freezer"];

pub(super) fn confirm(scene: &Scene, pid: i32) {
    let own = std::process::id().cast_signed();
    let config = scene.config();
    for controller in CONTROLLERS {
        let place = cgroup_of(pid, controller);
        if scene.is_rootless() {
            // Nobody has given the user a cgroup, and the configuration names none.
            assert_eq!(place, cgroup_of(own, controller), "{controller}");
        } else {
            assert_eq!(place, expected(scene, controller), "{controller}");
        }
    }
    if scene.is_rootless() {
        return;
    }
    let resources = Config(config.get("/linux/resources").clone());
    if on_v2() {
        on_version_2(&resources, &cgroup_of(pid, ""));
    } else {
        on_version_1(&resources, |controller| cgroup_of(pid, controller));
        device_list(&resources, &cgroup_of(pid, "devices"));
    }
}

/// An absolute path starts at the top, a relative one at the caller's cgroup (version 2: beside it),
/// and the name is the container's where there is none.
fn expected(scene: &Scene, controller: &str) -> PathBuf {
    let top = cgroup_top(controller);
    let default = format!("/{}", scene.bundle.id());
    let path = scene.config().get("/linux/cgroupsPath").as_str();
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

fn assert_file(cgroup: &Path, file: &str, wanted: &str) {
    let written = fs::read_to_string(cgroup.join(file));
    let written = written.unwrap_or_else(|e| panic!("{}/{file}: {e}", cgroup.display()));
    assert_eq!(written.trim(), wanted, "{file}");
}

/// Nulls and zeros ask for nothing.
fn number(resources: &Config, pointer: &str) -> Option<i64> {
    resources
        .get(pointer)
        .as_i64()
        .filter(|number| *number != 0)
}

fn on_version_1(resources: &Config, cgroup: impl Fn(&str) -> PathBuf) {
    for (pointer, controller, file) in [
        ("/memory/limit", "memory", "memory.limit_in_bytes"),
        ("/memory/swap", "memory", "memory.memsw.limit_in_bytes"),
        ("/cpu/shares", "cpu", "cpu.shares"),
        ("/cpu/quota", "cpu", "cpu.cfs_quota_us"),
        ("/cpu/period", "cpu", "cpu.cfs_period_us"),
        ("/pids/limit", "pids", "pids.max"),
    ] {
        if let Some(wanted) = number(resources, pointer) {
            assert_file(&cgroup(controller), file, &wanted.to_string());
        }
    }
}

/// Weights have tests of their own.
fn on_version_2(resources: &Config, cgroup: &Path) {
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

fn device_list(resources: &Config, cgroup: &Path) {
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
        let there = list.lines().any(|entry| entry == line);
        assert_eq!(json!(there), rule["allow"], "{line} in {list}");
    }
}

/// What the process itself is told when it makes a device and opens it. Nobody makes devices in a user
/// namespace.
pub(super) fn confirm_devices(scene: &Scene, seen: &Report) {
    let config = scene.config();
    let capabilities = config.items("/process/capabilities/effective");
    if !capabilities.contains(&json!("CAP_MKNOD")) {
        return;
    }
    for (major, minor) in NODES {
        let may = !scene.is_rootless() && may_open(config, major, minor);
        let verdict = if may { "ok" } else { "EPERM" };
        assert_eq!(seen.asked(&node(major, minor)), verdict, "{major}:{minor}");
    }
}

/// The last rule that fits decides, after those for the devices that every container has.
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
