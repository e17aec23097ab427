//! Values of the wrong type: what is there, what is wanted, and an example.

use serde_json::json;

use super::assert_lines;
use crate::harness::trials;
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_value_of_the_wrong_type_has_an_example,
        a_value_in_a_section_has_an_example,
        a_relative_path_has_an_absolute_one,
        a_missing_part_is_named_with_an_example,
    ]
}

fn a_value_of_the_wrong_type_has_an_example() {
    assert_lines(&[
        (
            "/process/args",
            json!("sh"),
            r#"process.args: a string; want a list of strings: ["sh", "-c", "true"]"#,
        ),
        (
            "/process/env",
            json!([1]),
            r#"process.env[0]: a number; want a string: "PATH=/bin""#,
        ),
        (
            "/root/readonly",
            json!("yes"),
            "root.readonly: a string; want true or false",
        ),
        (
            "/root",
            json!("rootfs"),
            r#"root: a string; want an object: {"path": "rootfs"}"#,
        ),
        (
            "/linux/resources/pids/limit",
            json!("100"),
            "linux.resources.pids.limit: a string; want a whole number: 100",
        ),
        (
            "/linux/resources/memory/limit",
            json!(0.5),
            "linux.resources.memory.limit: 0.5; want a whole number: 268435456",
        ),
        (
            "/mounts",
            json!({"/tmp": "tmpfs"}),
            r#"mounts: an object; want a list of objects: [{"destination": "/tmp", "type": "tmpfs"}]"#,
        ),
        (
            "/mounts/0/options",
            json!("ro"),
            r#"mounts[0].options: a string; want a list of strings: ["nosuid", "ro"]"#,
        ),
    ]);
}

fn a_value_in_a_section_has_an_example() {
    assert_lines(&[
        (
            "/process/capabilities",
            json!(["CAP_KILL"]),
            r#"process.capabilities: a list; want an object: {"bounding": ["CAP_KILL"]}"#,
        ),
        (
            "/process/capabilities/bounding",
            json!("CAP_KILL"),
            r#"process.capabilities.bounding: a string; want a list of strings: ["CAP_KILL"]"#,
        ),
        (
            "/linux/namespaces",
            json!(["pid"]),
            r#"linux.namespaces[0]: a string; want an object: {"type": "mount"}"#,
        ),
        (
            "/hooks",
            json!({"poststop": {"path": "/bin/true"}}),
            r#"hooks.poststop: an object; want a list of objects: [{"path": "/bin/true"}]"#,
        ),
        (
            "/linux/uidMappings",
            json!([[0, 1000, 1]]),
            r#"linux.uidMappings[0]: a list; want an object: {"containerID": 0, "hostID": 100000, "size": 65536}"#,
        ),
        (
            "/linux/sysctl",
            json!({"net.ipv4.ip_forward": 1}),
            r#"linux.sysctl.net.ipv4.ip_forward: a number; want a string: "1""#,
        ),
        (
            "/annotations",
            json!({"a": true}),
            r#"annotations.a: true; want a string: "text""#,
        ),
        (
            "/process/user/uid",
            json!(-1),
            "process.user.uid: -1 is not between 0 and 4294967295",
        ),
        (
            "/ociVersion",
            json!(1.0),
            r#"ociVersion: a number; want a string: "1.3.0""#,
        ),
    ]);
}

fn a_relative_path_has_an_absolute_one() {
    assert_lines(&[
        (
            "/process/cwd",
            json!("tmp"),
            r#"process.cwd: "tmp" is relative; want an absolute path: /tmp"#,
        ),
        (
            "/linux/maskedPaths",
            json!(["proc/kcore"]),
            r#"linux.maskedPaths[0]: "proc/kcore" is relative; want an absolute path: /proc/kcore"#,
        ),
        (
            "/linux/devices",
            json!([{"type": "p", "path": "dev/pipe"}]),
            r#"linux.devices[0].path: "dev/pipe" is relative; want an absolute path: /dev/pipe"#,
        ),
        (
            "/linux/namespaces/2/path",
            json!("ns/net"),
            r#"linux.namespaces[2].path: "ns/net" is relative; want an absolute path, such as /proc/1/ns/ipc"#,
        ),
        (
            "/hooks/poststop",
            json!([{"path": "true"}]),
            r#"hooks.poststop[0].path: "true" is relative; want an absolute path"#,
        ),
    ]);
}

fn a_missing_part_is_named_with_an_example() {
    assert_lines(&[
        (
            "/process/args",
            json!([]),
            r#"process.args: at least one entry is required: ["sh"]"#,
        ),
        (
            "/process/env",
            json!(["A=1", "PATH"]),
            r#"process.env[1]: "PATH" has no '='; want "NAME=value""#,
        ),
        (
            "/mounts/1",
            json!({"type": "tmpfs"}),
            "mounts[1].destination: required",
        ),
        (
            "/mounts/1",
            json!({"destination": "/tmp"}),
            "mounts[1].type: required, such as \"tmpfs\", unless the options make it a bind mount",
        ),
        (
            "/linux/resources/devices",
            json!([{"allow": true}]),
            r#"linux.resources.devices[0].access: none of r, w, m is given; want some of them: "rwm""#,
        ),
    ]);
}
