//! Namespaces shared with another container or with the host.

use super::{Test, tests};
use crate::dockerd::Dockerd;

pub(super) fn all() -> Vec<Test> {
    tests![
        pid_container,
        pid_host,
        ipc_container,
        ipc_host,
        ipc_private,
        uts_host,
        namespaces_private,
    ]
}

fn pid_container(docker: &Dockerd) {
    let container = docker.sleeper("pid_container", "");
    let script = "cat /proc/1/cmdline | tr '\\0' ' '; readlink /proc/self/ns/pid";
    let output = docker.sh("--pid container:pid_container", script);
    assert_eq!(
        output,
        format!("sleep 1000 {}", container.sh("readlink /proc/self/ns/pid"))
    );
    // The other container is not init of the pid namespace, so SIGTERM ends it, and it alone.
    let other = docker.sleeper("pid_container_2", "--pid container:pid_container");
    other.call("stop", &[]).ok();
    assert_eq!(other.inspect("{{.State.ExitCode}}"), "143");
    assert_eq!(container.inspect("{{.State.Running}}"), "true");
}

fn pid_host(docker: &Dockerd) {
    let container = docker.sleeper("pid_host", "--pid host");
    let namespace = "readlink /proc/self/ns/pid";
    assert_eq!(container.sh(namespace), docker.host.sh(namespace));
    assert_eq!(container.sh("cat /proc/1/comm"), "sh");
    container.call("kill", &[]).ok();
    assert_eq!(container.wait(), "137");
}

fn ipc_container(docker: &Dockerd) {
    let container = docker.sleeper("ipc_container", "--ipc shareable");
    container.sh("echo theirs > /dev/shm/file");
    let script = "cat /dev/shm/file; readlink /proc/self/ns/ipc";
    let output = docker.sh("--ipc container:ipc_container", script);
    assert_eq!(
        output,
        format!("theirs\n{}", container.sh("readlink /proc/self/ns/ipc"))
    );
}

fn ipc_host(docker: &Dockerd) {
    let namespace = "readlink /proc/self/ns/ipc";
    assert_eq!(
        docker.sh("--ipc host", namespace),
        docker.host.sh(namespace)
    );
}

fn ipc_private(docker: &Dockerd) {
    let _container = docker.sleeper("ipc_private", "--ipc private");
    let output = docker.run("--ipc container:ipc_private", &["true"]);
    assert!(
        output.status != 0 && output.stderr.contains("non-shareable IPC"),
        "{output:?}"
    );
    assert_eq!(
        docker.sh("--ipc none", "ls -d /dev/shm 2>/dev/null || echo none"),
        "none"
    );
}

fn uts_host(docker: &Dockerd) {
    assert_eq!(
        docker.sh("--uts host", "hostname"),
        docker.host.sh("hostname")
    );
}

fn namespaces_private(docker: &Dockerd) {
    let script = "for n in mnt net pid ipc uts; do readlink /proc/self/ns/$n; done";
    let (inside, outside) = (docker.sh("", script), docker.host.sh(script));
    assert_eq!(inside.lines().count(), 5);
    for (inside, outside) in inside.lines().zip(outside.lines()) {
        assert_ne!(inside, outside);
    }
}
