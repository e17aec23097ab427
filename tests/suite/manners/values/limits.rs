//! Numbers out of range, ids without mapping, and values that exclude each other.

use serde_json::{Value, json};

use super::{assert_line, assert_lines};
use crate::harness::{Bundle, only_rt, trials};
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_number_out_of_range_is_named_with_the_range,
        a_value_that_excludes_another_is_named_with_it,
        an_id_without_mapping_is_named_with_those_that_are_mapped,
        wrong_mappings_are_named_with_the_remedy,
        a_setting_of_a_namespace_that_is_missing_names_the_entry_to_add,
    ]
}

fn a_number_out_of_range_is_named_with_the_range() {
    let long = "x".repeat(70);
    assert_lines(&[
        (
            "/process/oomScoreAdj",
            json!(1001),
            "process.oomScoreAdj: 1001 is not between -1000 and 1000",
        ),
        (
            "/process/user/umask",
            json!(512),
            "process.user.umask: 512 is not between 0 and 511 (octal 777)",
        ),
        (
            "/process/user/gid",
            json!(u32::MAX),
            "process.user.gid: 4294967295 is not between 0 and 4294967294",
        ),
        (
            "/hostname",
            json!(long),
            "hostname: 70 bytes long; at most 64 are allowed",
        ),
        (
            "/linux/timeOffsets",
            json!({"boottime": {"nanosecs": 1_000_000_000}}),
            "linux.timeOffsets.boottime.nanosecs: 1000000000 is not between 0 and 999999999",
        ),
        (
            "/linux/devices",
            json!([{"type": "c", "path": "/dev/x", "major": 4096, "minor": 0}]),
            "linux.devices[0].major: 4096 is not between 0 and 4095",
        ),
        (
            "/linux/devices",
            json!([{"type": "c", "path": "/dev/x", "major": 1, "minor": -1}]),
            "linux.devices[0].minor: -1 is not between 0 and 1048575",
        ),
        (
            "/linux/resources/devices",
            json!([{"allow": true, "type": "c", "major": -2, "access": "r"}]),
            "linux.resources.devices[0].major: -2 is neither between 0 and 4294967294 nor -1 (any)",
        ),
        (
            "/hooks/poststop",
            json!([{"path": "/bin/true", "timeout": 0}]),
            "hooks.poststop[0].timeout: 0 is not at least 1 (second); leave it out for no limit",
        ),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}),
            "linux.seccomp.defaultErrnoRet: 4096 is not between 0 and 4095",
        ),
        (
            "/linux/resources/memory/swappiness",
            json!(101),
            "linux.resources.memory.swappiness: 101 is not between 0 and 100",
        ),
    ]);
}

fn a_value_that_excludes_another_is_named_with_it() {
    let limit = json!({"type": "RLIMIT_CORE", "soft": 1, "hard": 1});
    assert_lines(&[
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_CORE", "soft": 20, "hard": 10}]),
            "process.rlimits[0]: RLIMIT_CORE: soft limit 20 is above the hard limit 10",
        ),
        (
            "/process/rlimits",
            json!([limit, limit]),
            "process.rlimits[1]: RLIMIT_CORE is listed twice: remove it, or process.rlimits[0]",
        ),
        (
            "/linux/namespaces/-",
            json!({"type": "pid"}),
            "linux.namespaces[5]: duplicate namespace type \"pid\": remove it, or linux.namespaces[0]",
        ),
        (
            "/linux/resources/memory",
            json!({"limit": 4096, "swap": 10}),
            "linux.resources.memory.swap: 10 counts memory and swap together, and is less than the memory limit 4096",
        ),
    ]);
}

/// A bundle with a new user namespace.
fn mapped(ranges: &[(u32, u32, u32)]) -> Bundle {
    let range = |(container_id, host_id, size): &(u32, u32, u32)| json!({"containerID": container_id, "hostID": host_id, "size": size});
    let maps: Value = ranges.iter().map(range).collect();
    Bundle::new()
        .namespace("user", None)
        .set("/linux/uidMappings", maps.clone())
        .set("/linux/gidMappings", maps)
}

fn an_id_without_mapping_is_named_with_those_that_are_mapped() {
    only_rt("the texts are those of rt");
    assert_line(
        &mapped(&[(0, 100_000, 1000)]).user(1000, 0),
        "process.user.uid: 1000 is not mapped in linux.uidMappings: map it, or use an id from 0 to 999",
    );
    assert_line(
        &mapped(&[(0, 1000, 1), (10, 100_000, 5)]).user(0, 7),
        "process.user.gid: 7 is not mapped in linux.gidMappings: map it, or use 0, or an id from 10 to 14",
    );
}

fn wrong_mappings_are_named_with_the_remedy() {
    only_rt("the texts are those of rt");
    assert_line(
        &mapped(&[(0, 100_000, 5), (4, 200_000, 2)]),
        "linux.uidMappings[1]: overlaps [0]: containerID 4 to 5, and 0 to 4",
    );
    assert_line(
        &mapped(&[(0, 100_000, 5), (5, 100_004, 2)]),
        "linux.uidMappings[1]: overlaps [0]: hostID 100004 to 100005, and 100000 to 100004",
    );
    assert_line(
        &mapped(&[(0, 100_000, 0)]),
        "linux.uidMappings[0].size: 0 maps no id; want at least 1",
    );
    assert_line(
        &Bundle::new().namespace("user", None),
        r#"linux.uidMappings: required with a new user namespace, such as [{"containerID": 0, "hostID": 100000, "size": 65536}]"#,
    );
    assert_line(
        &mapped(&[(0, 100_000, 5)]).without_namespace("user"),
        r#"linux.uidMappings: needs a user namespace: add {"type": "user"} to linux.namespaces"#,
    );
}

fn a_setting_of_a_namespace_that_is_missing_names_the_entry_to_add() {
    only_rt("the texts are those of rt");
    assert_line(
        &Bundle::new().without_namespace("uts").hostname("web"),
        r#"hostname: needs a uts namespace, because the container shares the host's: add {"type": "uts"} to linux.namespaces"#,
    );
    let sysctl = json!({"net.ipv4.ip_forward": "1"});
    assert_line(
        &Bundle::new()
            .without_namespace("network")
            .set("/linux/sysctl", sysctl),
        r#"linux.sysctl: net.ipv4.ip_forward: needs a network namespace, because the container shares the host's: add {"type": "network"} to linux.namespaces"#,
    );
    assert_line(
        &Bundle::new().set("/linux/timeOffsets", json!({"boottime": {"secs": 1}})),
        r#"linux.timeOffsets: needs a new time namespace: add {"type": "time"} to linux.namespaces"#,
    );
}
