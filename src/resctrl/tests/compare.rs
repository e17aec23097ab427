//! The values of a control group that exists.

use nix::unistd::Pid;
use serde_json::{Value, json};

use super::{TestMount, error, paths, plan};

const PRESENT: &str = "    MB:0=  30;1= 100\nL3DATA:0=00ff;1=7ff\n    L3:0=0f0;1=7ff\n";

/// The container's `linux.intelRdt` with this `closID`.
fn with_clos_id(name: &str, mut config: Value) -> Value {
    config["closID"] = json!(name);
    config
}

#[test]
fn values_are_compared_as_numbers_of_the_domains_that_are_named() {
    let mount = TestMount::new();
    mount.fill("a", PRESENT);
    for same in [
        json!({"l3CacheSchema": "L3:0=f0;1=7ff"}),
        json!({"l3CacheSchema": "L3: 1=7FF; 0=00F0;"}),
        json!({"l3CacheSchema": "L3:1=0x7ff"}),
        json!({"l3CacheSchema": "L3DATA:0=ff\nL3:0=f0", "memBwSchema": "MB:0=30"}),
        // The kernel rounds up to multiples of 10.
        json!({"memBwSchema": "MB:0=21;1=100"}),
        // The last value counts.
        json!({"l3CacheSchema": "L3:0=1", "schemata": ["L3:0=f0"]}),
    ] {
        let text = same.to_string();
        let open = mount.open(with_clos_id("a", same)).expect(&text);
        assert_eq!(open.record().created, paths([]));
    }
    mount
        .open(json!({"closID": "/", "memBwSchema": "MB:1=100"}))
        .unwrap();
    assert_eq!(mount.text("a/schemata"), PRESENT);
}

#[test]
fn another_value_is_an_error_with_both() {
    let mount = TestMount::new();
    mount.fill("a", PRESENT);
    let differs = "set the values that it has, or another closID";
    for (name, config, expected) in [
        (
            "a",
            json!({"l3CacheSchema": "L3:0=ff"}),
            "l3CacheSchema: /sys/fs/resctrl/a exists and has L3:0=0f0, not L3:0=ff; ",
        ),
        (
            "a",
            json!({"schemata": ["L3:0=f0", "MB:0=31"]}),
            "schemata[1]: /sys/fs/resctrl/a exists and has MB:0=30, not MB:0=31; ",
        ),
        (
            "/",
            json!({"memBwSchema": "MB:0=30"}),
            "memBwSchema: /sys/fs/resctrl exists and has MB:0=100, not MB:0=30; ",
        ),
    ] {
        let refused = error(mount.open(with_clos_id(name, config)));
        assert_eq!(refused, format!("linux.intelRdt.{expected}{differs}"));
    }
    for (config, expected) in [
        (
            json!({"memBwSchema": "MB:2=30"}),
            "memBwSchema: /sys/fs/resctrl/a has no MB:2",
        ),
        (
            json!({"schemata": ["L2:0=f"]}),
            "schemata[0]: /sys/fs/resctrl/a has no L2:0",
        ),
    ] {
        let refused = error(mount.open(with_clos_id("a", config)));
        assert_eq!(refused, format!("linux.intelRdt.{expected}"));
    }
}

#[test]
fn a_shared_group_that_is_made_meanwhile_is_compared() {
    let mount = TestMount::new();
    let group = plan(json!({"closID": "a", "l3CacheSchema": "L3:0=7f0"})).unwrap();
    let open = || group.open_in(mount.file_system()).unwrap();
    let (mut same, mut different) = (open(), open());
    mount.fill("a", "L3:0=7f0\n");
    group.wire(&mut same).unwrap();
    assert_eq!(same.record().created, paths([]));
    mount.file("a/schemata", "L3:0=7ff\n");
    let refused = error(group.wire(&mut different));
    assert!(refused.contains("has L3:0=7ff, not L3:0=7f0"), "{refused}");
    different.undo(Pid::from_raw(0)).unwrap();
    assert!(mount.has("a"));
}
