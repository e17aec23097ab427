//! What the kernel is told about it: capabilities, seccomp, devices, sysctls.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::{Drive, drives};
use crate::dockerd::Dockerd;

pub(super) fn all() -> Vec<Drive> {
    drives![
        capabilities,
        capabilities_added,
        capabilities_dropped,
        privileged,
        no_new_privileges,
        seccomp,
        seccomp_unconfined,
        seccomp_of_ones_own,
        devices,
        device_read_only,
        device_rule,
        device_denied,
        sysctls,
        masked_paths,
        masked_files_are_not_the_machines,
        null_streams_are_not_the_machines,
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
    let said = docker.run("", &["ip", "link", "set", "lo", "mtu", "1400"]);
    assert!(
        said.status != 0 && said.stderr.contains("ermitted"),
        "{said:?}"
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
    let said = docker.sh("--privileged", "mount -t tmpfs tmpfs /tmp && grep ' /tmp tmpfs' /proc/mounts; grep Seccomp: /proc/self/status");
    assert!(
        said.contains("/tmp tmpfs rw") && said.ends_with("\t0"),
        "{said}"
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
    let said = docker.run("", &["unshare", "-U", "true"]);
    assert!(
        said.status != 0 && said.stderr.contains("ermitted"),
        "{said:?}"
    );
}

fn seccomp_unconfined(docker: &Dockerd) {
    let said = docker.sh(
        "--security-opt seccomp=unconfined",
        "grep Seccomp: /proc/self/status | cut -f2; unshare -U true && echo may",
    );
    assert_eq!(said, "0\nmay");
}

fn seccomp_of_ones_own(docker: &Dockerd) {
    let profile = docker.path("profile.json");
    let text = r#"{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95 } ] }"#;
    fs::write(&profile, text).unwrap();
    let options = format!("--security-opt seccomp={}", profile.display());
    let said = docker.run(&options, &["mkdir", "/tmp/a"]);
    assert!(said.stderr.contains("not supported"), "{said:?}");
    assert_eq!(docker.sh(&options, "touch /tmp/a && ls /tmp"), "a");
}

fn devices(docker: &Dockerd) {
    let said = docker.sh(
        "--device /dev/fuse:/dev/filesystem",
        "stat -c '%F %t %T' /dev/filesystem; : 3<>/dev/filesystem && echo opened",
    );
    assert_eq!(said, "character special file a e5\nopened");
}

fn device_read_only(docker: &Dockerd) {
    let options = "--device /dev/fuse:/dev/fuse:r";
    assert_eq!(docker.sh(options, ": 3</dev/fuse && echo opened"), "opened");
    let said = docker.run(options, &["sh", "-c", ": 3<>/dev/fuse"]);
    assert!(
        said.status != 0 && said.stderr.contains("ermitted"),
        "{said:?}"
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
    assert_eq!(crate::call::run(&mut client).ok(), "opened");
}

fn device_denied(docker: &Dockerd) {
    // It may be made by anyone with MKNOD, and opened by nobody.
    let said = docker.run(
        "",
        &[
            "sh",
            "-c",
            "mknod /tmp/fuse c 10 229 && echo made && : 3<>/tmp/fuse",
        ],
    );
    assert!(said.status != 0 && said.stdout == "made\n", "{said:?}");
    assert!(said.stderr.contains("ermitted"), "{said:?}");
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
    let said = docker.sh(
        options,
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax /proc/sys/net/core/somaxconn",
    );
    assert_eq!(said, "0\n4242\n77");
}

fn masked_paths(docker: &Dockerd) {
    let script = "wc -c < /proc/keys; ls -A /sys/firmware | wc -l";
    assert_eq!(docker.sh("", script), "0\n0");
    assert_ne!(docker.machine.sh(script), "0\n0");
    let said = docker.run("", &["sh", "-c", "echo 1 > /proc/sys/kernel/panic"]);
    assert!(
        said.status != 0 && said.stderr.contains("ead-only"),
        "{said:?}"
    );
}

/// Says which file a null device is: with `stat -L -c`.
pub(super) const WHICH: &str = "%d %i %t:%T";

/// The machine's own null device, as [`WHICH`] says it: root in a container could change
/// its mode for all.
pub(super) fn machines_null() -> String {
    let null = fs::metadata("/dev/null").unwrap();
    format!("{} {} 1:3", null.dev(), null.ino())
}

fn assert_is_another(said: &str) {
    assert!(said.ends_with(" 1:3"), "{said}");
    assert_ne!(said, machines_null());
}

fn masked_files_are_not_the_machines(docker: &Dockerd) {
    for options in [
        "",
        "--read-only --cap-drop ALL --security-opt no-new-privileges",
    ] {
        let said = docker.sh(options, &format!("stat -L -c '{WHICH}' /proc/keys"));
        assert_is_another(&said);
    }
}

fn null_streams_are_not_the_machines(docker: &Dockerd) {
    let script = format!("stat -L -c '{WHICH}' /proc/self/fd/0; exec sleep 1000");
    let container = docker.keep(
        "null_streams_are_not_the_machines",
        "",
        &["sh", "-c", &script],
    );
    container.waits_for_logs("1:3");
    assert_is_another(container.logs().trim());
    let script = format!("stat -L -c '{WHICH}' /proc/self/fd/0 > /said; mv /said /joined");
    container.call("exec -d", &["sh", "-c", &script]).ok();
    let said = container.sh("until [ -e /joined ]; do sleep 0.05; done; cat /joined");
    assert_is_another(&said);
}
