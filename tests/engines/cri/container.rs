//! The lifecycle of a pod's container, and its log.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Pod, client};
use crate::containerd::{Containerd, Test};
use crate::{command, image};

pub(super) const TESTS: &[Test] = &[
    ("container", container),
    ("container_exit_status", exit_status),
    ("container_list", list),
    ("container_command", command),
    ("container_image_command", image_command),
    ("container_env", env),
    ("container_working_dir", working_dir),
    ("container_stop", stop),
    ("container_stop_signal", stop_signal),
    ("container_stop_timeout", stop_timeout),
    ("container_remove", remove),
    ("container_remove_running", remove_running),
    ("container_restarted", again),
    ("container_no_program", no_program),
    ("container_stdin", stdin),
    ("container_tty", tty),
    ("log", log),
    ("log_tty", log_tty),
    ("log_long_lines", log_long_lines),
    ("log_reopen", log_reopen),
    ("container_stats", stats),
];

fn sh(script: &str) -> Value {
    json!({ "command": ["sh", "-c", script] })
}

fn container(daemon: &Containerd) {
    let pod = Pod::new(daemon, "container");
    let container = pod.create("one", json!({})).unwrap();
    assert_eq!(container.state(), "CONTAINER_CREATED");
    container.call("StartContainer", json!({}));
    let status = container.status();
    assert_eq!(status["state"], "CONTAINER_RUNNING");
    assert_eq!(status["metadata"]["name"], "one");
    assert_ne!(status["started_at"], "0");
    assert!(
        container
            .try_call("StartContainer", json!({}))
            .unwrap_err()
            .contains("state")
    );
}

fn exit_status(daemon: &Containerd) {
    let pod = Pod::new(daemon, "container_exit_status");
    let container = pod.run("one", sh("exit 77"));
    assert_eq!(container.wait(), 77);
    assert_eq!(container.status()["reason"], "Error");
    assert_eq!(pod.run("two", sh("true")).wait(), 0);
    assert_eq!(
        pod.run("three", sh("sh -c 'kill -ABRT $$'; exit $?"))
            .wait(),
        134
    );
}

fn list(daemon: &Containerd) {
    let pod = Pod::new(daemon, "container_list");
    let one = pod.run("one", json!({ "labels": { "kind": "list" } }));
    let _two = pod.run("two", json!({}));
    let list = |filter: Value| {
        let list = client(daemon).ok("ListContainers", json!({ "filter": filter }));
        let list = list["containers"].as_array().unwrap().clone();
        list.into_iter()
            .map(|container| container["id"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(list(json!({ "pod_sandbox_id": pod.id })).len(), 2);
    assert_eq!(
        list(json!({ "label_selector": { "kind": "list" } })),
        [one.id.as_str()]
    );
}

fn command(daemon: &Containerd) {
    let pod = Pod::new(daemon, "container_command");
    let more = json!({ "command": ["sh", "-c"], "args": ["echo \"$0 $1\"", "first", "se cond"] });
    let container = pod.run("one", more);
    assert_eq!(container.wait(), 0);
    assert!(
        container.log().ends_with(" stdout F first se cond\n"),
        "{}",
        container.log()
    );
}

fn image_command(daemon: &Containerd) {
    let pod = Pod::new(daemon, "container_image_command");
    let seen = pod
        .idle(json!({}))
        .sh("tr '\\0' ' ' < /proc/1/cmdline; echo $IMAGE");
    assert_eq!(seen, "/bin/sleep 1000000 yes");
}

fn env(daemon: &Containerd) {
    let pod = Pod::new(daemon, "container_env");
    let envs = json!([{ "key": "ONE", "value": "a b=c" }, { "key": "IMAGE", "value": "over" }]);
    let seen = pod
        .idle(json!({ "envs": envs }))
        .sh("echo $ONE $IMAGE $PATH");
    assert_eq!(seen, "a b=c over /bin");
}

fn working_dir(daemon: &Containerd) {
    let pod = Pod::new(daemon, "container_working_dir");
    let container = pod.idle(json!({ "working_dir": "/var/new/place" }));
    assert_eq!(
        container.sh("pwd; readlink /proc/1/cwd"),
        "/var/new/place\n/var/new/place"
    );
}

const LISTENING: &str = "trap 'echo asked; exit 3' TERM; echo ready; while :; do sleep 0.1; done";

fn stop(daemon: &Containerd) {
    let pod = Pod::new(daemon, "container_stop");
    let container = pod.run("one", sh(LISTENING));
    command::wait_until("the trap is set", 10, || container.log().contains("ready"));
    container.call("StopContainer", json!({ "timeout": 20 }));
    assert_eq!(container.wait(), 3);
    assert!(container.log().contains("asked"));
    container.call("StopContainer", json!({ "timeout": 20 }));
}

/// The stop signal comes from the image.
fn stop_signal(daemon: &Containerd) {
    const IMAGE: &str = "localhost/rt/signal:1";
    let layer = image::busybox_archive(&daemon.scratch("stop_signal_layer"));
    let config = json!({ "Env": ["PATH=/bin"], "StopSignal": "SIGUSR2" });
    daemon.import("k8s.io", IMAGE, &layer, &config);
    let pod = Pod::new(daemon, "container_stop_signal");
    let mut more = sh("trap 'exit 17' USR2; echo ready; while :; do sleep 0.1; done");
    more["image"] = json!({ "image": IMAGE });
    let container = pod.run("one", more);
    command::wait_until("the trap is set", 10, || container.log().contains("ready"));
    container.call("StopContainer", json!({ "timeout": 20 }));
    assert_eq!(container.wait(), 17);
}

fn stop_timeout(daemon: &Containerd) {
    let pod = Pod::new(daemon, "container_stop_timeout");
    let container = pod.run(
        "one",
        sh("trap 'echo asked' TERM; echo ready; while :; do sleep 0.1; done"),
    );
    command::wait_until("the trap is set", 10, || container.log().contains("ready"));
    let since = Instant::now();
    container.call("StopContainer", json!({ "timeout": 1 }));
    assert!(since.elapsed() >= Duration::from_secs(1));
    assert_eq!(container.wait(), 137);
    assert!(container.log().contains("asked"));
}

fn remove(daemon: &Containerd) {
    let pod = Pod::new(daemon, "container_remove");
    let container = pod.run("one", sh("true"));
    container.wait();
    container.call("RemoveContainer", json!({}));
    let gone = container
        .try_call("ContainerStatus", json!({}))
        .unwrap_err();
    assert!(gone.contains("NOT_FOUND"), "{gone}");
    container.call("RemoveContainer", json!({}));
}

fn remove_running(daemon: &Containerd) {
    let pod = Pod::new(daemon, "container_remove_running");
    let container = pod.run("one", json!({}));
    let process = container.pid();
    container.call("RemoveContainer", json!({}));
    assert!(!fs::exists(format!("/proc/{process}/exe")).unwrap());
}

/// After a crash the kubelet creates the next attempt of the container in the same pod.
fn again(daemon: &Containerd) {
    let pod = Pod::new(daemon, "container_restarted");
    for attempt in 0..3 {
        let more = json!({ "metadata": { "name": "one", "attempt": attempt }, "command": ["sh", "-c", "exit 1"] });
        assert_eq!(pod.run("one", more).wait(), 1);
    }
}

fn no_program(daemon: &Containerd) {
    let pod = Pod::new(daemon, "container_no_program");
    let container = pod
        .create("one", json!({ "command": ["/no/such/program"] }))
        .unwrap();
    let error = container.try_call("StartContainer", json!({})).unwrap_err();
    assert!(error.contains("/no/such/program"), "{error}");
    assert!(error.contains("no such file or directory"), "{error}");
    assert_eq!(container.status()["exit_code"], 128);
    assert_eq!(container.status()["reason"], "StartError");
    assert_eq!(pod.idle(json!({})).sh("echo well"), "well");
}

fn stdin(daemon: &Containerd) {
    let pod = Pod::new(daemon, "container_stdin");
    let more = json!({ "stdin": true, "stdin_once": true, "command": ["sh", "-c", "read line; echo got $line; exit 5"] });
    let container = pod.run("one", more);
    let attach = json!({ "stdin": true, "stdout": true, "stderr": true });
    let output = container.stream("Attach", attach, &json!([{ "send": "a line\n" }]));
    assert_eq!(output["1"], "got a line\n", "{output}");
    assert_eq!(container.wait(), 5);
}

fn tty(daemon: &Containerd) {
    let pod = Pod::new(daemon, "container_tty");
    let more = json!({ "stdin": true, "tty": true, "command": ["sh"] });
    let container = pod.run("one", more);
    let attach = json!({ "stdin": true, "stdout": true, "tty": true });
    let steps = json!([
        { "resize": [91, 37] },
        { "send": "tty\n" },
        { "expect": "/dev/pts/0" },
        { "send": "until [ \"$(stty size)\" = '37 91' ]; do sleep 0.1; done; exit 6\n" },
    ]);
    container.stream("Attach", attach, &steps);
    assert_eq!(container.wait(), 6);
}

/// The log has lines of the form `TIME stdout F text`.
fn log(daemon: &Containerd) {
    let pod = Pod::new(daemon, "log");
    let container = pod.run(
        "one",
        sh("echo out; sleep 0.2; echo err >&2; sleep 0.2; printf end"),
    );
    container.wait();
    command::wait_until("everything is logged", 10, || {
        container.log().contains("end")
    });
    let log = container.log();
    let lines: Vec<&str> = log
        .lines()
        .map(|line| line.split_once(' ').unwrap().1)
        .collect();
    assert_eq!(
        lines,
        ["stdout F out", "stderr F err", "stdout P end"],
        "{log}"
    );
}

fn log_tty(daemon: &Containerd) {
    let pod = Pod::new(daemon, "log_tty");
    let mut more = sh("test -t 1 && echo terminal");
    more["tty"] = true.into();
    let container = pod.run("one", more);
    assert_eq!(container.wait(), 0);
    command::wait_until("the output is logged", 10, || {
        container.log().contains("stdout F terminal")
    });
}

fn log_long_lines(daemon: &Containerd) {
    let pod = Pod::new(daemon, "log_long_lines");
    let container = pod.run("one", sh("head -c 40000 /dev/zero | tr '\\0' x; echo"));
    assert_eq!(container.wait(), 0);
    let count = || container.log().matches('x').count();
    command::wait_until("all output is logged", 10, || count() == 40000);
    assert!(container.log().contains(" stdout P x"));
}

fn log_reopen(daemon: &Containerd) {
    let pod = Pod::new(daemon, "log_reopen");
    let container = pod.run("one", sh("while :; do echo tick; sleep 0.1; done"));
    command::wait_until("the log has output", 10, || {
        container.log().contains("tick")
    });
    fs::rename(&container.log, container.log.with_extension("old")).unwrap();
    container.call("ReopenContainerLog", json!({}));
    command::wait_until("the new log has output", 10, || {
        container.log().contains("tick")
    });
}

fn stats(daemon: &Containerd) {
    let pod = Pod::new(daemon, "container_stats");
    let container = pod.run(
        "one",
        sh("i=0; while test $i -lt 20000; do i=$((i+1)); done; sleep 1000"),
    );
    let cpu = || {
        let stats = container.call("ContainerStats", json!({}));
        let used = &stats["stats"]["cpu"]["usage_core_nano_seconds"]["value"];
        used.as_str().unwrap_or("0").parse::<u64>().unwrap()
    };
    command::wait_until("20 ms of a processor are counted", 20, || {
        cpu() > 20_000_000
    });
    let stats = container.call("ContainerStats", json!({}));
    let memory = &stats["stats"]["memory"]["working_set_bytes"]["value"];
    assert_ne!(memory, "0", "{stats}");
}
