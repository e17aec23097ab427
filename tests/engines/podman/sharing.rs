//! Namespaces shared with the host or with another container; systemd mode.

use std::fs;

use super::RunAs::{Both, Root};
use super::{Podman, Test};

pub(super) const TESTS: &[Test] = &[
    ("namespaces_private", Both, private),
    ("pid_host", Both, pid_host),
    ("pid_container", Both, pid_container),
    ("ipc_host", Root, ipc_host),
    ("ipc_container", Both, ipc_container),
    ("uts_host", Both, uts_host),
    ("uts_container", Both, uts_container),
    ("hostname", Both, hostname),
    ("network_container", Both, network_container),
    ("cgroupns_container", Root, cgroupns_container),
    ("systemd_always", Root, systemd_always),
    ("systemd_true", Root, systemd_true),
];

fn namespace_of(pid: impl std::fmt::Display, kind: &str) -> String {
    let link = fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
    link.to_str().unwrap().to_owned()
}

fn private(p: &Podman) {
    let c = p.start("private", &[], "sleep 1000");
    for kind in ["mnt", "pid", "net", "ipc", "uts"] {
        assert_ne!(
            namespace_of(c.pid(), kind),
            namespace_of("self", kind),
            "{kind}"
        );
    }
}

fn pid_host(p: &Podman) {
    let c = p.start("pid_host", &["--pid", "host"], "echo $$; sleep 1000");
    assert_eq!(namespace_of(c.pid(), "pid"), namespace_of("self", "pid"));
    assert_eq!(c.logs().trim(), c.pid().to_string());
    p.ok(&["stop", "-t", "1", &c.name]);
    assert_ne!(c.inspect("{{.State.ExitCode}}"), "0");
}

fn pid_container(p: &Podman) {
    let c = p.start("pid_container", &[], "exec sleep 1234");
    let place = format!("container:{}", c.name);
    let output = p.sh(&["--pid", &place], "ps; echo $$");
    assert!(output.contains("1 root     sleep 1234"), "{output}");
    // The other container's processes are killed with it, although the namespace lives on.
    let other = p.start("pid_container_2", &["--pid", &place], "sleep 1000");
    p.ok(&["rm", "-f", "-t0", &other.name]);
    assert_eq!(c.sh(&[], "ps | grep -c '[s]leep 1000' || true"), "0");
}

fn ipc_host(p: &Podman) {
    let c = p.start("ipc_host", &["--ipc", "host"], "sleep 1000");
    assert_eq!(namespace_of(c.pid(), "ipc"), namespace_of("self", "ipc"));
}

fn ipc_container(p: &Podman) {
    let c = p.start("ipc_container", &["--ipc", "shareable"], "sleep 1000");
    let place = format!("container:{}", c.name);
    let other = p.start("ipc_container_2", &["--ipc", &place], "sleep 1000");
    assert_eq!(
        namespace_of(c.pid(), "ipc"),
        namespace_of(other.pid(), "ipc")
    );
    c.sh(&[], "echo shared >/dev/shm/file");
    assert_eq!(other.sh(&[], "cat /dev/shm/file"), "shared");
}

fn uts_host(p: &Podman) {
    let host = nix::unistd::gethostname().unwrap();
    assert_eq!(p.sh(&["--uts", "host"], "hostname"), host.to_str().unwrap());
}

fn uts_container(p: &Podman) {
    let c = p.start("uts_container", &["--hostname", "both"], "sleep 1000");
    let place = format!("container:{}", c.name);
    assert_eq!(p.sh(&["--uts", &place], "hostname"), "both");
}

fn hostname(p: &Podman) {
    assert_eq!(
        p.sh(&["--hostname", "a.b.c"], "hostname; cat /etc/hostname"),
        "a.b.c\na.b.c"
    );
    let c = p.start("hostname", &[], "sleep 1000");
    assert_eq!(c.sh(&[], "hostname"), c.inspect("{{.Id}}")[..12]);
}

fn network_container(p: &Podman) {
    let c = p.start(
        "network_container",
        &[],
        "echo over loopback | nc -l -p 1234; sleep 1000",
    );
    let place = format!("container:{}", c.name);
    let output = p.sh(
        &["--network", &place],
        "for i in 1 2 3 4 5 6 7 8 9; do nc 127.0.0.1 1234 && break; sleep 0.2; done",
    );
    assert_eq!(output, "over loopback");
}

fn cgroupns_container(p: &Podman) {
    let c = p.start(
        "cgroupns_container",
        &["--cgroupns", "private"],
        "sleep 1000",
    );
    let place = format!("container:{}", c.name);
    let other = p.start(
        "cgroupns_container_2",
        &["--cgroupns", &place],
        "sleep 1000",
    );
    assert_eq!(
        namespace_of(c.pid(), "cgroup"),
        namespace_of(other.pid(), "cgroup")
    );
}

/// `--systemd always` sets up what systemd needs: tmpfs mounts and a writable cgroup.
fn systemd_always(p: &Podman) {
    let script = "for at in /run /run/lock /tmp; do grep -q \" $at tmpfs\" /proc/mounts && echo $at; done; \
        echo $container; ls -d /run/.containerenv; \
        grep -cE ' /sys/fs/cgroup(/systemd)? cgroup2? rw' /proc/mounts; true";
    let output = p.sh(&["--systemd", "always"], script);
    assert_eq!(
        output,
        "/run\n/run/lock\n/tmp\npodman\n/run/.containerenv\n1"
    );
    let output = p.sh(&["--systemd", "false"], script);
    assert_eq!(output, "podman\n/run/.containerenv\n0");
}

/// By default Podman enables systemd mode for a command called `/sbin/init`.
fn systemd_true(p: &Podman) {
    let files = p.files("systemd");
    fs::copy("/bin/busybox", files.join("busybox")).unwrap();
    let volume = format!("{}:/sbin/init", files.join("busybox").display());
    let args = [
        "run",
        "-d",
        "--name",
        "systemd_true",
        "-v",
        &volume,
        super::IMAGE,
        "/sbin/init",
    ];
    let output = p.call(&args);
    let c = p.container("systemd_true");
    assert!([0, 127].contains(&output.status), "{output:?}");
    assert_eq!(
        c.inspect("{{.Config.SystemdMode}} {{.Config.StopSignal}}"),
        "true 37"
    );
}
