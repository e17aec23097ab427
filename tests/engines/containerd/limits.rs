//! `ctr run`: resource limits, devices, capabilities and seccomp.

use std::fs;

use super::{Containerd, Test};
use crate::cgroups::{assert_shares, limit};

pub(super) const TESTS: &[Test] = &[
    ("run_memory_limit", memory_limit),
    ("run_cpus", cpus),
    ("run_cpu_quota", cpu_quota),
    ("run_cpu_shares", cpu_shares),
    ("run_cgroup", cgroup),
    ("run_device", device),
    ("run_device_refused", device_refused),
    ("run_cap_add", cap_add),
    ("run_cap_drop", cap_drop),
    ("run_seccomp", seccomp),
    ("run_seccomp_profile", seccomp_profile),
    ("run_allow_new_privs", allow_new_privs),
    ("run_privileged", privileged),
];

fn memory_limit(daemon: &Containerd) {
    let flags = ["--memory-limit", "33554432"];
    let task = daemon.task("memory_limit", &flags, &["sleep", "1000"]);
    let seen = limit(task.pid(), "memory", "memory.limit_in_bytes", "memory.max");
    assert_eq!(seen, "33554432");
}

fn cpus(daemon: &Containerd) {
    let task = daemon.task("cpus", &["--cpus", "0.5"], &["sleep", "1000"]);
    assert_eq!(
        limit(task.pid(), "cpu", "cpu.cfs_quota_us", "cpu.max")
            .split(' ')
            .next(),
        Some("50000")
    );
}

fn cpu_quota(daemon: &Containerd) {
    let flags = ["--cpu-quota", "20000", "--cpu-period", "80000"];
    let task = daemon.task("cpu_quota", &flags, &["sleep", "1000"]);
    let quota = limit(task.pid(), "cpu", "cpu.cfs_quota_us", "cpu.max");
    let period = limit(task.pid(), "cpu", "cpu.cfs_period_us", "cpu.max");
    assert_eq!(quota.split(' ').next(), Some("20000"));
    assert_eq!(period.split(' ').next_back(), Some("80000"));
}

fn cpu_shares(daemon: &Containerd) {
    let task = daemon.task("cpu_shares", &["--cpu-shares", "333"], &["sleep", "1000"]);
    let seen = limit(task.pid(), "cpu", "cpu.shares", "cpu.weight");
    assert_shares(&seen, 333);
}

fn cgroup(daemon: &Containerd) {
    let path = format!("/{}/other/place", daemon.namespace());
    let task = daemon.task("cgroup", &["--cgroup", &path], &["sleep", "1000"]);
    let own = fs::read_to_string(format!("/proc/{}/cgroup", task.pid())).unwrap();
    let memory = own
        .lines()
        .find(|line| line.contains(":memory:") || line.starts_with("0::"));
    assert!(memory.unwrap().ends_with(&path), "{own}");
}

fn device(daemon: &Containerd) {
    let seen = daemon.sh(
        "device",
        &["--device", "/dev/fuse"],
        "stat -c %t:%T:%F /dev/fuse; exec 3<>/dev/fuse && echo opened",
    );
    assert_eq!(seen, "a:e5:character special file\nopened");
}

/// A container with CAP_MKNOD can create a device node, but the device cgroup denies access to it.
fn device_refused(daemon: &Containerd) {
    let script = "mknod /tmp/fuse c 10 229 && exec 3<>/tmp/fuse && echo opened";
    let flags = ["--cap-add", "CAP_MKNOD"];
    let output = daemon.run("device_refused", &flags, &["sh", "-c", script]);
    assert!(!output.stdout.contains("opened"), "{output:?}");
    assert!(
        output.stderr.contains("Operation not permitted"),
        "{output:?}"
    );
}

fn cap_add(daemon: &Containerd) {
    const NET_ADMIN: u32 = 12;
    assert!(!has(&status(daemon, "cap_none", &[], "CapEff"), NET_ADMIN));
    let flags = ["--cap-add", "CAP_NET_ADMIN"];
    assert!(has(&status(daemon, "cap_add", &flags, "CapEff"), NET_ADMIN));
    daemon.sh("cap_add_used", &flags, "ip link set lo down");
}

fn cap_drop(daemon: &Containerd) {
    const CHOWN: u32 = 0;
    let flags = ["--cap-drop", "CAP_CHOWN"];
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert!(
            !has(&status(daemon, "cap_drop", &flags, set), CHOWN),
            "{set}"
        );
    }
    let output = daemon.run("cap_drop_used", &flags, &["chown", "1000", "/tmp"]);
    assert!(output.fails(1).contains("Operation not permitted"));
}

fn seccomp(daemon: &Containerd) {
    assert_eq!(status(daemon, "seccomp", &["--seccomp"], "Seccomp:"), "2");
    assert_eq!(status(daemon, "seccomp_none", &[], "Seccomp:"), "0");
    let output = daemon.run("seccomp_used", &["--seccomp"], &["unshare", "-U", "true"]);
    assert!(output.fails(1).contains("Operation not permitted"));
}

fn seccomp_profile(daemon: &Containerd) {
    let profile = daemon.scratch("seccomp_profile").join("profile.json");
    let rule = r#"{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }"#;
    let text = format!(r#"{{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rule}] }}"#);
    fs::write(&profile, text).unwrap();
    let flags = [
        "--seccomp",
        "--seccomp-profile",
        &profile.display().to_string(),
    ];
    let output = daemon.run("seccomp_profile", &flags, &["mkdir", "/tmp/a"]);
    assert!(output.fails(1).contains("No space left on device"));
}

fn allow_new_privs(daemon: &Containerd) {
    assert_eq!(status(daemon, "no_new_privs", &[], "NoNewPrivs"), "1");
    let flags = ["--allow-new-privs"];
    assert_eq!(status(daemon, "allow_new_privs", &flags, "NoNewPrivs"), "0");
}

fn privileged(daemon: &Containerd) {
    const SYS_ADMIN: u32 = 21;
    assert!(has(
        &status(daemon, "privileged", &["--privileged"], "CapEff"),
        SYS_ADMIN
    ));
    let script = "mount -t tmpfs none /tmp && test -w /sys && grep -c . /proc/mounts";
    daemon.sh("privileged_used", &["--privileged"], script);
}

/// A field of /proc/self/status in a container.
fn status(daemon: &Containerd, id: &str, flags: &[&str], line: &str) -> String {
    let seen = daemon
        .run(id, flags, &["grep", line, "/proc/self/status"])
        .ok();
    seen.split_whitespace().nth(1).unwrap().to_owned()
}

fn has(set: &str, capability: u32) -> bool {
    u64::from_str_radix(set, 16).unwrap() & (1 << capability) != 0
}
