//! The limits that have a place in a list or an object of the configuration: their settings in
//! both versions, and the errors.

use super::resources;
use crate::cgroups::plan::limits::Limits;
use crate::cgroups::plan::setting::Setting;
use crate::cgroups::{v1, v2};

/// `PLACE below linux.resources: FILE VALUE` for each setting, or the error.
fn plan(version: u8, json: &str) -> Result<Vec<String>, String> {
    let limits = Limits::plan(Some(&resources(json)));
    let settings = limits.and_then(|limits| match version {
        1 => v1::settings::settings(&limits),
        _ => v2::settings::settings(&limits),
    });
    let line = |setting: &Setting| {
        let place = setting.place().replace("linux.resources.", "");
        format!("{place}: {} {}", setting.file, setting.value)
    };
    let lines = settings.map(|settings| settings.iter().map(line).collect());
    lines.map_err(|error| error.to_string().replace("linux.resources.", ""))
}

#[track_caller]
fn check(version: u8, json: &str, expected: &[&str]) {
    let planned = plan(version, json).unwrap();
    assert_eq!(planned, expected, "cgroup v{version}: {json}");
}

#[test]
fn the_place_of_each_weight_is_known() {
    let json = r#"{"blockIO": {"weight": 10, "weightDevice": [
        {"major": 8, "minor": 0, "weight": 1000}, {"major": 8, "minor": 16, "weight": 500, "leafWeight": 0}]}}"#;
    check(
        1,
        json,
        &[
            "blockIO.weight: blkio.weight 10",
            "blockIO.weight: blkio.bfq.weight 10",
            "blockIO.weightDevice[0].weight: blkio.weight_device 8:0 1000",
            "blockIO.weightDevice[0].weight: blkio.bfq.weight_device 8:0 1000",
            "blockIO.weightDevice[1].weight: blkio.weight_device 8:16 500",
            "blockIO.weightDevice[1].weight: blkio.bfq.weight_device 8:16 500",
        ],
    );
    check(
        2,
        json,
        &[
            "blockIO.weight: io.bfq.weight 10",
            "blockIO.weight: io.weight 1",
            "blockIO.weightDevice[0].weight: io.bfq.weight 8:0 1000",
            "blockIO.weightDevice[0].weight: io.weight 8:0 10000",
            "blockIO.weightDevice[1].weight: io.bfq.weight 8:16 500",
            "blockIO.weightDevice[1].weight: io.weight 8:16 4950",
        ],
    );
    check(
        1,
        r#"{"blockIO": {"leafWeight": 20, "weightDevice": [{"major": 8, "minor": 0, "leafWeight": 30}]}}"#,
        &[
            "blockIO.leafWeight: blkio.leaf_weight 20",
            "blockIO.weightDevice[0].leafWeight: blkio.leaf_weight_device 8:0 30",
        ],
    );
}

#[test]
fn zeros_and_empty_lists_set_nothing() {
    let json = r#"{"blockIO": {"weight": 0, "leafWeight": 0, "weightDevice": []}, "hugepageLimits": [],
        "network": {"classID": 0, "priorities": []}, "rdma": {}, "unified": {},
        "memory": {"swappiness": 18446744073709551615}}"#;
    check(1, json, &[]);
    check(2, json, &[]);
}

#[test]
fn files_have_the_names_of_their_version() {
    let huge_pages = r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}"#;
    check(
        1,
        huge_pages,
        &[
            "hugepageLimits[0].limit: hugetlb.2MB.limit_in_bytes 0",
            "hugepageLimits[0].limit: hugetlb.2MB.rsvd.limit_in_bytes 0",
        ],
    );
    check(
        2,
        huge_pages,
        &[
            "hugepageLimits[0].limit: hugetlb.2MB.max 0",
            "hugepageLimits[0].limit: hugetlb.2MB.rsvd.max 0",
        ],
    );
    check(
        1,
        r#"{"network": {"classID": 4294967295, "priorities": [{"name": "lo", "priority": 0}]}}"#,
        &[
            "network.classID: net_cls.classid 4294967295",
            "network.priorities[0]: net_prio.ifpriomap lo 0",
        ],
    );
    for version in [1, 2] {
        check(
            version,
            r#"{"rdma": {"rxe3": {"hcaObjects": 0}, "mlx5_1": {"hcaHandles": 3, "hcaObjects": 4}}}"#,
            &[
                "rdma.mlx5_1: rdma.max mlx5_1 hca_handle=3 hca_object=4",
                "rdma.rxe3: rdma.max rxe3 hca_object=0",
            ],
        );
    }
}

#[test]
fn files_by_name_are_written_last_and_line_by_line() {
    check(
        2,
        r#"{"unified": {"pids.max": "7", "io.max": "8:0 rbps=1\n\n8:16 rbps=2\n", "cpuset.cpus": ""},
            "pids": {"limit": 5}}"#,
        &[
            "pids.limit: pids.max 5",
            "unified.cpuset.cpus: cpuset.cpus \n",
            "unified.io.max: io.max 8:0 rbps=1",
            "unified.io.max: io.max 8:16 rbps=2",
            "unified.pids.max: pids.max 7",
        ],
    );
}

#[track_caller]
fn check_refusals(cases: &[(u8, &str, &str)]) {
    for (version, json, error) in cases {
        assert_eq!(plan(*version, json).unwrap_err(), *error, "{json}");
    }
}

#[test]
fn invalid_weights_are_refused_at_their_place() {
    check_refusals(&[
        (
            1,
            r#"{"blockIO": {"weight": 9}}"#,
            "blockIO.weight: 9 is not between 10 and 1000",
        ),
        (
            2,
            r#"{"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 1001}]}}"#,
            "blockIO.weightDevice[0].weight: 1001 is not between 10 and 1000",
        ),
        (
            1,
            r#"{"blockIO": {"weightDevice": [{"major": 8, "minor": 0}]}}"#,
            "blockIO.weightDevice[0]: needs weight or leafWeight",
        ),
        (
            2,
            r#"{"blockIO": {"leafWeight": 500}}"#,
            "blockIO.leafWeight: cgroup v2, which this host uses, has no such limit",
        ),
        (
            2,
            r#"{"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 10, "leafWeight": 10}]}}"#,
            "blockIO.weightDevice[0].leafWeight: cgroup v2, which this host uses, has no such limit",
        ),
    ]);
}

#[test]
fn invalid_values_of_lists_and_objects_are_refused_at_their_place() {
    check_refusals(&[
        (
            1,
            r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": -1}]}"#,
            "hugepageLimits[0].limit: -1 is no number of bytes",
        ),
        (
            2,
            r#"{"network": {"classID": 5}}"#,
            "network.classID: cgroup v2, which this host uses, has no such limit",
        ),
        (
            2,
            r#"{"network": {"priorities": [{"name": "eth0", "priority": 0}]}}"#,
            "network.priorities: cgroup v2, which this host uses, has no such limit",
        ),
        (
            1,
            r#"{"network": {"priorities": [{"name": "eth0 5", "priority": 0}]}}"#,
            "network.priorities[0].name: \"eth0 5\" is no name of an interface",
        ),
        (
            1,
            r#"{"rdma": {"mlx5_1": {}}}"#,
            "rdma.mlx5_1: needs hcaHandles or hcaObjects",
        ),
        (
            1,
            r#"{"rdma": {"": {"hcaHandles": 1}}}"#,
            "rdma: \"\" is no name of a device",
        ),
        (
            1,
            r#"{"unified": {"memory.high": "5"}}"#,
            "unified.memory.high: cannot use unified on cgroup v1",
        ),
        (
            2,
            r#"{"unified": {"../memory.high": "5"}}"#,
            "unified: \"../memory.high\" must be a file name (no slashes)",
        ),
        (
            2,
            r#"{"unified": {"..": "5"}}"#,
            "unified: \"..\" must be in the form CONTROLLER.PARAMETER",
        ),
        (
            2,
            r#"{"unified": {"cgroup.procs": "1"}}"#,
            "unified.cgroup.procs: this file is no limit; only rt writes it",
        ),
    ]);
}
