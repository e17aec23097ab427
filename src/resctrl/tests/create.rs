//! Groups that are found, made and joined.

use std::fs;

use nix::errno::Errno;
use nix::unistd::Pid;
use serde_json::json;

use super::{DEFAULT, Tree, error, paths, plan, written};
use crate::resctrl::file_system::FileSystem;

const INIT: Pid = Pid::from_raw(7);

#[test]
fn only_a_mounted_resctrl_is_accepted() {
    let tree = Tree::new();
    assert!(FileSystem::open(&tree.0).unwrap().is_none());
    assert!(FileSystem::open(&tree.0.join("absent")).unwrap().is_none());
    let path = tree.0.display();
    let expected = format!("linux.intelRdt: {path}: no resctrl is mounted there");
    assert_eq!(error(FileSystem::require(&tree.0)), expected);
}

#[test]
fn a_group_of_the_container_is_made_with_its_values_in_order() {
    let tree = Tree::new();
    let group = plan(json!({
        "schemata": ["L2:0=f", "L3:1=1f"], "memBwSchema": "MB:0=20", "l3CacheSchema": "L3:0=7f0;1=ff",
    }));
    let group = group.unwrap();
    let mut open = group.open_in(tree.file_system()).unwrap();
    assert_eq!(open.record().created, paths(["web"]));
    assert!(!tree.has("web"));
    let directory = open.record.created.pop().unwrap();
    group.make(&mut open, directory).unwrap();
    tree.fill("web", DEFAULT);
    let mut pipe = tree.record_writes("web/schemata");
    group.write_settings(&open).unwrap();
    let in_order = "L3:0=7f0;1=ff\nMB:0=20\nL2:0=f\nL3:1=1f\n";
    assert_eq!(written(&mut pipe), in_order);
    open.join(INIT).unwrap();
    assert_eq!(tree.text("web/tasks"), "7");
}

#[test]
fn without_values_the_schemata_are_not_written() {
    let tree = Tree::new();
    let open = tree.created(json!({}));
    assert_eq!(open.record().created, paths(["web"]));
    assert_eq!(tree.text("web/schemata"), DEFAULT);
}

#[test]
fn a_group_with_the_containers_id_that_exists_is_refused() {
    let tree = Tree::new();
    tree.fill("web", DEFAULT);
    let expected = "linux.intelRdt: /sys/fs/resctrl/web exists, and is not the container's; \
                    remove it with rmdir, or name it in closID";
    assert_eq!(error(tree.open(json!({}))), expected);
    fs::remove_dir_all(tree.0.join("web")).unwrap();
    // It is made meanwhile.
    let group = plan(json!({})).unwrap();
    let mut open = group.open_in(tree.file_system()).unwrap();
    tree.fill("web", DEFAULT);
    let expected = "linux.intelRdt: make /sys/fs/resctrl/web: file exists (EEXIST)";
    assert_eq!(error(group.wire(&mut open)), expected);
    open.undo(INIT).unwrap();
    assert!(tree.has("web"));
}

#[test]
fn a_clos_id_alone_needs_a_group_that_exists() {
    let tree = Tree::new();
    let config = json!({"closID": "a"});
    let expected = "linux.intelRdt.closID: /sys/fs/resctrl/a: no such group; \
                    make it, or set schemata, with which rt makes it";
    assert_eq!(error(tree.open(config.clone())), expected);
    tree.fill("a", DEFAULT);
    let open = tree.created(config);
    assert_eq!(open.record().created, paths([]));
    assert_eq!(tree.text("a/tasks"), "7");
    let expected = "linux.intelRdt.closID: /sys/fs/resctrl/tasks: not a directory (ENOTDIR)";
    assert_eq!(error(tree.open(json!({"closID": "tasks"}))), expected);
}

#[test]
fn a_clos_id_with_values_is_made_if_it_is_missing() {
    let tree = Tree::new();
    let open = tree.created(json!({"closID": "a", "l3CacheSchema": "L3:0=f"}));
    assert_eq!(open.record().created, paths(["a"]));
    assert_eq!(open.record().l3_cache_schema.as_deref(), Some("L3:0=f"));
    assert!(tree.text("a/schemata").starts_with("L3:0=f\n"));
    assert_eq!(tree.text("a/tasks"), "7");
}

#[test]
fn the_default_group_is_the_root() {
    let tree = Tree::new();
    let config = json!({"closID": "/", "l3CacheSchema": "L3:0=7ff", "enableMonitoring": true});
    let open = tree.created(config);
    assert_eq!(open.record().created, paths(["mon_groups/web"]));
    assert_eq!(tree.text("tasks"), "7");
    assert_eq!(tree.text("mon_groups/web/tasks"), "7");
    assert_eq!(tree.text("schemata"), DEFAULT);
}

#[test]
fn a_monitoring_group_is_made_in_the_control_group() {
    let tree = Tree::new();
    let open = tree.created(json!({"enableMonitoring": true}));
    assert_eq!(open.record().created, paths(["web/mon_groups/web", "web"]));
    assert_eq!(tree.text("web/tasks"), "7");
    assert_eq!(tree.text("web/mon_groups/web/tasks"), "7");
}

#[test]
fn a_monitoring_group_that_cannot_be_made_is_an_error() {
    let place = "linux.intelRdt.enableMonitoring";
    let tree = Tree::new();
    tree.fill("a/mon_groups/web", "");
    let config = json!({"closID": "a", "enableMonitoring": true});
    let expected = format!(
        "{place}: /sys/fs/resctrl/a/mon_groups/web exists, and is not the container's; remove it with rmdir"
    );
    assert_eq!(error(tree.open(config.clone())), expected);
    fs::remove_dir_all(tree.0.join("a/mon_groups/web")).unwrap();
    let group = plan(config.clone()).unwrap();
    let mut open = group.open_in(tree.file_system()).unwrap();
    fs::remove_dir_all(tree.0.join("a/mon_groups")).unwrap();
    let expected = format!("{place}: make /sys/fs/resctrl/a/mon_groups/web: not found (ENOENT)");
    assert_eq!(error(group.wire(&mut open)), expected);
    assert_eq!(open.record().created, paths([]));
    fs::remove_dir(tree.0.join("mon_groups")).unwrap();
    let expected = format!("{place}: /sys/fs/resctrl has no mon_groups: this host cannot monitor");
    assert_eq!(error(tree.open(config)), expected);
}

#[test]
fn a_failure_names_the_value_and_leaves_no_group() {
    let tree = Tree::new();
    let group = plan(json!({"schemata": ["L3:0=f"]})).unwrap();
    let mut open = group.open_in(tree.file_system()).unwrap();
    // There is no kernel to make the files.
    let expected = "linux.intelRdt.schemata[0]: write \"L3:0=f\" to /sys/fs/resctrl/web/schemata: not found (ENOENT)";
    assert_eq!(error(group.wire(&mut open)), expected);
    assert!(tree.has("web"));
    let expected = "linux.intelRdt: write \"7\" to /sys/fs/resctrl/web/tasks: not found (ENOENT)";
    assert_eq!(error(open.join(INIT)), expected);
    open.undo(INIT).unwrap();
    assert!(!tree.has("web"));
}

#[test]
fn the_reason_of_the_kernel_is_a_hint() {
    let tree = Tree::new();
    let refusal = |errno| crate::log::format_error(&tree.file_system().refusal(errno));
    assert_eq!(refusal(Errno::EINVAL), "invalid argument (EINVAL)");
    tree.file("info/last_cmd_status", "Out of CLOSIDs\n");
    let with_reason = "no space left on device (ENOSPC; Out of CLOSIDs)";
    assert_eq!(refusal(Errno::ENOSPC), with_reason);
    assert_eq!(refusal(Errno::ENOENT), "not found (ENOENT)");
}
