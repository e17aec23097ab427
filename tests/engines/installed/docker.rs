//! Docker, as the service docker.service. daemon.json names the runtime, and allows what is experimental.

use std::fs;
use std::path::Path;
use std::process::Command;

use libtest_mimic::Arguments;
use serde_json::json;

use super::{cgroup, features_of, program, property, read, select, try_devices};
use crate::command::{self, wait_until};
use crate::docker::{self, Test, tests};
use crate::dockerd::Dockerd;
use crate::environment::Runtime;
use crate::feature::Feature;

/// The tests that also run with a daemon of their own.
const COMMON: &[&str] = &[
    "run",
    "memory",
    "memory_swap",
    "memory_reservation",
    "cpus",
    "cpu_shares",
    "cpuset",
    "pids_limit",
    "out_of_memory",
    "update_cpuset",
    "update_pids_limit",
    "oom_score",
    "exec",
    "exec_tty",
    "exec_joins_the_cgroups",
    "exec_in_a_paused_container",
    "pause",
    "stats",
    "top",
    "stop",
    "restart_on_failure",
    "devices",
    "device_read_only",
    "device_denied",
    "privileged",
    "cgroup_namespace",
    "no_leftovers",
    "checkpoint",
    "checkpoint_again",
    "checkpoint_leave_running",
    "checkpoint_directory",
    "checkpoint_tty",
    "checkpoint_limits",
    "checkpoint_volume",
    "checkpoint_network",
    "checkpoint_without_network",
];

fn of_systemd() -> Vec<Test> {
    tests![
        info,
        scope,
        scope_updated,
        scope_restarted,
        scope_removed,
        scope_of_a_failure,
        cgroup_parent_slice,
        devices_after_a_reload,
        block_io,
        apparmor,
        apparmor_denies,
    ]
}

pub(super) fn features(arguments: &Arguments) -> Vec<Feature> {
    let common = select(&docker::plain(), COMMON);
    let tests = [of_systemd(), common].concat();
    features_of(arguments, "docker", tests, start)
}

/// The service starts with the configuration, or reads it again.
fn start() -> Dockerd {
    let runtime = super::runtime();
    let mut config = match runtime {
        Runtime::Rt => {
            json!({ "default-runtime": "rt", "runtimes": { "rt": { "path": program() } } })
        }
        Runtime::Runc => json!({}),
    };
    // `docker checkpoint` needs it.
    config["experimental"] = true.into();
    fs::create_dir_all("/etc/docker").unwrap();
    fs::write("/etc/docker/daemon.json", config.to_string()).unwrap();
    command::run(Command::new("systemctl").args(["restart", "docker.service"])).ok();
    let docker = Dockerd::installed(runtime);
    docker.load_images();
    docker
}

/// The unit of a container.
fn unit(id: &str) -> String {
    format!("docker-{id}.scope")
}

fn show(docker: &Dockerd, unit: &str, name: &str) -> String {
    property(&mut docker.host.command("systemctl"), unit, name)
}

fn info(docker: &Dockerd) {
    let format = "{{.CgroupDriver}} {{.CgroupVersion}} {{.DefaultRuntime}}";
    let output = docker.docker(&["info", "--format", format]).ok();
    assert_eq!(output, format!("systemd 2 {}", docker.runtime.name()));
}

/// The limits are properties of a scope in system.slice.
fn scope(docker: &Dockerd) {
    let options = "-m 64m --cpus 0.5 --pids-limit 50 --cpuset-cpus 1";
    let container = docker.sleeper("scope", options);
    let unit = unit(&container.inspect("{{.Id}}"));
    let cgroup = cgroup(&container.inspect("{{.State.Pid}}"));
    assert_eq!(cgroup, format!("/sys/fs/cgroup/system.slice/{unit}"));
    let expected = [
        ("ActiveState", "active"),
        ("Slice", "system.slice"),
        ("Delegate", "yes"),
        ("MemoryMax", "67108864"),
        ("CPUQuotaPerSecUSec", "500ms"),
        ("TasksMax", "50"),
        ("AllowedCPUs", "1"),
    ];
    for (name, value) in expected {
        assert_eq!(show(docker, &unit, name), value, "{name}");
    }
}

/// `docker update` changes properties and cgroup, and a reload of systemd leaves both as they are.
fn scope_updated(docker: &Dockerd) {
    let container = docker.sleeper("scope_updated", "-m 64m --memory-swap 128m");
    let unit = unit(&container.inspect("{{.Id}}"));
    let cgroup = cgroup(&container.inspect("{{.State.Pid}}"));
    let update = "update -m 96m --cpus 0.25 --pids-limit 30 --cpu-shares 2048";
    container.call(update, &[]).ok();
    let limits = || ["memory.max", "cpu.max", "pids.max"].map(|file| read(&cgroup, file));
    assert_eq!(limits(), ["100663296", "25000 100000", "30"]);
    assert_eq!(show(docker, &unit, "MemoryMax"), "100663296");
    assert_eq!(show(docker, &unit, "CPUQuotaPerSecUSec"), "250ms");
    assert_eq!(show(docker, &unit, "TasksMax"), "30");
    crate::cgroups::assert_shares(&read(&cgroup, "cpu.weight"), 2048);
    docker.host.sh("systemctl daemon-reload");
    assert_eq!(limits(), ["100663296", "25000 100000", "30"]);
}

/// The next process has a new scope with the same limits.
fn scope_restarted(docker: &Dockerd) {
    let container = docker.sleeper("scope_restarted", "-m 64m");
    container.call("restart", &["-t", "0"]).ok();
    let unit = unit(&container.inspect("{{.Id}}"));
    assert_eq!(show(docker, &unit, "ActiveState"), "active");
    assert_eq!(show(docker, &unit, "MemoryMax"), "67108864");
    assert_eq!(container.sh("cat /sys/fs/cgroup/memory.max"), "67108864");
}

fn scope_removed(docker: &Dockerd) {
    let container = docker.sleeper("scope_removed", "");
    let unit = unit(&container.inspect("{{.Id}}"));
    let cgroup = cgroup(&container.inspect("{{.State.Pid}}"));
    assert!(Path::new(&cgroup).exists());
    drop(container);
    wait_until("the scope is removed", 20, || {
        show(docker, &unit, "ActiveState") == "inactive" && !Path::new(&cgroup).exists()
    });
}

/// A container that the OOM killer ends leaves no failed unit behind.
fn scope_of_a_failure(docker: &Dockerd) {
    let options = "-m 16m --memory-swap 16m";
    let container = docker.run_detached("scope_failed", options, &["tail", "/dev/zero"]);
    assert_eq!(container.wait(), "137");
    let unit = unit(&container.inspect("{{.Id}}"));
    wait_until("the unit is gone", 20, || {
        let list = format!("systemctl list-units --all --plain --no-legend {unit}");
        docker.host.sh(&list).is_empty()
    });
}

fn cgroup_parent_slice(docker: &Dockerd) {
    let container = docker.sleeper("cgroup_parent_slice", "--cgroup-parent rt-tests.slice");
    let unit = unit(&container.inspect("{{.Id}}"));
    let expected = format!("/sys/fs/cgroup/rt.slice/rt-tests.slice/{unit}");
    assert_eq!(cgroup(&container.inspect("{{.State.Pid}}")), expected);
}

/// systemd writes the device rules of its units again when it reloads them.
fn devices_after_a_reload(docker: &Dockerd) {
    let container = docker.sleeper("devices_reloaded", "--device /dev/fuse --cap-add MKNOD");
    docker.host.sh("systemctl daemon-reload");
    let output = container.call("exec", &["sh", "-c", &try_devices()]);
    assert!(output.stdout.starts_with("allowed\n"), "{output}");
    assert!(output.stdout.contains("not permitted"), "{output}");
}

fn block_io(docker: &Dockerd) {
    let options = "--device-read-bps /dev/vda:1mb --device-write-iops /dev/vda:100";
    let container = docker.sleeper("block_io", options);
    let limits = read(&cgroup(&container.inspect("{{.State.Pid}}")), "io.max");
    assert!(limits.contains("rbps=1048576"), "{limits}");
    assert!(limits.contains("wiops=100"), "{limits}");
}

/// The profile of the first process and of an exec process.
fn apparmor(docker: &Dockerd) {
    let container = docker.sleeper("apparmor", "");
    let script = "cat /proc/1/attr/current /proc/self/attr/current";
    let output = container.sh(script);
    assert_eq!(output, "docker-default (enforce)\ndocker-default (enforce)");
}

/// AppArmor alone refuses the mount, and only with the profile.
fn apparmor_denies(docker: &Dockerd) {
    let options = "--cap-add SYS_ADMIN --security-opt seccomp=unconfined";
    let mount = ["mount", "-t", "tmpfs", "none", "/tmp"];
    let output = docker.run(options, &mount);
    assert!(output.fails(255).contains("ermission denied"));
    let options = format!("{options} --security-opt apparmor=unconfined");
    docker.run(&options, &mount).ok();
}
