//! Cgroups, resource limits and `podman update`.

use std::fs;

use super::RunAs::{Both, Root};
use super::{IMAGE, Podman, Test};
use crate::cgroups::{assert_shares, show};

pub(super) const TESTS: &[Test] = &[
    ("memory", Root, memory),
    ("memory_exceeded", Root, memory_exceeded),
    ("memory_reservation", Root, memory_reservation),
    ("cpus", Root, cpus),
    ("cpu_shares", Root, cpu_shares),
    ("cpuset", Root, cpuset),
    ("pids", Root, pids),
    ("device_rates", Root, device_rates),
    ("update_memory", Root, update_memory),
    ("update_cpu", Root, update_cpu),
    ("update_again_and_restart", Root, update_again),
    ("ulimits", Both, ulimits),
    ("oom_score_adj", Both, oom_score_adj),
    ("shm_size", Both, shm_size),
    ("cgroup_parent", Root, cgroup_parent),
    ("cgroups_disabled", Root, cgroups_disabled),
    ("cgroups_no_conmon", Root, cgroups_no_conmon),
    ("cgroup_split", Root, cgroups_split),
    ("cgroup_namespace", Root, cgroup_namespace),
    (
        "limits_of_a_user_are_ignored",
        super::RunAs::User,
        limits_of_a_user,
    ),
];

fn memory(p: &Podman) {
    let script = show("memory", "memory.limit_in_bytes", "memory.max");
    assert_eq!(p.sh(&["--memory", "64m"], &script), "67108864");
}

fn memory_exceeded(p: &Podman) {
    let options = ["--memory", "16m", "--memory-swap", "16m"];
    let c = p.start("memory_exceeded", &options, "exec tail /dev/zero");
    assert_eq!(p.ok(&["wait", &c.name]), "137");
}

fn memory_reservation(p: &Podman) {
    let script = show("memory", "memory.soft_limit_in_bytes", "memory.low");
    assert_eq!(p.sh(&["--memory-reservation", "32m"], &script), "33554432");
}

fn cpus(p: &Podman) {
    let script = "cd /sys/fs/cgroup; cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us 2>/dev/null || cat cpu.max";
    let output = p.sh(&["--cpus", "0.5"], script);
    assert_eq!(output.replace('\n', " "), "50000 100000");
    let output = p.sh(&["--cpu-quota", "20000", "--cpu-period", "40000"], script);
    assert_eq!(output.replace('\n', " "), "20000 40000");
}

fn cpu_shares(p: &Podman) {
    let output = p.sh(
        &["--cpu-shares", "512"],
        &show("cpu", "cpu.shares", "cpu.weight"),
    );
    assert_shares(&output, 512);
}

fn cpuset(p: &Podman) {
    let script = "grep Cpus_allowed_list /proc/self/status | cut -f2; nproc";
    assert_eq!(
        p.sh(&["--cpuset-cpus", "0", "--cpuset-mems", "0"], script),
        "0\n1"
    );
}

fn pids(p: &Podman) {
    let output = p.run(
        &["--pids-limit", "4"],
        "sleep 1 & sleep 1 & sleep 1 & sleep 1 & wait",
    );
    assert!(output.stderr.contains("can't fork"), "{output:?}");
    assert_eq!(
        p.sh(
            &["--pids-limit", "33"],
            &show("pids", "pids.max", "pids.max")
        ),
        "33"
    );
}

fn device_rates(p: &Podman) {
    let major_minor = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let disk = major_minor.lines().find_map(|line| {
        let args: Vec<&str> = line.split(' ').collect();
        let source = args[args.iter().position(|w| *w == "-")? + 2];
        (args[4] == "/" && source.starts_with("/dev/")).then(|| source.to_owned())
    });
    let disk = disk.expect("the host's root is on a disk");
    let rate = format!("{disk}:1mb");
    let script = show("blkio", "blkio.throttle.read_bps_device", "io.max");
    let output = p.sh(&["--device-read-bps", &rate], &script);
    assert!(output.contains("1048576"), "{output}");
}

fn update_memory(p: &Podman) {
    let c = p.start("update_memory", &["--memory", "64m"], "sleep 1000");
    p.ok(&["update", "--memory", "96m", &c.name]);
    let script = show("memory", "memory.limit_in_bytes", "memory.max");
    assert_eq!(c.sh(&[], &script), "100663296");
}

fn update_cpu(p: &Podman) {
    let c = p.start(
        "update_cpu",
        &["--cpu-shares", "512", "--pids-limit", "40"],
        "sleep 1000",
    );
    p.ok(&["update", "--cpus", "0.25", "--cpuset-cpus", "1", &c.name]);
    let script =
        "cd /sys/fs/cgroup; cat cpu/cpu.cfs_quota_us 2>/dev/null || cut -d ' ' -f 1 cpu.max";
    assert_eq!(c.sh(&[], script), "25000");
    assert_eq!(
        c.sh(&[], "grep Cpus_allowed_list /proc/1/status | cut -f2"),
        "1"
    );
}

fn update_again(p: &Podman) {
    let c = p.start("update_again", &["--memory", "64m"], "sleep 1000");
    p.ok(&["update", "--cpus", "0.25", &c.name]);
    p.ok(&["update", "--memory", "80m", &c.name]);
    let quota =
        "cd /sys/fs/cgroup; cat cpu/cpu.cfs_quota_us 2>/dev/null || cut -d ' ' -f 1 cpu.max";
    assert_eq!(c.sh(&[], quota), "25000");
    p.ok(&["restart", "-t", "0", &c.name]);
    let script = show("memory", "memory.limit_in_bytes", "memory.max");
    let output = c.sh(&[], &script);
    assert!(
        ["67108864", "83886080"].contains(&output.as_str()),
        "{output}"
    );
}

fn ulimits(p: &Podman) {
    let processes = ["--ulimit", "nproc=4096:4096"];
    let options = ["--ulimit", "nofile=100:200", "--ulimit", "core=0:0"];
    let options = [&options[..], &processes].concat();
    assert_eq!(
        p.sh(&options, "ulimit -Sn; ulimit -Hn; ulimit -c"),
        "100\n200\n0"
    );
}

fn oom_score_adj(p: &Podman) {
    assert_eq!(
        p.sh(&["--oom-score-adj", "700"], "cat /proc/self/oom_score_adj"),
        "700"
    );
}

fn shm_size(p: &Podman) {
    let output = p.sh(&["--shm-size", "8m"], "df -k /dev/shm | tail -n 1");
    assert_eq!(output.split_whitespace().nth(1), Some("8192"), "{output}");
}

fn cgroup_parent(p: &Podman) {
    let parent = format!("/rt-engines-{}", p.runtime.name());
    let c = p.start("cgroup_parent", &["--cgroup-parent", &parent], "sleep 1000");
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).unwrap();
    assert!(cgroups.contains(&format!(":{parent}/libpod-")), "{cgroups}");
    drop(c);
    for controller in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let _ = fs::remove_dir(controller.path().join(&parent[1..]));
    }
}

fn cgroups_disabled(p: &Podman) {
    let before = fs::read_to_string("/proc/self/cgroup").unwrap();
    let options = ["--cgroups", "disabled"];
    let c = p.start("cgroups_disabled", &options, "sleep 1000");
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).unwrap();
    assert_eq!(cgroups, before);
    assert_eq!(c.sh(&[], "echo in"), "in");
    p.ok(&["stop", "-t", "0", &c.name]);
    p.ok(&["start", &c.name]);
}

fn cgroups_no_conmon(p: &Podman) {
    let c = p.start(
        "cgroups_no_conmon",
        &["--cgroups", "no-conmon"],
        "sleep 1000",
    );
    let cgroups_of = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(cgroups_of(&c.pid().to_string()).contains("libpod-"));
    let conmon = cgroups_of(&c.inspect("{{.State.ConmonPid}}"));
    assert!(!conmon.contains("libpod"), "{conmon}");
}

/// `--cgroups split` works only with cgroup v2. With v1 Podman itself reports the error.
fn cgroups_split(p: &Podman) {
    let output = p.call(&["run", "--rm", "--cgroups", "split", IMAGE, "true"]);
    if output.status != 0 {
        let output = output.fails(126);
        assert!(
            output.contains("could not find cgroup mount in"),
            "{output}"
        );
    }
}

fn cgroup_namespace(p: &Podman) {
    let private = p.sh(&["--cgroupns", "private"], "cat /proc/self/cgroup");
    assert!(
        private.lines().all(|line| line.ends_with(":/")),
        "{private}"
    );
    let host = p.sh(&["--cgroupns", "host"], "cat /proc/self/cgroup");
    assert!(host.contains("/libpod_parent/libpod-"), "{host}");
    let mount = p.sh(
        &["--cgroupns", "private"],
        "ls /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null || true",
    );
    assert!(mount.contains("pids.max"), "{mount}");
}

/// If the host delegates no cgroup to the user, Podman prints a warning and runs the container without limits.
fn limits_of_a_user(p: &Podman) {
    let output = p.run(&["--memory", "64m", "--cpus", "0.5"], "echo ran");
    assert_eq!(
        (output.stdout.as_str(), output.status),
        ("ran\n", 0),
        "{output:?}"
    );
}
