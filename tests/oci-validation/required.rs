//! config.md and config-linux.md: a configuration without a REQUIRED property is not valid, and "Runtimes MUST generate an
//! error when invalid or unsupported values are encountered" (config.md, "Valid values").
//!
//! Numbers and booleans are not among them: the types of the specification cannot tell an absent one from 0 or false,
//! which is a valid value. Other tests show that they are applied.

use serde_json::{Value, json};

use crate::common::{Known, assert_error_with_its_args, expect_known, mapped};
use crate::harness::{Bundle, test};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    let of_case = |(name, place, whole): Case| {
        test(format!("required::{name}"), move || {
            expect_known(name, RUNC, CRUN);
            let bundle = Bundle::new().sh("exit 0");
            let bundle = if name.contains("Mappings") {
                mapped(bundle)
            } else {
                bundle
            };
            let bundle = if whole.is_null() {
                bundle
            } else {
                bundle.set(top(place), whole.clone())
            };
            if !whole.is_null() && works_everywhere(name) {
                bundle.run().assert_ok();
            }
            assert_error_with_its_args(&bundle.remove(place));
        })
    };
    cases().into_iter().map(of_case).collect()
}

/// Whether the complete value works on each host, so that the error can only be about what is missing.
fn works_everywhere(name: &str) -> bool {
    let others = [
        "weightDevice",
        "hugepageLimits",
        "priorities",
        "rdma",
        "scheduler",
        "memoryPolicy",
        "ioPriority",
    ];
    !others.iter().any(|other| name.contains(other))
}

/// The part of a pointer that the test sets, up to the first item of an array or the third name.
fn top(place: &str) -> &str {
    let depth = if place.starts_with("/linux/resources/") {
        3
    } else {
        2
    };
    let end = place
        .match_indices('/')
        .nth(depth)
        .map_or(place.len(), |(at, _)| at);
    &place[..end]
}

/// The name of a property, where it is, and the value of what it is in, unless the template has it.
type Case = (&'static str, &'static str, Value);

fn cases() -> Vec<Case> {
    let own = TEMPLATE.map(|(name, place)| (name, place, Value::Null));
    let all = [of_process(), of_linux(), of_resources(), of_seccomp()].concat();
    own.into_iter().chain(all).collect()
}

/// Those that the template has.
const TEMPLATE: [(&str, &str); 8] = [
    ("ociVersion", "/ociVersion"),
    ("root", "/root"),
    ("root.path", "/root/path"),
    ("mounts.destination", "/mounts/0/destination"),
    ("process.cwd", "/process/cwd"),
    ("process.args", "/process/args"),
    ("process.rlimits.type", "/process/rlimits/0/type"),
    ("linux.namespaces.type", "/linux/namespaces/0/type"),
];

fn of_process() -> Vec<Case> {
    let priority = json!({"class": "IOPRIO_CLASS_BE", "priority": 4});
    let scheduler = json!({"policy": "SCHED_OTHER", "nice": 1});
    vec![
        (
            "process.ioPriority.class",
            "/process/ioPriority/class",
            priority,
        ),
        (
            "process.scheduler.policy",
            "/process/scheduler/policy",
            scheduler,
        ),
    ]
}

fn of_linux() -> Vec<Case> {
    let mapping = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    let device = json!([{"path": "/dev/made", "type": "c", "major": 1, "minor": 3}]);
    let policy = json!({"mode": "MPOL_BIND", "nodes": "0"});
    let personality = json!({"domain": "LINUX"});
    vec![
        (
            "linux.uidMappings.size",
            "/linux/uidMappings/0/size",
            mapping.clone(),
        ),
        (
            "linux.gidMappings.size",
            "/linux/gidMappings/0/size",
            mapping,
        ),
        (
            "linux.devices.type",
            "/linux/devices/0/type",
            device.clone(),
        ),
        ("linux.devices.path", "/linux/devices/0/path", device),
        (
            "linux.memoryPolicy.mode",
            "/linux/memoryPolicy/mode",
            policy,
        ),
        (
            "linux.personality.domain",
            "/linux/personality/domain",
            personality,
        ),
    ]
}

fn of_resources() -> Vec<Case> {
    let weight = json!({"weightDevice": [{"major": 7, "minor": 0, "weight": 100}]});
    let pages = json!([{"pageSize": "2MB", "limit": 2_097_152}]);
    let priorities = json!({"priorities": [{"name": "lo", "priority": 1}]});
    let rdma = json!({"mlx5_1": {"hcaHandles": 3}});
    vec![
        (
            "linux.resources.blockIO.weightDevice.weight",
            "/linux/resources/blockIO/weightDevice/0/weight",
            weight,
        ),
        (
            "linux.resources.hugepageLimits.pageSize",
            "/linux/resources/hugepageLimits/0/pageSize",
            pages,
        ),
        (
            "linux.resources.network.priorities.name",
            "/linux/resources/network/priorities/0/name",
            priorities,
        ),
        (
            "linux.resources.rdma.mlx5_1.hcaHandles",
            "/linux/resources/rdma/mlx5_1/hcaHandles",
            rdma,
        ),
    ]
}

fn of_seccomp() -> Vec<Case> {
    let argument = json!({"index": 0, "value": 1, "op": "SCMP_CMP_EQ"});
    let call = json!({"names": ["getpgrp"], "action": "SCMP_ACT_ERRNO", "args": [argument]});
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [call]});
    let case = |name, place| (name, place, filter.clone());
    vec![
        case(
            "linux.seccomp.defaultAction",
            "/linux/seccomp/defaultAction",
        ),
        case(
            "linux.seccomp.syscalls.names",
            "/linux/seccomp/syscalls/0/names",
        ),
        case(
            "linux.seccomp.syscalls.action",
            "/linux/seccomp/syscalls/0/action",
        ),
        case(
            "linux.seccomp.syscalls.args.op",
            "/linux/seccomp/syscalls/0/args/0/op",
        ),
    ]
}

/// What runc accepts.
const RUNC: Known = &[
    ("ociVersion", "does not read it"),
    ("process.ioPriority.class", OLDER),
    ("process.scheduler.policy", OLDER),
    ("linux.devices.path", "makes none"),
    (
        "linux.resources.blockIO.weightDevice.weight",
        "ignores the entry",
    ),
    ("linux.memoryPolicy.mode", OLDER),
    ("linux.seccomp.syscalls.names", "ignores the entry"),
    ("linux.personality.domain", OLDER),
];

const OLDER: &str = "Debian's is older than this property";

/// What crun accepts, or does not undo.
const CRUN: Known = &[
    ("process.ioPriority.class", OLDER),
    ("process.scheduler.policy", OLDER),
    (
        "linux.resources.blockIO.weightDevice.weight",
        "leaves its cgroups behind",
    ),
    (
        "linux.resources.rdma.mlx5_1.hcaHandles",
        "ignores the entry",
    ),
    ("linux.memoryPolicy.mode", OLDER),
];
