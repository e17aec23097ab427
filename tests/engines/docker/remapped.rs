//! A daemon with `--userns-remap`, which gives each container a user namespace, and `--live-restore`, which keeps
//! containers running while the daemon is stopped.

use super::{Test, tests};
use crate::command::{self, wait_until};
use crate::dockerd::{BUSYBOX, Dockerd};

pub(super) const OPTIONS: &[&str] = &["--userns-remap=daemon", "--live-restore"];

pub(super) fn all() -> Vec<Test> {
    tests![
        remapped_users,
        remapped_volume,
        remapped_exec,
        remapped_publish,
        remapped_devices,
        remapped_sysctls,
        remapped_limits,
        remapped_tty,
        not_remapped,
        live_restore,
    ]
}

fn remapped_users(docker: &Dockerd) {
    let output = docker.sh(
        "",
        "cat /proc/self/uid_map /proc/self/gid_map | tr -s ' '; id -u; stat -c %u /etc/passwd",
    );
    let lines: Vec<&str> = output.lines().map(str::trim).collect();
    assert_eq!(lines, ["0 3000000 65536", "0 3000000 65536", "0", "0"]);
    assert_eq!(docker.sh("-u user", "id -u; id -G"), "1000\n1000 2000");
}

/// The container's root has no access to files of the host's root.
fn remapped_volume(docker: &Dockerd) {
    let path = docker.path("root_only");
    std::fs::create_dir_all(&path).unwrap();
    let output = docker.run(
        &format!("-v {}:/mnt", path.display()),
        &["sh", "-c", "stat -c %u /mnt; touch /mnt/file"],
    );
    assert!(
        output.stdout == "65534\n" && output.stderr.contains("ermission denied"),
        "{output:?}"
    );
    assert_eq!(
        docker.sh("-v /home", "touch /home/file && stat -c %u /home/file"),
        "0"
    );
}

fn remapped_exec(docker: &Dockerd) {
    let container = docker.sleeper("remapped_exec", "");
    assert_eq!(
        container.sh("id -u; readlink /proc/self/ns/user"),
        format!("0\n{}", container.sh("readlink /proc/1/ns/user"))
    );
    assert_eq!(container.call("exec -u user", &["id", "-un"]).ok(), "user");
    let pid = container.inspect("{{.State.Pid}}");
    assert_eq!(
        docker.host.sh(&format!("stat -c %u /proc/{pid}")),
        "3000000"
    );
    container.call("kill", &[]).ok();
    assert_eq!(container.wait(), "137");
}

fn remapped_publish(docker: &Dockerd) {
    let serves = [
        "sh",
        "-c",
        "echo page > /var/www/index.html; exec httpd -f -p 80 -h /var/www",
    ];
    let _container = docker.run_detached("remapped_publish", "-p 8081:80", &serves);
    wait_until("the page is served", 20, || {
        let mut curl = docker.host.command("curl");
        command::run(curl.args(["-s", "-m", "5", "http://127.0.0.1:8081/"])).stdout == "page\n"
    });
}

fn remapped_devices(docker: &Dockerd) {
    let output = docker.sh(
        "--device /dev/fuse",
        "head -c 2 /dev/zero | wc -c; stat -c %t,%T /dev/fuse; ls -d /dev/pts/ptmx",
    );
    assert_eq!(output, "2\na,e5\n/dev/pts/ptmx");
}

fn remapped_sysctls(docker: &Dockerd) {
    let output = docker.sh(
        "--sysctl net.core.somaxconn=77 --hostname mapped",
        "cat /proc/sys/net/core/somaxconn; hostname",
    );
    assert_eq!(output, "77\nmapped");
}

fn remapped_limits(docker: &Dockerd) {
    let script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max";
    let container = docker.sleeper("remapped_limits", "-m 64m");
    assert_eq!(container.sh(script), "67108864");
    container.call("update -m 32m --memory-swap 32m", &[]).ok();
    assert_eq!(container.sh(script), "33554432");
    container.call("pause", &[]).ok();
    container.call("unpause", &[]).ok();
}

fn remapped_tty(docker: &Dockerd) {
    assert_eq!(docker.sh("-t", "tty; stat -c %u $(tty)"), "/dev/pts/0\r\n0");
}

fn not_remapped(docker: &Dockerd) {
    let output = docker.sh("--userns host", "cat /proc/self/uid_map | tr -s ' '");
    assert_eq!(output.trim(), "0 0 4294967295");
}

/// The container keeps running while the daemon is stopped, and the restarted daemon manages it again.
///
/// Other tests cannot use the daemon meanwhile, so this test has its own.
fn live_restore(docker: &Dockerd) {
    let docker = &Dockerd::start("live", docker.runtime, &["--live-restore"]);
    docker.load_images();
    let script = "i=0; while :; do echo $((i=i+1)) > /tmp/ticks; sleep 0.05; done";
    let container = docker.run_detached("live_restore", "-m 64m", &["sh", "-c", script]);
    let pid = container.inspect("{{.State.Pid}}");
    wait_until("the container has started to count", 10, || {
        container.call("exec", &["cat", "/tmp/ticks"]).status == 0
    });
    let short = docker.run_detached("live_restore_2", "", &["sh", "-c", "sleep 1; exit 9"]);
    docker.restart(|| {
        let alive = docker
            .host
            .sh(&format!("tr '\\0' ' ' < /proc/{pid}/cmdline"));
        assert!(alive.starts_with("sh -c i=0"), "{alive}");
    });
    assert_eq!(
        container.inspect("{{.State.Pid}} {{.State.Running}}"),
        format!("{pid} true")
    );
    let ticks = container.sh("cat /tmp/ticks");
    wait_until("the counter advances", 10, || {
        container.sh("cat /tmp/ticks") != ticks
    });
    assert_eq!(short.wait(), "9");
    container.call("update -m 32m --memory-swap 32m", &[]).ok();
    container.call("stop -t 1", &[]).ok();
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "137");
    let output = docker.docker(&["run", "--rm", BUSYBOX, "echo", "new"]).ok();
    assert_eq!(output, "new");
}
