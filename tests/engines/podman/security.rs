//! Capabilities, seccomp, masked paths, devices and sysctls.

use std::fs;

use super::RunAs::{Both, Root};
use super::{Podman, Test};

pub(super) const TESTS: &[Test] = &[
    ("capabilities", Both, capabilities),
    ("capability_added", Both, capability_added),
    ("capability_dropped", Both, capability_dropped),
    ("capabilities_all_dropped", Both, all_dropped),
    ("seccomp_default", Both, seccomp_default),
    ("seccomp_custom", Both, seccomp_custom),
    ("seccomp_unconfined", Both, seccomp_unconfined),
    ("no_new_privileges", Both, no_new_privileges),
    ("privileged", Both, privileged),
    ("read_only", Both, read_only),
    ("read_only_without_tmpfs", Both, read_only_without_tmpfs),
    ("masked_paths", Both, masked_paths),
    ("masked_paths_custom", Both, masked_by_option),
    ("unmasked", Both, unmasked),
    ("device", Both, device),
    ("device_denied", Root, device_denied),
    ("device_rule", Root, device_rule),
    ("sysctls", Both, sysctls),
    ("sysctl_of_the_host_refused", Both, sysctl_refused),
];

/// CapEff of a container that is run with these options.
fn effective(p: &Podman, options: &[&str]) -> u64 {
    let output = p.sh(options, "grep CapEff /proc/self/status | cut -f2");
    u64::from_str_radix(&output, 16).unwrap()
}

const NET_BIND_SERVICE: u64 = 1 << 10;
const NET_ADMIN: u64 = 1 << 12;
const SYS_ADMIN: u64 = 1 << 21;

fn capabilities(p: &Podman) {
    let has = effective(p, &[]);
    assert_eq!(
        has & (NET_BIND_SERVICE | NET_ADMIN | SYS_ADMIN),
        NET_BIND_SERVICE
    );
    assert_eq!(effective(p, &["--user", "user"]), 0);
}

fn capability_added(p: &Podman) {
    assert_eq!(
        effective(p, &["--cap-add", "NET_ADMIN"]) & NET_ADMIN,
        NET_ADMIN
    );
    p.sh(&["--cap-add", "NET_ADMIN"], "ip link set lo mtu 1500");
    assert_ne!(p.run(&[], "ip link set lo mtu 1500").status, 0);
    // For a user other than root the capability is ambient.
    let options = ["--cap-add", "NET_ADMIN", "--user", "user"];
    assert_eq!(effective(p, &options), NET_ADMIN);
}

fn capability_dropped(p: &Podman) {
    assert_eq!(
        effective(p, &["--cap-drop", "NET_BIND_SERVICE"]) & NET_BIND_SERVICE,
        0
    );
    p.run(&["--cap-drop", "CHOWN"], "touch /x; chown user /x")
        .fails(1);
}

fn all_dropped(p: &Podman) {
    let output = p.sh(&["--cap-drop", "all"], "grep ^Cap /proc/self/status");
    assert_eq!(output.matches("\t0000000000000000").count(), 5, "{output}");
}

/// The default profile denies the call whatever the capabilities are.
fn seccomp_default(p: &Podman) {
    let script = "grep Seccomp: /proc/self/status; busybox swapoff /etc/passwd 2>&1 || true";
    let output = p.sh(&["--cap-add", "SYS_ADMIN"], script);
    assert!(output.starts_with("Seccomp:\t2"), "{output}");
    assert!(output.ends_with("Operation not permitted"), "{output}");
}

fn seccomp_custom(p: &Podman) {
    let files = p.files("seccomp");
    let profile = files.join("profile.json");
    let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls":
        [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}"#;
    fs::write(&profile, text).unwrap();
    let option = format!("seccomp={}", profile.display());
    let output = p.run(&["--security-opt", &option], "echo ran; mkdir /x");
    assert_eq!((output.stdout.as_str(), output.status), ("ran\n", 1));
    assert!(output.stderr.contains("No space left"), "{output:?}");
}

fn seccomp_unconfined(p: &Podman) {
    let options = ["--security-opt", "seccomp=unconfined"];
    let output = p.sh(
        &options,
        "grep Seccomp: /proc/self/status; unshare -U echo in",
    );
    assert_eq!(output, "Seccomp:\t0\nin");
}

fn no_new_privileges(p: &Podman) {
    let script = "grep NoNewPrivs /proc/self/status";
    assert_eq!(
        p.sh(&["--security-opt", "no-new-privileges"], script),
        "NoNewPrivs:\t1"
    );
    assert_eq!(p.sh(&[], script), "NoNewPrivs:\t0");
}

fn privileged(p: &Podman) {
    let script = "grep -E 'CapEff|Seccomp:' /proc/self/status; ls /dev; touch /proc/sys/kernel/x 2>&1; cat /proc/keys >/dev/null && mount -t tmpfs none /tmp && echo mounted";
    let output = p.sh(&["--privileged"], script);
    let bounding = fs::read_to_string("/proc/self/status").unwrap();
    if p.user().is_none() {
        let all = bounding
            .lines()
            .find_map(|l| l.strip_prefix("CapBnd:\t"))
            .unwrap();
        assert!(output.contains(&format!("CapEff:\t{all}")), "{output}");
    }
    assert!(
        output.contains("Seccomp:\t0") && output.contains("\nfuse\n"),
        "{output}"
    );
    assert!(output.ends_with("mounted"), "{output}");
}

fn read_only(p: &Podman) {
    let output = p.run(
        &["--read-only"],
        "touch /tmp/w /run/w /dev/shm/w && echo written; touch /etc/x",
    );
    assert_eq!((output.stdout.as_str(), output.status), ("written\n", 1));
    assert!(
        output.stderr.contains("Read-only file system"),
        "{output:?}"
    );
}

fn read_only_without_tmpfs(p: &Podman) {
    p.run(&["--read-only", "--read-only-tmpfs=false"], "touch /tmp/w")
        .fails(1);
}

fn masked_paths(p: &Podman) {
    let script = "cat /proc/timer_list | wc -c; ls /proc/acpi /sys/firmware | grep -v : | wc -w; \
        for at in /proc/sys /proc/bus /proc/irq /proc/sysrq-trigger; do \
            grep \" $at \" /proc/mounts | cut -d ' ' -f 4 | cut -d , -f 1; done; \
        echo x 2>/dev/null >/proc/sys/kernel/domainname || echo refused";
    let output = p.run(&[], script);
    // A host may lack one of the four paths.
    let seen = output.stdout.replace("ro\nro\nro\nro\n", "ro\nro\nro\n");
    assert_eq!(seen, "0\n0\nro\nro\nro\nrefused\n", "{output:?}");
}

fn masked_by_option(p: &Podman) {
    let options = ["--security-opt", "mask=/etc/passwd:/home"];
    assert_eq!(
        p.sh(&options, "cat /etc/passwd | wc -c; ls /home | wc -l"),
        "0\n0"
    );
}

fn unmasked(p: &Podman) {
    let options = ["--security-opt", "unmask=/proc/timer_list"];
    let mounts = "grep -c ' /proc/timer_list ' /proc/self/mounts";
    assert_eq!(p.run(&options, mounts).stdout, "0\n");
    assert_eq!(p.sh(&[], mounts), "1");
}

fn device(p: &Podman) {
    let script = "ls -l /dev/given; head -c 4 /dev/given | wc -c";
    let output = p.sh(&["--device", "/dev/zero:/dev/given:r"], script);
    assert!(
        output.starts_with('c') && output.ends_with("\n4"),
        "{output}"
    );
}

fn device_denied(p: &Podman) {
    let options = ["--cap-add", "MKNOD", "--device-cgroup-rule", "c 10:229 m"];
    let output = p.run(&options, "mknod /fuse c 10 229 && : </fuse").fails(1);
    assert!(output.contains("Operation not permitted"), "{output}");
}

fn device_rule(p: &Podman) {
    let options = ["--cap-add", "MKNOD", "--device-cgroup-rule", "c 10:229 rwm"];
    p.sh(&options, "mknod /fuse c 10 229 && : </fuse");
}

fn sysctls(p: &Podman) {
    let options = [
        "--network",
        "none",
        "--sysctl",
        "net.ipv4.ip_forward=1",
        "--sysctl",
        "kernel.msgmax=4096",
    ];
    let script = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax";
    assert_eq!(p.sh(&options, script), "1\n4096");
}

fn sysctl_refused(p: &Podman) {
    let output = p.run(&["--sysctl", "vm.swappiness=1"], "true");
    assert_ne!(output.status, 0, "{output:?}");
}
