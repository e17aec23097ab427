//! `ctr task exec`: more processes in a container that runs.

use std::process::Stdio;

use super::{Containerd, Driven, sleeper};
use crate::call;
use crate::terminal::Terminal;

pub(super) const FEATURES: &[Driven] = &[
    ("exec", exec),
    ("exec_exit_status", exec_exit_status),
    ("exec_stdin", exec_stdin),
    ("exec_cwd", exec_cwd),
    ("exec_user", exec_user),
    ("exec_tty", exec_tty),
    ("exec_detach", exec_detach),
    ("exec_environment", exec_environment),
    ("exec_confinement", exec_confinement),
    ("exec_cgroup", exec_cgroup),
    ("exec_no_program", exec_no_program),
    ("exec_stopped", exec_stopped),
    ("exec_many", exec_many),
];

fn exec(daemon: &Containerd) {
    let task = sleeper(daemon, "exec");
    let said = task.exec(
        "a",
        &[],
        &["sh", "-c", "echo out; echo err >&2; cat /proc/1/comm"],
    );
    assert_eq!(
        (said.stdout.as_str(), said.stderr.as_str()),
        ("out\nsleep\n", "err\n")
    );
    let script =
        "for i in mnt uts ipc net pid; do for p in 1 self; do readlink /proc/$p/ns/$i; done; done";
    let links = task.exec("b", &[], &["sh", "-c", script]).ok();
    let links: Vec<&str> = links.lines().collect();
    assert_eq!(links.len(), 10);
    assert!(links.chunks(2).all(|pair| pair[0] == pair[1]), "{links:?}");
}

fn exec_exit_status(daemon: &Containerd) {
    let task = sleeper(daemon, "exec_exit_status");
    task.exec("a", &[], &["sh", "-c", "exit 41"]).fails(41);
    task.exec("b", &[], &["sh", "-c", "kill -KILL $$"])
        .fails(137);
    assert_eq!(task.status(), "RUNNING");
}

fn exec_stdin(daemon: &Containerd) {
    let task = sleeper(daemon, "exec_stdin");
    let mut exec = task.exec_command("a", &[], &["sh", "-c", "head -c 100000 | wc -c"]);
    assert_eq!(call::run_with(&mut exec, &[b'x'; 100_000]).ok(), "100000");
}

fn exec_cwd(daemon: &Containerd) {
    let task = sleeper(daemon, "exec_cwd");
    assert_eq!(
        task.exec("a", &["--cwd", "/var/www"], &["sh", "-c", "pwd"])
            .ok(),
        "/var/www"
    );
}

fn exec_user(daemon: &Containerd) {
    let task = sleeper(daemon, "exec_user");
    let id = task.exec("a", &["--user", "1000:2000"], &["id"]).ok();
    assert!(id.starts_with("uid=1000(user) gid=2000(extra)"), "{id}");
    let id = task.exec("b", &["--user", "user"], &["id"]).ok();
    assert!(id.starts_with("uid=1000(user) gid=1000(user)"), "{id}");
    let said = task.exec("c", &["--user", "1000"], &["touch", "/etc/passwd"]);
    assert!(said.fails(1).contains("Permission denied"));
}

fn exec_tty(daemon: &Containerd) {
    let task = sleeper(daemon, "exec_tty");
    let mut terminal = Terminal::start(&task.exec_command("a", &["--tty"], &["sh"]));
    terminal.say("tty; stty size\n");
    terminal.expect("/dev/pts/0");
    terminal.expect("24 80");
    terminal.resize(101, 43);
    terminal.say("sleep 0.3; stty size; exit 12\n");
    terminal.expect("43 101");
    assert_eq!(terminal.end().0, Some(12));
}

fn exec_detach(daemon: &Containerd) {
    let task = sleeper(daemon, "exec_detach");
    let script = "echo done > /tmp/mark; sleep 1000; true";
    task.exec("a", &["--detach"], &["sh", "-c", script]).ok();
    let marked = || task.exec("b", &[], &["cat", "/tmp/mark"]).stdout == "done\n";
    call::wait_until("it has run", 10, marked);
    let comms = task.exec("c", &[], &["ps"]).ok();
    assert!(comms.contains("sh -c echo done"), "{comms}");
}

fn exec_environment(daemon: &Containerd) {
    let task = daemon.task(
        "exec_environment",
        &["--env", "GIVEN=yes"],
        &["sleep", "1000"],
    );
    let seen = task
        .exec("a", &[], &["sh", "-c", "echo $GIVEN $IMAGE $PATH"])
        .ok();
    assert_eq!(seen, "yes yes /bin");
}

/// As the container's own process.
fn exec_confinement(daemon: &Containerd) {
    let flags = ["--seccomp", "--cap-drop", "CAP_CHOWN"];
    let task = daemon.task("exec_confinement", &flags, &["sleep", "1000"]);
    let lines = "^Cap|^Seccomp:|^NoNewPrivs";
    let own = task
        .exec("a", &[], &["grep", "-E", lines, "/proc/self/status"])
        .ok();
    let first = task
        .exec("b", &[], &["grep", "-E", lines, "/proc/1/status"])
        .ok();
    assert_eq!(own, first);
    assert!(
        own.contains("Seccomp:\t2") && own.contains("NoNewPrivs:\t1"),
        "{own}"
    );
}

fn exec_cgroup(daemon: &Containerd) {
    let task = sleeper(daemon, "exec_cgroup");
    let own = task.exec("a", &[], &["cat", "/proc/self/cgroup"]).ok();
    let first = task.exec("b", &[], &["cat", "/proc/1/cgroup"]).ok();
    assert_eq!(own, first);
}

fn exec_no_program(daemon: &Containerd) {
    let task = sleeper(daemon, "exec_no_program");
    let said = task.exec("a", &[], &["/no/such/program"]).fails(1);
    assert!(said.contains("/no/such/program"), "{said}");
    assert!(said.contains("no such file or directory"), "{said}");
    assert_eq!(task.exec("b", &[], &["echo", "still"]).ok(), "still");
}

fn exec_stopped(daemon: &Containerd) {
    let task = daemon.task("exec_stopped", &[], &["true"]);
    task.becomes("STOPPED");
    let said = task.exec("a", &[], &["true"]).fails(1);
    assert!(said.contains("stopped"), "{said}");
}

fn exec_many(daemon: &Containerd) {
    let task = sleeper(daemon, "exec_many");
    let calls: Vec<_> = (0..10)
        .map(|i| {
            let (name, word) = (format!("e{i}"), format!("word{i}"));
            let mut exec = task.exec_command(&name, &[], &["echo", &word]);
            (
                exec.stdout(Stdio::piped())
                    .stdin(Stdio::null())
                    .spawn()
                    .unwrap(),
                word,
            )
        })
        .collect();
    for (call, word) in calls {
        let output = call.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), word);
    }
}
