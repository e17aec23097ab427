//! Podman as root and in the session of a user. containers.conf names the runtime and nothing else.

use std::fs;
use std::path::Path;

use libtest_mimic::Arguments;

use super::{cgroup, features_of, program, property, read, select, try_devices};
use crate::command::wait_until;
use crate::feature::Feature;
use crate::podman::{self, Mode, Podman};

type Test = (&'static str, fn(&Podman));

/// The tests that also run in a store of their own, for both modes.
const COMMON: &[&str] = &[
    "run",
    "memory",
    "memory_exceeded",
    "pids",
    "update_memory",
    "oom_score_adj",
    "exec",
    "exec_tty",
    "exec_in_a_stopped_container",
    "pause",
    "stats",
    "top",
    "stop",
    "restart",
    "pod_shares",
    "pod_pause",
];

/// Those for root only.
const OF_ROOT: &[&str] = &[
    "memory_reservation",
    "cpus",
    "cpu_shares",
    "cpuset",
    "update_cpu",
    "update_again_and_restart",
    "exec_in_the_cgroup",
    "device",
    "device_denied",
    "device_rule",
    "privileged",
    "restart_policy",
    "checkpoint",
    "checkpoint_again",
    "checkpoint_leave_running",
    "checkpoint_keep",
    "checkpoint_export",
    "checkpoint_import_name",
    "checkpoint_pre_checkpoint",
    "checkpoint_image",
    "checkpoint_tcp_established",
    "checkpoint_tty",
    "checkpoint_limits",
    "checkpoint_volume",
    "checkpoint_network",
    "checkpoint_pod",
];

/// Those for a user only.
const OF_USER: &[&str] = &["userns_keep_id", "seccomp_default"];

const OF_SYSTEMD: &[Test] = &[
    ("scope", scope),
    ("scope_updated", scope_updated),
    ("scope_removed", scope_removed),
    ("cgroup_parent_slice", cgroup_parent_slice),
    ("pod_slice", pod_slice),
];

const OF_SYSTEMD_ROOT: &[Test] = &[
    ("block_io", block_io),
    ("devices_after_a_reload", devices_after_a_reload),
    ("apparmor", apparmor),
];

pub(super) fn features(arguments: &Arguments) -> Vec<Feature> {
    let all = podman::all();
    let all: Vec<Test> = all
        .into_iter()
        .map(|(name, _, test)| (name, test))
        .collect();
    let [common, of_root, of_user] = [COMMON, OF_ROOT, OF_USER].map(|names| select(&all, names));
    let root = [OF_SYSTEMD, OF_SYSTEMD_ROOT, &common, &of_root].concat();
    let user = [OF_SYSTEMD, &common, &of_user].concat();
    let features = |mode: Mode, tests| features_of(arguments, mode.name(), tests, || start(mode));
    let mut all = features(Mode::Root, root);
    all.extend(features(Mode::Rootless, user));
    all
}

/// Podman with a configuration that names the runtime.
pub(super) fn start(mode: Mode) -> Podman {
    let runtime = super::runtime();
    let (name, path) = (runtime.name(), program());
    let path = path.display();
    let config =
        format!("[engine]\nruntime = \"{name}\"\n[engine.runtimes]\n{name} = [\"{path}\"]\n");
    fs::write("/etc/containers/containers.conf", config).unwrap();
    Podman::installed(mode, runtime, &program())
}

/// A property of a unit of the user's systemd, or of the system's.
fn show(p: &Podman, unit: &str, name: &str) -> String {
    let mut systemctl = p.host_command("systemctl");
    if p.mode == Mode::Rootless {
        systemctl.arg("--user");
    }
    property(&mut systemctl, unit, name)
}

/// The limits are properties of a scope.
fn scope(p: &Podman) {
    let options = ["--memory", "64m", "--pids-limit", "50", "--cpus", "0.5"];
    let c = p.start("scope", &options, "sleep 1000");
    let unit = format!("libpod-{}.scope", c.inspect("{{.Id}}"));
    let slice = match p.mode {
        Mode::Root => "machine.slice",
        Mode::Rootless => "user.slice",
    };
    let cgroup = cgroup(&c.pid().to_string());
    assert!(cgroup.contains(&format!("/{slice}/{unit}")), "{cgroup}");
    let expected = [
        ("ActiveState", "active"),
        ("Slice", slice),
        ("Delegate", "yes"),
        ("MemoryMax", "67108864"),
        ("TasksMax", "50"),
        ("CPUQuotaPerSecUSec", "500ms"),
    ];
    for (name, value) in expected {
        assert_eq!(show(p, &unit, name), value, "{name}");
    }
}

/// `podman update` changes properties and cgroup.
fn scope_updated(p: &Podman) {
    let c = p.start("scope_updated", &["--memory", "64m"], "sleep 1000");
    let unit = format!("libpod-{}.scope", c.inspect("{{.Id}}"));
    let cgroup = cgroup(&c.pid().to_string());
    p.ok(&["update", "--memory", "96m", "--cpus", "0.25", &c.name]);
    let limits = ["memory.max", "cpu.max"].map(|file| read(&cgroup, file));
    assert_eq!(limits, ["100663296", "25000 100000"]);
    assert_eq!(show(p, &unit, "MemoryMax"), "100663296");
    assert_eq!(show(p, &unit, "CPUQuotaPerSecUSec"), "250ms");
}

fn scope_removed(p: &Podman) {
    let c = p.start("scope_removed", &[], "sleep 1000");
    let unit = format!("libpod-{}.scope", c.inspect("{{.Id}}"));
    let cgroup = cgroup(&c.pid().to_string());
    drop(c);
    wait_until("the scope is removed", 20, || {
        show(p, &unit, "ActiveState") == "inactive" && !Path::new(&cgroup).exists()
    });
}

fn cgroup_parent_slice(p: &Podman) {
    let options = ["--cgroup-parent", "rt-tests.slice"];
    let c = p.start("cgroup_parent_slice", &options, "sleep 1000");
    let expected = format!(
        "/rt.slice/rt-tests.slice/libpod-{}.scope",
        c.inspect("{{.Id}}")
    );
    let cgroup = cgroup(&c.pid().to_string());
    assert!(cgroup.contains(&expected), "{cgroup}");
}

/// The containers of a pod are in the slice of the pod.
fn pod_slice(p: &Podman) {
    p.ok(&["pod", "create", "--name", "pod_slice", "--network", "none"]);
    let c = p.start("pod_slice_container", &["--pod", "pod_slice"], "sleep 1000");
    let cgroup = cgroup(&c.pid().to_string());
    let (slice, scope) = cgroup.rsplit_once("/libpod-").unwrap();
    assert!(
        slice.ends_with(".slice") && slice.contains("libpod_pod_"),
        "{cgroup}"
    );
    assert!(scope.contains(".scope"), "{cgroup}");
    drop(c);
    p.ok(&["pod", "rm", "-f", "-t0", "pod_slice"]);
}

fn block_io(p: &Podman) {
    let options = ["--device-read-bps", "/dev/vda:1mb"];
    let c = p.start("block_io", &options, "sleep 1000");
    let limits = read(&cgroup(&c.pid().to_string()), "io.max");
    assert!(limits.contains("rbps=1048576"), "{limits}");
}

/// systemd writes the device rules of its units again when it reloads them.
fn devices_after_a_reload(p: &Podman) {
    let options = ["--device", "/dev/fuse", "--cap-add", "MKNOD"];
    let c = p.start("devices_reloaded", &options, "sleep 1000");
    crate::command::run(p.host_command("systemctl").arg("daemon-reload")).ok();
    let output = c.exec(&[], &try_devices());
    assert!(output.stdout.starts_with("allowed\n"), "{output}");
    assert!(output.stdout.contains("not permitted"), "{output}");
}

/// The profile of the first process and of an exec process.
fn apparmor(p: &Podman) {
    let c = p.start("apparmor", &[], "sleep 1000");
    let output = c.sh(&[], "cat /proc/1/attr/current /proc/self/attr/current");
    for line in output.lines() {
        assert!(
            line.starts_with("containers-default-") && line.ends_with(" (enforce)"),
            "{line}"
        );
    }
    assert_eq!(output.lines().count(), 2);
}
