//! Device rules: which devices a container may open, enforced by devices.allow on v1 and by a
//! BPF program on v2.

use crate::runner::Test;
use serde_json::{Value, json};

use crate::harness::{Bundle, Runtime, View, trials};

pub(crate) fn tests() -> Vec<Test> {
    trials![device_rules_decide, device_rules_decide_in_the_v2_view,]
}

fn rule(allow: bool, device: Option<(Option<u32>, Option<u32>)>, access: &str) -> Value {
    let mut rule = json!({ "allow": allow, "access": access });
    if let Some((major, minor)) = device {
        rule["type"] = json!("c");
        if let Some(major) = major {
            rule["major"] = json!(major);
        }
        if let Some(minor) = minor {
            rule["minor"] = json!(minor);
        }
    }
    rule
}

/// Rules that follow "deny all", and the result of opening /dev/fuse (c 10:229) for reading and
/// for writing.
fn device_cases() -> Vec<(Vec<Value>, [&'static str; 2])> {
    let (denied, ok) = ("EPERM", "ok");
    let fuse = Some((Some(10), Some(229)));
    let other = Some((Some(10), Some(230)));
    vec![
        (vec![], [denied, denied]),
        (vec![rule(true, fuse, "r")], [ok, denied]),
        (vec![rule(true, fuse, "w")], [denied, ok]),
        (vec![rule(true, fuse, "rwm")], [ok, ok]),
        (vec![rule(true, other, "rwm")], [denied, denied]),
        (vec![rule(true, Some((Some(10), None)), "rw")], [ok, ok]),
        (vec![rule(true, Some((None, None)), "r")], [ok, denied]),
        (vec![rule(true, None, "rwm")], [ok, ok]),
        (
            vec![rule(true, fuse, "rw"), rule(false, fuse, "w")],
            [ok, denied],
        ),
        (
            vec![rule(true, fuse, "rwm"), rule(false, None, "rwm")],
            [denied, denied],
        ),
    ]
}

fn check_device_rules(runtime: &Runtime) {
    let fuse =
        json!({ "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666 });
    for (rules, expected) in device_cases() {
        let mut all = vec![rule(false, None, "rwm")];
        all.extend(rules);
        let bundle = Bundle::with_runtime(runtime)
            .set("/linux/devices", json!([fuse]))
            .set("/linux/resources/devices", json!(all))
            .sh("/probe device /dev/fuse r; /probe device /dev/fuse w; /probe device /dev/null w");
        let output = bundle.run().assert_ok().stdout;
        let results: Vec<&str> = output.lines().collect();
        assert_eq!(results, [expected[0], expected[1], "ok"], "{all:?}");
    }
}

fn device_rules_decide() {
    check_device_rules(&Runtime::new());
}

fn device_rules_decide_in_the_v2_view() {
    check_device_rules(&Runtime::new().view(View::V2));
}
