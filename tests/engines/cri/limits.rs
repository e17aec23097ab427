//! Resource limits of a container, read from its cgroup.

use std::fs;

use serde_json::{Value, json};

use super::{Container, Pod};
use crate::cgroups::{assert_shares, limit};
use crate::command;
use crate::containerd::{Containerd, Test};

pub(super) const TESTS: &[Test] = &[
    ("memory", memory),
    ("memory_exceeded", memory_exceeded),
    ("cpu_quota", cpu_quota),
    ("cpu_shares", cpu_shares),
    ("cpuset", cpuset),
    ("oom_score_adj", oom_score_adj),
    ("cgroup_parent", cgroup_parent),
    ("update", update),
    ("update_refused", update_refused),
    ("update_created", update_created),
];

fn resources(resources: &Value) -> Value {
    json!({ "linux": { "resources": resources } })
}

fn memory_of(container: &Container) -> String {
    limit(
        container.pid(),
        "memory",
        "memory.limit_in_bytes",
        "memory.max",
    )
}

/// Quota and period, in microseconds.
fn cpu_of(container: &Container) -> (String, String) {
    let quota = limit(container.pid(), "cpu", "cpu.cfs_quota_us", "cpu.max");
    let period = limit(container.pid(), "cpu", "cpu.cfs_period_us", "cpu.max");
    let first = quota.split(' ').next().unwrap().to_owned();
    let last = period.split(' ').next_back().unwrap().to_owned();
    (first, last)
}

fn shares_of(container: &Container) -> String {
    limit(container.pid(), "cpu", "cpu.shares", "cpu.weight")
}

fn cpus_of(container: &Container) -> String {
    limit(container.pid(), "cpuset", "cpuset.cpus", "cpuset.cpus")
}

fn memory(daemon: &Containerd) {
    let pod = Pod::new(daemon, "memory");
    let container = pod.idle(resources(&json!({ "memory_limit_in_bytes": 33_554_432 })));
    assert_eq!(memory_of(&container), "33554432");
}

fn memory_exceeded(daemon: &Containerd) {
    let pod = Pod::new(daemon, "memory_exceeded");
    let limited = || resources(&json!({ "memory_limit_in_bytes": 33_554_432 }));
    let devour = ["tail", "-c", "99999999", "/dev/zero"];
    let mut more = limited();
    more["command"] = json!(devour);
    let container = pod.run("first", more);
    assert_eq!(container.wait(), 137);
    // The container keeps running after the OOM kill: containerd watches for OOM events between the start and the
    // end of a container, and may miss an event close to either.
    let container = pod.idle(limited());
    assert_eq!(container.exec(&devour, 60).unwrap().status, 137);
    command::wait_until("the reason is OOMKilled", 20, || {
        container.status()["reason"] == "OOMKilled"
    });
}

fn cpu_quota(daemon: &Containerd) {
    let pod = Pod::new(daemon, "cpu_quota");
    let container = pod.idle(resources(
        &json!({ "cpu_quota": 25_000, "cpu_period": 50_000 }),
    ));
    assert_eq!(cpu_of(&container), ("25000".to_owned(), "50000".to_owned()));
}

fn cpu_shares(daemon: &Containerd) {
    let pod = Pod::new(daemon, "cpu_shares");
    let container = pod.idle(resources(&json!({ "cpu_shares": 512 })));
    assert_shares(&shares_of(&container), 512);
}

fn cpuset(daemon: &Containerd) {
    let pod = Pod::new(daemon, "cpuset");
    let container = pod.idle(resources(
        &json!({ "cpuset_cpus": "0", "cpuset_mems": "0" }),
    ));
    assert_eq!(cpus_of(&container), "0");
    assert_eq!(container.sh("nproc"), "1");
}

fn oom_score_adj(daemon: &Containerd) {
    let pod = Pod::new(daemon, "oom_score_adj");
    let container = pod.idle(resources(&json!({ "oom_score_adj": 321 })));
    assert_eq!(container.sh("cat /proc/1/oom_score_adj"), "321");
}

fn cgroup_parent(daemon: &Containerd) {
    let pod = Pod::new(daemon, "cgroup_parent");
    let container = pod.idle(json!({}));
    let own = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    let expected = format!(":/{}/{}", super::cgroup(daemon.namespace()), container.id);
    assert!(
        own.lines()
            .any(|line| line.contains(":memory:") && line.ends_with(&expected)),
        "{own}"
    );
}

fn update(daemon: &Containerd) {
    let pod = Pod::new(daemon, "update");
    let before =
        json!({ "memory_limit_in_bytes": 33_554_432, "cpu_quota": 50_000, "cpu_period": 100_000 });
    let container = pod.idle(resources(&before));
    let after = json!({ "memory_limit_in_bytes": 67_108_864, "cpu_quota": 20_000, "cpu_shares": 256, "cpuset_cpus": "1" });
    container.call("UpdateContainerResources", json!({ "linux": after }));
    assert_eq!(memory_of(&container), "67108864");
    assert_eq!(
        cpu_of(&container),
        ("20000".to_owned(), "100000".to_owned())
    );
    assert_shares(&shares_of(&container), 256);
    assert_eq!(cpus_of(&container), "1");
    let less = json!({ "memory_limit_in_bytes": 20_971_520 });
    container.call("UpdateContainerResources", json!({ "linux": less }));
    assert_eq!(memory_of(&container), "20971520");
    assert_eq!(cpu_of(&container).0, "20000");
    assert_eq!(container.sh("echo runs"), "runs");
}

/// An impossible limit is an error and changes nothing.
fn update_refused(daemon: &Containerd) {
    let pod = Pod::new(daemon, "update_refused");
    let container = pod.idle(resources(
        &json!({ "cpu_quota": 50_000, "cpu_period": 100_000 }),
    ));
    let nonsense = json!({ "cpuset_cpus": "4000" });
    let error = container.try_call("UpdateContainerResources", json!({ "linux": nonsense }));
    assert!(error.is_err());
    assert_eq!(cpu_of(&container).0, "50000");
    assert_eq!(container.state(), "CONTAINER_RUNNING");
}

/// Limits that are updated before the start apply after it.
fn update_created(daemon: &Containerd) {
    let pod = Pod::new(daemon, "update_created");
    let container = pod
        .create(
            "one",
            resources(&json!({ "memory_limit_in_bytes": 33_554_432 })),
        )
        .unwrap();
    let after = json!({ "memory_limit_in_bytes": 67_108_864 });
    container.call("UpdateContainerResources", json!({ "linux": after }));
    container.call("StartContainer", json!({}));
    assert_eq!(memory_of(&container), "67108864");
}
