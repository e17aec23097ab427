//! Which groups are removed, and when.

use nix::unistd::Pid;
use serde_json::json;

use super::{DEFAULT, TestMount, error, paths};
use crate::resctrl::Record;

const INIT: Pid = Pid::from_raw(7);

/// As state.json keeps it.
fn saved(record: &Record) -> Record {
    let text = serde_json::to_string(record).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn own_groups_are_removed_whoever_is_in_them() {
    let mount = TestMount::new();
    let mut record = saved(mount.created(json!({"enableMonitoring": true})).record());
    record.keep_shared();
    assert_eq!(record.created, paths(["web/mon_groups/web", "web"]));
    mount.empty("web/mon_groups/web");
    record.remove_in(&mount.file_system(), INIT).unwrap_err();
    assert!(!mount.has("web/mon_groups/web"));
    mount.empty("web");
    record.remove_in(&mount.file_system(), INIT).unwrap();
    assert!(!mount.has("web"));
    record.remove_in(&mount.file_system(), INIT).unwrap();
}

#[test]
fn a_shared_group_stays_once_the_container_is_created() {
    let mount = TestMount::new();
    let config = json!({"closID": "a", "l3CacheSchema": "L3:0=f", "enableMonitoring": true});
    let mut record = saved(mount.created(config).record());
    record.keep_shared();
    assert_eq!(record.created, paths(["a/mon_groups/web"]));
    mount.empty("a/mon_groups/web");
    record.remove_in(&mount.file_system(), INIT).unwrap();
    assert!(mount.has("a") && !mount.has("a/mon_groups/web"));
}

#[test]
fn a_group_that_was_found_stays() {
    let mount = TestMount::new();
    mount.fill("a", DEFAULT);
    let record = saved(mount.created(json!({"closID": "a"})).record());
    mount.empty("a");
    record.remove_in(&mount.file_system(), INIT).unwrap();
    assert!(mount.has("a"));
}

#[test]
fn a_shared_group_of_an_unfinished_container_is_removed_unless_another_is_in_it() {
    let mount = TestMount::new();
    let open = mount.created(json!({"closID": "a", "l3CacheSchema": "L3:0=f"}));
    let record = saved(open.record());
    mount.file("a/tasks", "7\n8\n");
    record.remove_in(&mount.file_system(), INIT).unwrap();
    open.undo(INIT).unwrap();
    assert!(mount.has("a"));
    // Its own process, which is not reaped yet, does not count.
    mount.file("a/tasks", "7\n");
    let refused = "linux.intelRdt: remove /sys/fs/resctrl/a: directory not empty (ENOTEMPTY)";
    let removed = record.remove_in(&mount.file_system(), INIT);
    assert_eq!(error(removed), refused);
    mount.empty("a");
    record.remove_in(&mount.file_system(), INIT).unwrap();
    assert!(!mount.has("a"));
}

#[test]
fn nothing_is_removed_where_no_resctrl_is_mounted() {
    let mount = TestMount::new();
    let mut record = saved(mount.created(json!({})).record());
    record.mount = mount.0.clone();
    mount.empty("web");
    record.remove(INIT).unwrap();
    assert!(mount.has("web"));
    let path = mount.0.display();
    let expected = format!("linux.intelRdt: {path}: no resctrl is mounted there");
    assert_eq!(error(record.join(INIT)), expected);
    assert_eq!(record.stats().unwrap(), "{}");
}
