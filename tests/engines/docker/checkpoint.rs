//! `docker checkpoint` and `docker start --checkpoint`, which are experimental.

use super::{Test, tests};
use crate::checkpoint::{COUNT, COUNT_IN_A_FILE, count, second_start, wait_for_more};
use crate::command::wait_until;
use crate::dockerd::{Container, Dockerd};

pub(super) fn all() -> Vec<Test> {
    tests![
        checkpoint,
        checkpoint_again,
        checkpoint_leave_running,
        checkpoint_directory,
        checkpoint_tty,
        checkpoint_limits,
        checkpoint_volume,
        checkpoint_network,
        checkpoint_without_network,
    ]
}

/// A container that counts on standard output. It is in the network of the host, unless the options select another one:
/// Docker 28 restores no container that has a network namespace.
#[track_caller]
fn counter<'a>(docker: &'a Dockerd, name: &str, options: &str) -> Container<'a> {
    let is_selected = options.contains("--network");
    let network = if is_selected { "" } else { "--network host " };
    let options = &format!("{network}{options}");
    let container = docker.run_detached(name, options, &["sh", "-c", COUNT]);
    wait_for_more(|| container.logs());
    container
}

/// Makes a checkpoint, with which the container ends.
#[track_caller]
fn stop(container: &Container, name: &str) {
    container.call("checkpoint create", &[name]).ok();
    wait_until("the container has ended", 20, || {
        container.inspect("{{.State.Status}}") == "exited"
    });
}

#[track_caller]
fn start(container: &Container, name: &str) {
    // Docker gives the images to containerd, which refuses them while it has those of `checkpoint create`: it removes them
    // a little later, with any runtime.
    let mut started = None;
    wait_until("containerd has removed the images", 20, || {
        let output = container.call(&format!("start --checkpoint {name}"), &[]);
        let is_refused = output.stderr.contains("already exists");
        started = Some(output);
        !is_refused
    });
    started.unwrap().ok();
    assert_eq!(container.inspect("{{.State.Status}}"), "running");
}

/// From the checkpoint on, which is used once.
#[track_caller]
fn round(container: &Container) {
    stop(container, "one");
    start(container, "one");
    wait_for_more(|| container.logs());
}

fn checkpoint(docker: &Dockerd) {
    let container = counter(docker, "checkpoint", "");
    let pid = container.inspect("{{.State.Pid}}");
    stop(&container, "one");
    let gone = format!("test ! -e /proc/{pid} && echo gone");
    assert_eq!(docker.host.sh(&gone), "gone");
    assert!(container.call("checkpoint ls", &[]).ok().contains("one"));
    start(&container, "one");
    wait_for_more(|| container.logs());
    assert_eq!(container.sh("echo in"), "in");
    container.call("pause", &[]).ok();
    container.call("unpause", &[]).ok();
    wait_for_more(|| container.logs());
    container.call("checkpoint rm", &["one"]).ok();
    assert!(!container.call("checkpoint ls", &[]).ok().contains("one"));
    container.call("stop -t 0", &[]).ok();
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "137");
}

/// A file that is open in the container's own layer, over several checkpoints.
fn checkpoint_again(docker: &Dockerd) {
    let script = ["sh", "-c", COUNT_IN_A_FILE];
    let container = docker.run_detached("checkpoint_again", "--network host", &script);
    let log = || container.call("exec", &["cat", "/tmp/log"]).stdout;
    wait_for_more(log);
    for name in ["one", "two", "three"] {
        stop(&container, name);
        start(&container, name);
        wait_for_more(log);
    }
}

fn checkpoint_leave_running(docker: &Dockerd) {
    let container = counter(docker, "checkpoint_leave_running", "");
    let pid = container.inspect("{{.State.Pid}}");
    container
        .call("checkpoint create --leave-running", &["one"])
        .ok();
    wait_for_more(|| container.logs());
    assert_eq!(container.inspect("{{.State.Pid}}"), pid);
    container.call("kill", &[]).ok();
    let counted = count(&container.logs());
    start(&container, "one");
    wait_until("the container goes back", 30, || {
        second_start(&container.logs()).is_some_and(|number| number > 1 && number <= counted)
    });
}

/// Docker restores only checkpoints that are in its own directory.
fn checkpoint_directory(docker: &Dockerd) {
    let container = counter(docker, "checkpoint_directory", "");
    let directory = docker.path("checkpoints").display().to_string();
    docker.host.sh(&format!("mkdir -p {directory}"));
    let option = format!("checkpoint create --leave-running --checkpoint-dir {directory}");
    container.call(&option, &["one"]).ok();
    let inventory = format!("find {directory} -name inventory.img | wc -l");
    assert_eq!(docker.host.sh(&inventory), "1");
    wait_for_more(|| container.logs());
}

fn checkpoint_tty(docker: &Dockerd) {
    let container = counter(docker, "checkpoint_tty", "-t");
    round(&container);
    let terminal = container.sh("readlink /proc/1/fd/1");
    assert!(terminal.starts_with("/dev/pts/"), "{terminal}");
}

fn checkpoint_limits(docker: &Dockerd) {
    let options = "-m 64m --pids-limit 50 --cap-drop all --cap-add kill";
    let container = counter(docker, "checkpoint_limits", options);
    let show = |files: [&str; 3]| crate::cgroups::show(files[0], files[1], files[2]);
    let memory = show(["memory", "memory.limit_in_bytes", "memory.max"]);
    let pids = show(["pids", "pids.max", "pids.max"]);
    let script = format!("{memory}; {pids}; grep -E '^(Cap|Seccomp:)' /proc/1/status");
    let before = container.sh(&script);
    assert!(before.starts_with("67108864\n50\n"), "{before}");
    round(&container);
    assert_eq!(container.sh(&script), before);
}

fn checkpoint_volume(docker: &Dockerd) {
    let files = docker.path("checkpoint_volume");
    docker.host.sh(&format!("mkdir -p {}", files.display()));
    let options = format!(
        "--read-only -v {}:/bound:ro -v /volume --tmpfs /kept",
        files.display()
    );
    let container = counter(docker, "checkpoint_volume", &options);
    container.sh("echo memory >/kept/file; echo volume >/volume/file");
    docker
        .host
        .sh(&format!("echo bound >{}/file", files.display()));
    round(&container);
    let script = "cat /kept/file /volume/file /bound/file; touch /bound/x /x";
    let output = container.call("exec", &["sh", "-c", script]);
    assert_eq!(output.stdout, "memory\nvolume\nbound\n", "{output}");
    let refused = output.stderr.matches("Read-only file system").count();
    assert_eq!(refused, 2, "{output}");
}

/// The restored container has an address, and reaches the host.
fn checkpoint_network(docker: &Dockerd) {
    let container = counter(docker, "checkpoint_network", "--network bridge");
    round(&container);
    let address = container.inspect("{{.NetworkSettings.IPAddress}}");
    let shown = container.sh("ip -o -4 address show eth0");
    assert!(shown.contains(&format!("inet {address}/")), "{shown}");
    let gateway = container.inspect("{{.NetworkSettings.Gateway}}");
    container.sh(&format!("ping -c 1 -W 5 {gateway}"));
}

fn checkpoint_without_network(docker: &Dockerd) {
    let container = counter(docker, "checkpoint_none", "--network none");
    round(&container);
    assert_eq!(container.sh("ls /sys/class/net"), "lo");
}
