//! containerd with the CRI and with ctr, as the service containerd.service. config.toml has the tables that docs/containerd.md
//! documents, with `SystemdCgroup = true`.

use std::fs;
use std::path::Path;
use std::process::Command;

use libtest_mimic::Arguments;
use serde_json::json;

use super::{cgroup, features_of, property, read, select};
use crate::command::{self, wait_until};
use crate::containerd::{self, BUSYBOX, Containerd, Test};
use crate::cri::{self, Client, Container, Pod};
use crate::feature::Feature;

/// The tests that also run with a daemon of their own.
const COMMON: &[&str] = &[
    "pod",
    "memory",
    "memory_exceeded",
    "cpu_quota",
    "cpu_shares",
    "cpuset",
    "oom_score_adj",
    "update",
    "exec_sync",
    "exec_tty",
    "container_stop",
    "container_restarted",
    "container_stats",
    "pod_stats",
    "pod_stop",
    "pod_shared_namespaces",
    "devices",
    "privileged",
    "checkpoint",
    "checkpoint_restored",
];

/// The tests through ctr.
const OF_CTR: &[&str] = &[
    "checkpoint_task",
    "checkpoint_task_exit",
    "checkpoint",
    "checkpoint_limits",
    "checkpoint_mount",
];

const OF_SYSTEMD: &[Test] = &[
    ("scope", scope),
    ("scope_updated", scope_updated),
    ("scope_removed", scope_removed),
    ("apparmor", apparmor),
];

pub(super) fn features(arguments: &Arguments) -> Vec<Feature> {
    let tests = [OF_SYSTEMD, &select(&cri::features(), COMMON)].concat();
    let mut features = features_of(arguments, "cri", tests, start);
    let of_ctr = select(containerd::CHECKPOINTS, OF_CTR);
    features.extend(features_of(arguments, "containerd", of_ctr, start_daemon));
    features
}

/// What the default configuration would take from the network or from directories that Debian does not use.
const SETTINGS: &str = r#"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "BUSYBOX"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
"#;

fn start() -> Containerd {
    let mut containerd = start_daemon();
    cri::write_network(containerd.path(), 0);
    fs::create_dir_all("/etc/cni/net.d").unwrap();
    let network = containerd.path().join("cni/10-rt.conflist");
    fs::copy(network, "/etc/cni/net.d/10-rt.conflist").unwrap();
    containerd.cri = Some(Client::start(&containerd));
    containerd
}

fn start_daemon() -> Containerd {
    let runtime = super::runtime();
    let settings = SETTINGS.replace("BUSYBOX", BUSYBOX);
    let config = Containerd::documented_config(runtime, &settings);
    let config = config.replace(
        &runtime.path().display().to_string(),
        &super::program().display().to_string(),
    );
    let option = "    BinaryName = ";
    assert!(config.contains(option), "{config}");
    let config = config.replacen(option, &format!("    SystemdCgroup = true\n{option}"), 1);
    fs::create_dir_all("/etc/containerd").unwrap();
    fs::write("/etc/containerd/config.toml", config).unwrap();
    command::run(Command::new("systemctl").args(["restart", "containerd.service"])).ok();
    Containerd::installed(runtime)
}

fn show(container: &Container, name: &str) -> String {
    let unit = format!("cri-containerd-{}.scope", container.id);
    property(&mut Command::new("systemctl"), &unit, name)
}

/// The limits are properties of a scope in the slice of the pod.
fn scope(daemon: &Containerd) {
    let pod = Pod::new(daemon, "scope");
    let resources =
        json!({ "memory_limit_in_bytes": 33_554_432, "cpu_quota": 25_000, "cpu_period": 50_000 });
    let container = pod.idle(json!({ "linux": { "resources": resources } }));
    let place = cgroup(&container.pid().to_string());
    let unit = format!("cri-containerd-{}.scope", container.id);
    let slice = "/sys/fs/cgroup/kubepods.slice/kubepods-burstable.slice";
    assert_eq!(place, format!("{slice}/{unit}"));
    let expected = [
        ("ActiveState", "active"),
        ("Slice", "kubepods-burstable.slice"),
        ("Delegate", "yes"),
        ("MemoryMax", "33554432"),
        ("CPUQuotaPerSecUSec", "500ms"),
    ];
    for (name, value) in expected {
        assert_eq!(show(&container, name), value, "{name}");
    }
}

fn scope_updated(daemon: &Containerd) {
    let pod = Pod::new(daemon, "scope_updated");
    let before = json!({ "memory_limit_in_bytes": 33_554_432 });
    let container = pod.idle(json!({ "linux": { "resources": before } }));
    let after =
        json!({ "memory_limit_in_bytes": 67_108_864, "cpu_quota": 20_000, "cpu_period": 100_000 });
    container.call("UpdateContainerResources", json!({ "linux": after }));
    let place = cgroup(&container.pid().to_string());
    let limits = ["memory.max", "cpu.max"].map(|file| read(&place, file));
    assert_eq!(limits, ["67108864", "20000 100000"]);
    assert_eq!(show(&container, "MemoryMax"), "67108864");
    assert_eq!(show(&container, "CPUQuotaPerSecUSec"), "200ms");
}

fn scope_removed(daemon: &Containerd) {
    let pod = Pod::new(daemon, "scope_removed");
    let container = pod.idle(json!({}));
    let place = cgroup(&container.pid().to_string());
    drop(pod);
    wait_until("the scope is removed", 20, || {
        show(&container, "ActiveState") == "inactive" && !Path::new(&place).exists()
    });
}

fn apparmor(daemon: &Containerd) {
    let pod = Pod::new(daemon, "apparmor");
    let container = pod.idle(json!({}));
    let output = container.sh("cat /proc/1/attr/current /proc/self/attr/current");
    let profile = "cri-containerd.apparmor.d (enforce)";
    assert_eq!(output, format!("{profile}\n{profile}"));
}
