//! Groups that are found, made and joined.

use std::fs;

use nix::errno::Errno;
use nix::unistd::Pid;
use serde_json::json;

use super::{DEFAULT, TestMount, error, paths, plan, written};
use crate::resctrl::file_system::FileSystem;

const INIT: Pid = Pid::from_raw(7);

#[test]
fn only_a_mounted_resctrl_is_accepted() {
    let mount = TestMount::new();
    assert!(FileSystem::open(&mount.0).unwrap().is_none());
    assert!(FileSystem::open(&mount.0.join("absent")).unwrap().is_none());
    let path = mount.0.display();
    let expected = format!("linux.intelRdt: {path}: no resctrl is mounted there");
    assert_eq!(error(FileSystem::require(&mount.0)), expected);
}

#[test]
fn a_group_of_the_container_is_made_with_its_values_in_order() {
    let mount = TestMount::new();
    let group = plan(json!({
        "schemata": ["L2:0=f", "L3:1=1f"], "memBwSchema": "MB:0=20", "l3CacheSchema": "L3:0=7f0;1=ff",
    }));
    let group = group.unwrap();
    let mut open = group.open_in(mount.file_system()).unwrap();
    assert_eq!(open.record().created, paths(["web"]));
    assert!(!mount.has("web"));
    let directory = open.record.created.pop().unwrap();
    group.make(&mut open, directory).unwrap();
    mount.fill("web", DEFAULT);
    let mut pipe = mount.record_writes("web/schemata");
    group.write_settings(&open).unwrap();
    let in_order = "L3:0=7f0;1=ff\nMB:0=20\nL2:0=f\nL3:1=1f\n";
    assert_eq!(written(&mut pipe), in_order);
    open.join(INIT).unwrap();
    assert_eq!(mount.text("web/tasks"), "7");
}

#[test]
fn without_values_the_schemata_are_not_written() {
    let mount = TestMount::new();
    let open = mount.created(json!({}));
    assert_eq!(open.record().created, paths(["web"]));
    assert_eq!(mount.text("web/schemata"), DEFAULT);
}

#[test]
fn a_group_with_the_containers_id_that_exists_is_refused() {
    let mount = TestMount::new();
    mount.fill("web", DEFAULT);
    let expected = "linux.intelRdt: /sys/fs/resctrl/web exists, and is not the container's; \
                    remove it with rmdir, or name it in closID";
    assert_eq!(error(mount.open(json!({}))), expected);
    fs::remove_dir_all(mount.0.join("web")).unwrap();
    // It is made meanwhile.
    let group = plan(json!({})).unwrap();
    let mut open = group.open_in(mount.file_system()).unwrap();
    mount.fill("web", DEFAULT);
    let expected = "linux.intelRdt: make /sys/fs/resctrl/web: file exists (EEXIST)";
    assert_eq!(error(group.wire(&mut open)), expected);
    open.undo(INIT).unwrap();
    assert!(mount.has("web"));
}

#[test]
fn a_clos_id_alone_needs_a_group_that_exists() {
    let mount = TestMount::new();
    let config = json!({"closID": "a"});
    let expected = "linux.intelRdt.closID: /sys/fs/resctrl/a: no such group; \
                    make it, or set schemata, with which rt makes it";
    assert_eq!(error(mount.open(config.clone())), expected);
    mount.fill("a", DEFAULT);
    let open = mount.created(config);
    assert_eq!(open.record().created, paths([]));
    assert_eq!(mount.text("a/tasks"), "7");
    let expected = "linux.intelRdt.closID: /sys/fs/resctrl/tasks: not a directory (ENOTDIR)";
    assert_eq!(error(mount.open(json!({"closID": "tasks"}))), expected);
}

#[test]
fn a_clos_id_with_values_is_made_if_it_is_missing() {
    let mount = TestMount::new();
    let open = mount.created(json!({"closID": "a", "l3CacheSchema": "L3:0=f"}));
    assert_eq!(open.record().created, paths(["a"]));
    assert_eq!(open.record().l3_cache_schema.as_deref(), Some("L3:0=f"));
    assert!(mount.text("a/schemata").starts_with("L3:0=f\n"));
    assert_eq!(mount.text("a/tasks"), "7");
}

#[test]
fn the_default_group_is_the_root() {
    let mount = TestMount::new();
    let config = json!({"closID": "/", "l3CacheSchema": "L3:0=7ff", "enableMonitoring": true});
    let open = mount.created(config);
    assert_eq!(open.record().created, paths(["mon_groups/web"]));
    assert_eq!(mount.text("tasks"), "7");
    assert_eq!(mount.text("mon_groups/web/tasks"), "7");
    assert_eq!(mount.text("schemata"), DEFAULT);
}

#[test]
fn a_monitoring_group_is_made_in_the_control_group() {
    let mount = TestMount::new();
    let open = mount.created(json!({"enableMonitoring": true}));
    assert_eq!(open.record().created, paths(["web/mon_groups/web", "web"]));
    assert_eq!(mount.text("web/tasks"), "7");
    assert_eq!(mount.text("web/mon_groups/web/tasks"), "7");
}

#[test]
fn a_monitoring_group_that_cannot_be_made_is_an_error() {
    let place = "linux.intelRdt.enableMonitoring";
    let mount = TestMount::new();
    mount.fill("a/mon_groups/web", "");
    let config = json!({"closID": "a", "enableMonitoring": true});
    let expected = format!(
        "{place}: /sys/fs/resctrl/a/mon_groups/web exists, and is not the container's; remove it with rmdir"
    );
    assert_eq!(error(mount.open(config.clone())), expected);
    fs::remove_dir_all(mount.0.join("a/mon_groups/web")).unwrap();
    let group = plan(config.clone()).unwrap();
    let mut open = group.open_in(mount.file_system()).unwrap();
    fs::remove_dir_all(mount.0.join("a/mon_groups")).unwrap();
    let expected = format!("{place}: make /sys/fs/resctrl/a/mon_groups/web: not found (ENOENT)");
    assert_eq!(error(group.wire(&mut open)), expected);
    assert_eq!(open.record().created, paths([]));
    fs::remove_dir(mount.0.join("mon_groups")).unwrap();
    let expected = format!("{place}: /sys/fs/resctrl has no mon_groups: this host cannot monitor");
    assert_eq!(error(mount.open(config)), expected);
}

#[test]
fn a_failure_names_the_value_and_leaves_no_group() {
    let mount = TestMount::new();
    let group = plan(json!({"schemata": ["L3:0=f"]})).unwrap();
    let mut open = group.open_in(mount.file_system()).unwrap();
    // There is no kernel to make the files.
    let expected = "linux.intelRdt.schemata[0]: write \"L3:0=f\" to /sys/fs/resctrl/web/schemata: not found (ENOENT)";
    assert_eq!(error(group.wire(&mut open)), expected);
    assert!(mount.has("web"));
    let expected = "linux.intelRdt: write \"7\" to /sys/fs/resctrl/web/tasks: not found (ENOENT)";
    assert_eq!(error(open.join(INIT)), expected);
    open.undo(INIT).unwrap();
    assert!(!mount.has("web"));
}

#[test]
fn the_reason_of_the_kernel_is_a_hint() {
    let mount = TestMount::new();
    let refusal = |errno| crate::log::format_error(&mount.file_system().refusal(errno));
    assert_eq!(refusal(Errno::EINVAL), "invalid argument (EINVAL)");
    mount.file("info/last_cmd_status", "Out of CLOSIDs\n");
    let with_reason = "no space left on device (ENOSPC; Out of CLOSIDs)";
    assert_eq!(refusal(Errno::ENOSPC), with_reason);
    assert_eq!(refusal(Errno::ENOENT), "not found (ENOENT)");
}
