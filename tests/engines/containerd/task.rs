//! The subcommands of `ctr task`.

use std::process::Stdio;

use super::{Containerd, Task, Test, sleeper};
use crate::cgroups::limit;
use crate::command;
use crate::terminal::Terminal;

pub(super) const TESTS: &[Test] = &[
    ("start_again", start_again),
    ("ls", ls),
    ("ps", ps),
    ("wait", wait),
    ("attach", attach),
    ("kill", kill),
    ("kill_again", kill_again),
    ("kill_all", kill_all),
    ("kill_exec", kill_exec),
    ("pause_and_resume", pause_and_resume),
    ("pause_exec", pause_exec),
    ("pause_delete", pause_delete),
    ("metrics", metrics),
    ("delete", delete),
    ("delete_running", delete_running),
    ("delete_force", delete_force),
    ("events", events),
    ("ten_concurrently", ten_concurrently),
];

fn start_again(daemon: &Containerd) {
    let task = sleeper(daemon, "start_again");
    daemon.ctr(&["task", "kill", "-s", "KILL", &task.id]).ok();
    task.wait_for_status("STOPPED");
    task.delete(137);
    daemon.ctr(&["task", "start", "--detach", &task.id]).ok();
    assert_eq!(task.status(), "RUNNING");
}

fn ls(daemon: &Containerd) {
    let task = daemon.task("ls", &[], &["sh", "-c", "exit 3"]);
    task.wait_for_status("STOPPED");
    let other = daemon.task("ls_other", &[], &["sleep", "1000"]);
    assert_eq!(other.status(), "RUNNING");
    let quiet = daemon.ctr(&["task", "ls", "-q"]).ok();
    assert!(quiet.lines().any(|id| id == "ls") && quiet.lines().any(|id| id == "ls_other"));
}

fn ps(daemon: &Containerd) {
    let task = daemon.task("ps", &[], &["sh", "-c", "sleep 1000 & sleep 1000 & wait"]);
    let pid = task.pid().to_string();
    let children = || {
        let table = daemon.ctr(&["task", "ps", "ps"]).ok();
        let pids: Vec<String> = table
            .lines()
            .skip(1)
            .map(|row| row.split_whitespace().next().unwrap().into())
            .collect();
        assert!(pids.contains(&pid), "{table}");
        pids.len()
    };
    command::wait_until("three processes", 10, || children() == 3);
}

/// `ctr run` returns the exit status also when the container is ended by another client.
fn wait(daemon: &Containerd) {
    let mut run = daemon.run_command(
        "wait",
        &["--rm"],
        &[
            "sh",
            "-c",
            "trap 'exit 9' TERM; while :; do sleep 0.1; done",
        ],
    );
    let mut run = run
        .stdout(Stdio::null())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let task = Task::of(daemon, "wait");
    task.wait_for_status("RUNNING");
    command::wait_until("ctr run ends", 20, || {
        daemon.ctr(&["task", "kill", "-s", "TERM", "wait"]);
        run.try_wait().unwrap().is_some()
    });
    assert_eq!(run.wait().unwrap().code(), Some(9));
}

/// The test waits for ctr's output before it ends the shell: ctr stops reading as soon as the task has exited.
fn attach(daemon: &Containerd) {
    let script = "while read line; do echo output $line; test $line = end && exit 6; done";
    let mut first = daemon.run_command("attach", &["--tty"], &["sh", "-c", script]);
    let mut first = Terminal::start(first.args([""; 0]));
    first.type_text("one\n");
    first.expect("output one");
    let task = Task::of(daemon, "attach");
    assert_eq!(task.status(), "RUNNING");
    drop(first);
    let mut second = Terminal::start(&daemon.ctr_command(&["task", "attach", "attach"]));
    second.type_text("two\n");
    second.expect("output two");
    second.type_text("end\n");
    assert_eq!(second.wait().0, Some(6));
}

fn kill(daemon: &Containerd) {
    let script = "trap 'exit 21' USR1; touch /tmp/ready; while :; do sleep 0.1; done";
    let task = daemon.task("kill", &[], &["sh", "-c", script]);
    command::wait_until("the trap is set", 10, || {
        task.exec("a", &[], &["test", "-f", "/tmp/ready"]).status == 0
    });
    daemon.ctr(&["task", "kill", "-s", "SIGUSR1", "kill"]).ok();
    task.wait_for_status("STOPPED");
    task.delete(21);
}

fn kill_again(daemon: &Containerd) {
    let task = daemon.task("kill_again", &[], &["true"]);
    task.wait_for_status("STOPPED");
    let output = daemon
        .ctr(&["task", "kill", "-s", "KILL", "kill_again"])
        .fails(1);
    assert!(output.contains("not found"), "{output}");
    let output = daemon
        .ctr(&["task", "kill", "-s", "KILL", "no_such_task"])
        .fails(1);
    assert!(output.contains("not found"), "{output}");
}

/// The container shares the host's pid namespace, so the kernel does not kill the other processes with the first.
fn kill_all(daemon: &Containerd) {
    let host = format!("pid:/proc/{}/ns/pid", std::process::id());
    let flags = ["--with-ns", &host];
    let task = daemon.task(
        "kill_all",
        &flags,
        &["sh", "-c", "sleep 999 & sleep 999 & wait"],
    );
    let count = || {
        let procs = limit(task.pid(), "pids", "cgroup.procs", "cgroup.procs");
        procs.lines().count()
    };
    command::wait_until("three processes", 10, || count() == 3);
    let procs = limit(task.pid(), "pids", "cgroup.procs", "cgroup.procs");
    daemon
        .ctr(&["task", "kill", "--all", "-s", "KILL", "kill_all"])
        .ok();
    task.wait_for_status("STOPPED");
    let alive = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.is_ok_and(|stat| stat.contains("(sleep)") && !stat.contains(") Z "))
    };
    command::wait_until("all have ended", 10, || !procs.lines().any(alive));
}

fn kill_exec(daemon: &Containerd) {
    let task = sleeper(daemon, "kill_exec");
    let mut exec = task.exec_command("long", &[], &["sleep", "998"]);
    let mut exec = exec.stdin(Stdio::null()).spawn().unwrap();
    let there = || {
        daemon
            .ctr(&[
                "task",
                "kill",
                "--exec-id",
                "long",
                "-s",
                "KILL",
                "kill_exec",
            ])
            .status
            == 0
    };
    command::wait_until("the process can be killed", 10, there);
    assert_eq!(exec.wait().unwrap().code(), Some(137));
    assert_eq!(task.status(), "RUNNING");
}

fn pause_and_resume(daemon: &Containerd) {
    let script = "i=0; while :; do i=$((i+1)); echo $i > /tmp/count; sleep 0.05; done";
    let task = daemon.task("pause_and_resume", &[], &["sh", "-c", script]);
    daemon.ctr(&["task", "pause", &task.id]).ok();
    assert_eq!(task.status(), "PAUSED");
    let file = format!("/proc/{}/root/tmp/count", task.pid());
    let count = || std::fs::read_to_string(&file).unwrap_or_default();
    let before = count();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(count(), before);
    daemon.ctr(&["task", "resume", &task.id]).ok();
    assert_eq!(task.status(), "RUNNING");
    command::wait_until("the container continues to count", 10, || count() != before);
}

fn pause_exec(daemon: &Containerd) {
    let task = sleeper(daemon, "pause_exec");
    daemon.ctr(&["task", "pause", &task.id]).ok();
    let output = task.exec("a", &[], &["true"]).fails(1);
    assert!(output.contains("paused"), "{output}");
    daemon.ctr(&["task", "resume", &task.id]).ok();
    task.exec("b", &[], &["true"]).ok();
}

fn pause_delete(daemon: &Containerd) {
    let task = sleeper(daemon, "pause_delete");
    let pid = task.pid();
    daemon.ctr(&["task", "pause", &task.id]).ok();
    daemon.ctr(&["task", "delete", "--force", &task.id]);
    assert_eq!(task.listed(), None);
    assert!(!std::path::Path::new(&format!("/proc/{pid}/exe")).exists());
}

fn metrics(daemon: &Containerd) {
    let task = daemon.task(
        "metrics",
        &["--memory-limit", "50000000"],
        &["sleep", "1000"],
    );
    let text = daemon
        .ctr(&["task", "metrics", "--format", "json", &task.id])
        .ok();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let limit = &value["memory"]["usage"]["limit"];
    let limit = if limit.is_null() {
        &value["memory"]["usage_limit"]
    } else {
        limit
    };
    assert_eq!(limit.as_u64(), Some(49_999_872), "{text}");
    assert_eq!(value["pids"]["current"].as_u64(), Some(1), "{text}");
}

fn delete(daemon: &Containerd) {
    let task = daemon.task("delete", &[], &["sh", "-c", "exit 5"]);
    task.wait_for_status("STOPPED");
    task.delete(5);
    assert_eq!(task.listed(), None);
    command::wait_until("the shim ends", 10, || daemon.shims("delete").is_empty());
    for hierarchy in ["memory", "pids", "."] {
        let left = format!("/sys/fs/cgroup/{hierarchy}/{}/delete", daemon.namespace());
        assert!(!std::path::Path::new(&left).exists(), "{left}");
    }
    assert!(!daemon.runtime_list().contains(&task.id));
}

fn delete_running(daemon: &Containerd) {
    let task = sleeper(daemon, "delete_running");
    let output = daemon.ctr(&["task", "delete", &task.id]).fails(1);
    assert!(output.contains("must be stopped"), "{output}");
    assert_eq!(task.status(), "RUNNING");
}

fn delete_force(daemon: &Containerd) {
    let task = sleeper(daemon, "delete_force");
    task.force_delete();
    assert_eq!(task.listed(), None);
}

fn events(daemon: &Containerd) {
    let log = daemon.scratch("events").join("log");
    let mut events = daemon.ctr_command(&["events"]);
    let mut events = events
        .stdout(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    // `ctr events` does not report when it is ready, so run containers until an event arrives.
    let has_event = |topic: &str, id: &str| {
        let log = std::fs::read_to_string(&log).unwrap();
        log.lines()
            .any(|line| line.contains(topic) && line.contains(id))
    };
    let run = |i: usize| daemon.run(&format!("events_{i}"), &[], &["true"]).status == 0;
    let mut i = 0;
    command::wait_until("an event arrives", 20, || {
        i += 1;
        run(i) && has_event("/tasks/exit", "events_")
    });
    let task = daemon.task("events", &[], &["sleep", "1000"]);
    task.exec("extra", &[], &["true"]).ok();
    daemon.ctr(&["task", "pause", "events"]).ok();
    daemon.ctr(&["task", "resume", "events"]).ok();
    task.force_delete();
    let topics = [
        "create",
        "start",
        "exec-added",
        "exec-started",
        "paused",
        "resumed",
        "exit",
        "delete",
    ];
    command::wait_until("every event", 10, || {
        topics
            .iter()
            .all(|topic| has_event(&format!("/tasks/{topic}"), r#""container_id":"events""#))
    });
    let _ = events.kill();
    let _ = events.wait();
}

fn ten_concurrently(daemon: &Containerd) {
    let runs: Vec<_> = (0..10)
        .map(|i| {
            let (name, script) = (format!("ten_{i}"), format!("exit {}", 20 + i));
            let mut run = daemon.run_command(&name, &["--rm"], &["sh", "-c", &script]);
            run.stdin(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for (i, mut run) in (20..).zip(runs) {
        assert_eq!(run.wait().unwrap().code(), Some(i));
    }
}
