//! Namespaces that are shared: with another container, or with the machine.

use super::{Drive, drives};
use crate::dockerd::Dockerd;

pub(super) fn all() -> Vec<Drive> {
    drives![
        pid_of_another,
        pid_of_the_machine,
        ipc_of_another,
        ipc_of_the_machine,
        ipc_private,
        uts_of_the_machine,
        namespaces_of_its_own,
    ]
}

fn pid_of_another(docker: &Dockerd) {
    let container = docker.sleeper("pid_of_another", "");
    let script = "cat /proc/1/cmdline | tr '\\0' ' '; readlink /proc/self/ns/pid";
    let said = docker.sh("--pid container:pid_of_another", script);
    assert_eq!(
        said,
        format!("sleep 1000 {}", container.sh("readlink /proc/self/ns/pid"))
    );
    // It ends alone, and by every signal.
    let other = docker.sleeper("pid_of_another_2", "--pid container:pid_of_another");
    other.call("stop", &[]).ok();
    assert_eq!(other.inspect("{{.State.ExitCode}}"), "143");
    assert_eq!(container.inspect("{{.State.Running}}"), "true");
}

fn pid_of_the_machine(docker: &Dockerd) {
    let container = docker.sleeper("pid_of_the_machine", "--pid host");
    let namespace = "readlink /proc/self/ns/pid";
    assert_eq!(container.sh(namespace), docker.machine.sh(namespace));
    assert_eq!(container.sh("cat /proc/1/comm"), "sh");
    container.call("kill", &[]).ok();
    assert_eq!(container.wait(), "137");
}

fn ipc_of_another(docker: &Dockerd) {
    let container = docker.sleeper("ipc_of_another", "--ipc shareable");
    container.sh("echo theirs > /dev/shm/file");
    let script = "cat /dev/shm/file; readlink /proc/self/ns/ipc";
    let said = docker.sh("--ipc container:ipc_of_another", script);
    assert_eq!(
        said,
        format!("theirs\n{}", container.sh("readlink /proc/self/ns/ipc"))
    );
}

fn ipc_of_the_machine(docker: &Dockerd) {
    let namespace = "readlink /proc/self/ns/ipc";
    assert_eq!(
        docker.sh("--ipc host", namespace),
        docker.machine.sh(namespace)
    );
}

fn ipc_private(docker: &Dockerd) {
    let _container = docker.sleeper("ipc_private", "--ipc private");
    let said = docker.run("--ipc container:ipc_private", &["true"]);
    assert!(
        said.status != 0 && said.stderr.contains("non-shareable IPC"),
        "{said:?}"
    );
    assert_eq!(
        docker.sh("--ipc none", "ls -d /dev/shm 2>/dev/null || echo none"),
        "none"
    );
}

fn uts_of_the_machine(docker: &Dockerd) {
    assert_eq!(
        docker.sh("--uts host", "hostname"),
        docker.machine.sh("hostname")
    );
}

fn namespaces_of_its_own(docker: &Dockerd) {
    let script = "for n in mnt net pid ipc uts; do readlink /proc/self/ns/$n; done";
    let (inside, outside) = (docker.sh("", script), docker.machine.sh(script));
    assert_eq!(inside.lines().count(), 5);
    for (inside, outside) in inside.lines().zip(outside.lines()) {
        assert_ne!(inside, outside);
    }
}
