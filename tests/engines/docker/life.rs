//! The lifecycle of a container: start, stop, kill, pause, restart, health checks and removal.

use std::fs;

use super::{Test, tests};
use crate::command::{self, wait_until};
use crate::dockerd::{BUSYBOX, Dockerd};
use crate::image;

pub(super) fn all() -> Vec<Test> {
    tests![
        create_and_start,
        stop,
        stop_timeout,
        stop_signal,
        kill,
        restart,
        pause,
        remove,
        rename,
        restart_on_failure,
        healthcheck,
        top,
        stats,
        wait_and_inspect,
        many_concurrently,
        automatic_removal,
        no_leftovers,
        no_leftovers_after_a_failed_exec,
    ]
}

/// A script that prints the name of each signal it receives.
const TRAPS: &str = "for s in TERM USR1 HUP INT; do trap \"echo $s; [ $s = USR1 ] || exit 3\" $s; done; \
    echo ready; while :; do sleep 0.05; done";

fn create_and_start(docker: &Dockerd) {
    let container = docker.container("create_and_start");
    docker
        .docker(&[
            "create",
            "--name",
            "create_and_start",
            BUSYBOX,
            "echo",
            "hello",
        ])
        .ok();
    assert_eq!(container.inspect("{{.State.Status}}"), "created");
    assert_eq!(container.call("start -a", &[]).ok(), "hello");
    assert_eq!(container.call("start -a", &[]).ok(), "hello");
    assert_eq!(
        container.inspect("{{.State.Status}} {{.State.ExitCode}}"),
        "exited 0"
    );
}

fn stop(docker: &Dockerd) {
    let container = docker.run_detached("stop", "", &["sh", "-c", TRAPS]);
    container.waits_for_logs("ready");
    container.call("stop", &[]).ok();
    assert_eq!(container.logs(), "ready\nTERM");
    assert_eq!(
        container.inspect("{{.State.Status}} {{.State.ExitCode}}"),
        "exited 3"
    );
}

fn stop_timeout(docker: &Dockerd) {
    let container = docker.sleeper("stop_timeout", "");
    let began = std::time::Instant::now();
    container.call("stop -t 1", &[]).ok();
    assert!(began.elapsed().as_millis() > 900, "{:?}", began.elapsed());
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "137");
}

fn stop_signal(docker: &Dockerd) {
    let container = docker.run_detached("stop_signal", "--stop-signal HUP", &["sh", "-c", TRAPS]);
    container.waits_for_logs("ready");
    container.call("stop", &[]).ok();
    assert_eq!(container.logs(), "ready\nHUP");
}

fn kill(docker: &Dockerd) {
    let container = docker.run_detached("kill", "", &["sh", "-c", TRAPS]);
    container.waits_for_logs("ready");
    container.call("kill -s USR1", &[]).ok();
    container.waits_for_logs("USR1");
    assert_eq!(container.inspect("{{.State.Running}}"), "true");
    container.call("kill -s 2", &[]).ok();
    assert_eq!(container.wait(), "3");
    assert_eq!(container.logs(), "ready\nUSR1\nINT");
    let output = container.call("kill", &[]).fails(1);
    assert!(output.contains("is not running"), "{output}");
}

fn restart(docker: &Dockerd) {
    let script = "echo began; touch /tmp/$(ls /tmp | wc -l); exec sleep 1000";
    let container = docker.run_detached("restart", "", &["sh", "-c", script]);
    container.waits_for_logs("began");
    let pid = container.inspect("{{.State.Pid}}");
    container.call("restart -t 0", &[]).ok();
    container.waits_for_logs("began\nbegan");
    assert_ne!(container.inspect("{{.State.Pid}}"), pid);
    wait_until("each run has left a file", 10, || {
        container.sh("ls /tmp") == "0\n1"
    });
}

fn pause(docker: &Dockerd) {
    let script = "while :; do echo x >> /tmp/ticks; sleep 0.02; done";
    let container = docker.run_detached("pause", "-v /tmp", &["sh", "-c", script]);
    wait_until("the container has started to count", 20, || {
        container.call("exec", &["cat", "/tmp/ticks"]).status == 0
    });
    let volume = container.inspect("{{(index .Mounts 0).Source}}");
    let ticks = || docker.host.sh(&format!("wc -l < {volume}/ticks"));
    container.call("pause", &[]).ok();
    assert_eq!(container.inspect("{{.State.Status}}"), "paused");
    let then = ticks();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(ticks(), then, "the container continues to count");
    container.call("unpause", &[]).ok();
    assert_eq!(container.inspect("{{.State.Status}}"), "running");
    wait_until("the container continues to count", 20, || ticks() != then);
    let output = container.call("unpause", &[]).fails(1);
    assert!(output.contains("is not paused"), "{output}");
}

fn remove(docker: &Dockerd) {
    let container = docker.sleeper("remove", "");
    let output = container.call("rm", &[]).fails(1);
    assert!(output.contains("running container"), "{output}");
    let pid = container.inspect("{{.State.Pid}}");
    container.call("rm -f", &[]).ok();
    container.call("inspect", &[]).fails(1);
    let alive = docker.host.sh(&format!(
        "test ! -e /proc/{pid} && echo gone || cat /proc/{pid}/status"
    ));
    assert_eq!(alive, "gone");
    // `docker rm -f` removes a paused container too.
    let container = docker.sleeper("remove", "");
    container.call("pause", &[]).ok();
    container.call("rm -f", &[]).ok();
    container.call("inspect", &[]).fails(1);
}

fn rename(docker: &Dockerd) {
    let container = docker.sleeper("rename", "");
    container.call("rename", &["renamed"]).ok();
    let renamed = docker.container("renamed");
    assert_eq!(renamed.sh("echo here"), "here");
}

fn restart_on_failure(docker: &Dockerd) {
    let script = "echo life; exit 4";
    let container = docker.run_detached(
        "on_failure",
        "--restart on-failure:2",
        &["sh", "-c", script],
    );
    wait_until("the container has been restarted twice", 30, || {
        container.inspect("{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}") == "2 exited 4"
    });
    assert_eq!(container.logs(), "life\nlife\nlife");
}

fn healthcheck(docker: &Dockerd) {
    let container = docker.container("healthcheck");
    docker
        .docker(&[
            "run",
            "-d",
            "--name",
            "healthcheck",
            "--health-interval",
            "200ms",
            "--health-retries",
            "1",
            "--health-cmd",
            "test -e /tmp/well || exit 8",
            BUSYBOX,
            "sleep",
            "1000",
        ])
        .ok();
    let health = |wanted: &str| {
        wait_until(wanted, 30, || {
            container.inspect("{{.State.Health.Status}}") == wanted
        });
    };
    health("unhealthy");
    let log = container.inspect("{{(index .State.Health.Log 0).ExitCode}}");
    assert_eq!(log, "8");
    container.sh("touch /tmp/well");
    health("healthy");
}

fn top(docker: &Dockerd) {
    let container = docker.run_detached("top", "", &["sh", "-c", "sleep 1001 & exec sleep 1002"]);
    wait_until("both run", 10, || {
        container.call("top", &[]).ok().contains("sleep 1002")
    });
    let output = container.call("top", &["-o", "pid,args"]).ok();
    let mut lines: Vec<_> = output.lines().skip(1).collect();
    lines.sort_by_key(|line| line.split_whitespace().last());
    let commands: Vec<String> = lines
        .iter()
        .map(|line| {
            line.split_whitespace()
                .skip(1)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    assert_eq!(commands, ["sleep 1001", "sleep 1002"]);
    assert_eq!(
        lines[1].split_whitespace().next(),
        Some(container.inspect("{{.State.Pid}}").as_str())
    );
}

fn stats(docker: &Dockerd) {
    let script =
        "dd if=/dev/zero of=/dev/shm/used bs=1M count=8 2>/dev/null; sleep 1001 & sleep 1002";
    let container = docker.run_detached("stats", "-m 64m --pids-limit 17", &["sh", "-c", script]);
    wait_until("the processes run", 20, || {
        let output = container
            .call(
                "stats --no-stream",
                &["--format", "{{.PIDs}} {{.MemUsage}}"],
            )
            .ok();
        let args: Vec<&str> = output.split_whitespace().collect();
        let used = args[1]
            .strip_suffix("MiB")
            .and_then(|number| number.parse::<f64>().ok());
        args[0] == "2" && args[3] == "64MiB" && used.is_some_and(|used| (8.0..64.0).contains(&used))
    });
}

fn wait_and_inspect(docker: &Dockerd) {
    let container = docker.run_detached("wait", "", &["sh", "-c", "sleep 3; exit 17"]);
    let pid = container.inspect("{{.State.Pid}}");
    assert!(pid.parse::<u32>().unwrap() > 1);
    assert_eq!(container.wait(), "17");
    let state = container.inspect("{{.State.ExitCode}} {{.State.Pid}} {{.State.Error}}");
    assert_eq!(state, "17 0");
    let runtime = container.inspect("{{.HostConfig.Runtime}}");
    assert_eq!(runtime, docker.runtime.name());
}

/// Twenty concurrent containers each have their own host name and exit status.
fn many_concurrently(docker: &Dockerd) {
    std::thread::scope(|scope| {
        let one = |number: i32| {
            scope.spawn(move || {
                let script = format!("hostname; exit {number}");
                docker.run(&format!("--hostname host{number}"), &["sh", "-c", &script])
            })
        };
        let all: Vec<_> = (1..=20).map(one).collect();
        for (number, output) in (1..=20).zip(all) {
            let output = output.join().unwrap();
            assert_eq!(output.stdout, format!("host{number}\n"), "{output:?}");
            output.fails(number);
        }
    });
}

fn automatic_removal(docker: &Dockerd) {
    let mut client = docker.client();
    command::run(client.args([
        "run",
        "-d",
        "--rm",
        "--name",
        "automatic_removal",
        BUSYBOX,
        "true",
    ]))
    .ok();
    wait_until("the container is removed", 20, || {
        docker.docker(&["inspect", "automatic_removal"]).status == 1
    });
}

/// A removed container leaves neither a cgroup nor a state directory.
fn no_leftovers(docker: &Dockerd) {
    let container = docker.sleeper("no_leftovers", "");
    let id = container.inspect("{{.Id}}");
    assert_ne!(leftovers(docker, &id), "");
    drop(container);
    wait_until("no cgroup and no state directory remains", 10, || {
        leftovers(docker, &id).is_empty()
    });
}

/// The cgroups and the state directories of a container.
fn leftovers(docker: &Dockerd, id: &str) -> String {
    let places = format!("/sys/fs/cgroup {}", docker.path("exec").display());
    let find = format!("find {places} -name '*{id}*' 2>/dev/null || true");
    docker.host.sh(&find)
}

/// When execve(2) refuses an existing program, the process reports the error and exits. No shim, cgroup, state
/// directory or container remains.
fn no_leftovers_after_a_failed_exec(docker: &Dockerd) {
    let programs = docker.path("programs");
    image::write_refused_programs(&programs);
    let volume = format!("-v {}:/programs:ro", programs.display());
    let running = docker.sleeper("not_executed", &volume);
    let mut ids = Vec::new();
    for (name, _, reason) in image::REFUSED {
        let program = format!("/programs/{name}");
        let message = format!("exec {program}: {reason}");
        for round in 0..6 {
            let file = docker.path(&format!("{name}-{round}"));
            let options = format!("{volume} --cidfile {}", file.display());
            let output = docker.run(&options, &[&program]).fails(1);
            assert!(output.starts_with(&message), "{output}");
            ids.push(fs::read_to_string(&file).unwrap());
            fs::remove_file(file).unwrap();
        }
        let output = running.call("exec", &[&program]).fails(1);
        assert!(output.starts_with(&message), "{output}");
    }
    for id in ids {
        assert_eq!(docker.docker(&["inspect", &id]).status, 1, "{id}");
        wait_until("no cgroup and no state directory remains", 10, || {
            let shims = format!("pgrep -f '[c]ontainerd-shim.*{id}' || true");
            leftovers(docker, &id).is_empty() && docker.host.sh(&shims).is_empty()
        });
    }
}
