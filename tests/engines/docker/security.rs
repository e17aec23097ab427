//! Capabilities, seccomp, devices, sysctls and masked paths.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::{Test, tests};
use crate::dockerd::Dockerd;

pub(super) fn all() -> Vec<Test> {
    tests![
        capabilities,
        capabilities_added,
        capabilities_dropped,
        privileged,
        no_new_privileges,
        seccomp,
        seccomp_unconfined,
        seccomp_custom_profile,
        devices,
        device_read_only,
        device_rule,
        device_denied,
        sysctls,
        masked_paths,
        masked_files_cannot_change_the_null_device_of_the_host,
        null_streams_cannot_change_the_null_device_of_the_host,
    ]
}

const EFFECTIVE: &str = "grep CapEff /proc/self/status | cut -f2";

fn capabilities(docker: &Dockerd) {
    assert_eq!(docker.sh("", EFFECTIVE), "00000000a80425fb");
    assert_eq!(docker.sh("-u user", EFFECTIVE), "0000000000000000");
}

fn capabilities_added(docker: &Dockerd) {
    assert_eq!(
        docker.sh("--cap-add SYS_TIME", EFFECTIVE),
        "00000000aa0425fb"
    );
    assert_eq!(
        docker.sh(
            "--cap-add NET_ADMIN",
            "ip link set lo mtu 1400 && cat /sys/class/net/lo/mtu"
        ),
        "1400"
    );
    let output = docker.run("", &["ip", "link", "set", "lo", "mtu", "1400"]);
    assert!(
        output.status != 0 && output.stderr.contains("ermitted"),
        "{output:?}"
    );
}

fn capabilities_dropped(docker: &Dockerd) {
    assert_eq!(
        docker.sh("--cap-drop ALL --cap-add KILL", EFFECTIVE),
        "0000000000000020"
    );
    docker
        .run("--cap-drop CHOWN", &["chown", "7", "/tmp"])
        .fails(1);
    assert_eq!(docker.sh("", "chown 7 /tmp && stat -c %u /tmp"), "7");
}

fn privileged(docker: &Dockerd) {
    let output = docker.sh("--privileged", "mount -t tmpfs tmpfs /tmp && grep ' /tmp tmpfs' /proc/mounts; grep Seccomp: /proc/self/status");
    assert!(
        output.contains("/tmp tmpfs rw") && output.ends_with("\t0"),
        "{output}"
    );
}

fn no_new_privileges(docker: &Dockerd) {
    let script = "grep NoNewPrivs /proc/self/status | cut -f2";
    assert_eq!(docker.sh("--security-opt no-new-privileges", script), "1");
    assert_eq!(docker.sh("", script), "0");
}

fn seccomp(docker: &Dockerd) {
    assert_eq!(
        docker.sh("", "grep Seccomp: /proc/self/status | cut -f2"),
        "2"
    );
    let output = docker.run("", &["unshare", "-U", "true"]);
    assert!(
        output.status != 0 && output.stderr.contains("ermitted"),
        "{output:?}"
    );
}

fn seccomp_unconfined(docker: &Dockerd) {
    let output = docker.sh(
        "--security-opt seccomp=unconfined",
        "grep Seccomp: /proc/self/status | cut -f2; unshare -U true && echo may",
    );
    assert_eq!(output, "0\nmay");
}

fn seccomp_custom_profile(docker: &Dockerd) {
    let profile = docker.path("profile.json");
    let text = r#"{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95 } ] }"#;
    fs::write(&profile, text).unwrap();
    let options = format!("--security-opt seccomp={}", profile.display());
    let output = docker.run(&options, &["mkdir", "/tmp/a"]);
    assert!(output.stderr.contains("not supported"), "{output:?}");
    assert_eq!(docker.sh(&options, "touch /tmp/a && ls /tmp"), "a");
}

fn devices(docker: &Dockerd) {
    let output = docker.sh(
        "--device /dev/fuse:/dev/filesystem",
        "stat -c '%F %t %T' /dev/filesystem; : 3<>/dev/filesystem && echo opened",
    );
    assert_eq!(output, "character special file a e5\nopened");
}

fn device_read_only(docker: &Dockerd) {
    let options = "--device /dev/fuse:/dev/fuse:r";
    assert_eq!(docker.sh(options, ": 3</dev/fuse && echo opened"), "opened");
    let output = docker.run(options, &["sh", "-c", ": 3<>/dev/fuse"]);
    assert!(
        output.status != 0 && output.stderr.contains("ermitted"),
        "{output:?}"
    );
}

fn device_rule(docker: &Dockerd) {
    let script = "mknod /tmp/fuse c 10 229 && : 3<>/tmp/fuse && echo opened";
    let mut client = docker.client();
    client.args([
        "run",
        "--rm",
        "--device-cgroup-rule",
        "c 10:229 rwm",
        crate::dockerd::BUSYBOX,
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(crate::command::run(&mut client).ok(), "opened");
}

fn device_denied(docker: &Dockerd) {
    // A container with CAP_MKNOD can create the device node, but the device cgroup denies access to it.
    let output = docker.run(
        "",
        &[
            "sh",
            "-c",
            "mknod /tmp/fuse c 10 229 && echo made && : 3<>/tmp/fuse",
        ],
    );
    assert!(
        output.status != 0 && output.stdout == "made\n",
        "{output:?}"
    );
    assert!(output.stderr.contains("ermitted"), "{output:?}");
    assert_eq!(
        docker.sh(
            "",
            "head -c 3 /dev/zero | wc -c; echo x > /dev/null; head -c 1 /dev/urandom | wc -c"
        ),
        "3\n1"
    );
}

fn sysctls(docker: &Dockerd) {
    let options =
        "--sysctl net.ipv4.ip_forward=0 --sysctl kernel.msgmax=4242 --sysctl net.core.somaxconn=77";
    let output = docker.sh(
        options,
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax /proc/sys/net/core/somaxconn",
    );
    assert_eq!(output, "0\n4242\n77");
}

fn masked_paths(docker: &Dockerd) {
    let script = "wc -c < /proc/keys; ls -A /sys/firmware | wc -l";
    assert_eq!(docker.sh("", script), "0\n0");
    assert_ne!(docker.host.sh(script), "0\n0");
    let output = docker.run("", &["sh", "-c", "echo 1 > /proc/sys/kernel/panic"]);
    assert!(
        output.status != 0 && output.stderr.contains("ead-only"),
        "{output:?}"
    );
}

/// The format for `stat -L -c` that identifies a device file: file system, inode and device number.
pub(super) const STAT_FORMAT: &str = "%d %i %t:%T";

/// The host's null device in [`STAT_FORMAT`]. A container must not see that file, because its root could change the
/// mode for the whole host.
pub(super) fn host_null_device() -> String {
    let null = fs::metadata("/dev/null").unwrap();
    format!("{} {} 1:3", null.dev(), null.ino())
}

fn assert_not_host_device(output: &str) {
    assert!(output.ends_with(" 1:3"), "{output}");
    assert_ne!(output, host_null_device());
}

fn masked_files_cannot_change_the_null_device_of_the_host(docker: &Dockerd) {
    for options in [
        "",
        "--read-only --cap-drop ALL --security-opt no-new-privileges",
    ] {
        let output = docker.sh(options, &format!("stat -L -c '{STAT_FORMAT}' /proc/keys"));
        assert_not_host_device(&output);
    }
}

fn null_streams_cannot_change_the_null_device_of_the_host(docker: &Dockerd) {
    let script = format!("stat -L -c '{STAT_FORMAT}' /proc/self/fd/0; exec sleep 1000");
    let container = docker.run_detached(
        "null_streams_cannot_change_the_null_device_of_the_host",
        "",
        &["sh", "-c", &script],
    );
    container.waits_for_logs("1:3");
    assert_not_host_device(container.logs().trim());
    let script =
        format!("stat -L -c '{STAT_FORMAT}' /proc/self/fd/0 > /output; mv /output /joined");
    container.call("exec -d", &["sh", "-c", &script]).ok();
    let output = container.sh("until [ -e /joined ]; do sleep 0.05; done; cat /joined");
    assert_not_host_device(&output);
}
