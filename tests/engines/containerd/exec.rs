//! `ctr task exec`: further processes in a running container.

use super::{Containerd, Test, sleeper};
use crate::command;
use crate::terminal::Terminal;

pub(super) const TESTS: &[Test] = &[
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
    let output = task.exec(
        "a",
        &[],
        &[
            "sh",
            "-c",
            "echo out; echo err >&2; cat /proc/1/comm; sleep 0.3",
        ],
    );
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("out\nsleep\n", "err\n")
    );
    let script =
        "for i in mnt uts ipc net pid; do for p in 1 self; do readlink /proc/$p/ns/$i; done; done";
    let links = task.sh("b", &[], script);
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
    let mut exec = task.exec_command("a", &[], &["sh", "-c", "head -c 100000 | wc -c; sleep 0.3"]);
    assert_eq!(
        command::run_with(&mut exec, &[b'x'; 100_000]).ok(),
        "100000"
    );
}

fn exec_cwd(daemon: &Containerd) {
    let task = sleeper(daemon, "exec_cwd");
    assert_eq!(task.sh("a", &["--cwd", "/var/www"], "pwd"), "/var/www");
}

fn exec_user(daemon: &Containerd) {
    let task = sleeper(daemon, "exec_user");
    let id = task.sh("a", &["--user", "1000:2000"], "id");
    assert!(id.starts_with("uid=1000(user) gid=2000(extra)"), "{id}");
    let id = task.sh("b", &["--user", "user"], "id");
    assert!(id.starts_with("uid=1000(user) gid=1000(user)"), "{id}");
    let script = "touch /etc/passwd 2>&1 || true";
    let output = task.sh("c", &["--user", "1000"], script);
    assert!(output.contains("Permission denied"), "{output}");
}

fn exec_tty(daemon: &Containerd) {
    let task = sleeper(daemon, "exec_tty");
    let mut terminal = Terminal::start(&task.exec_command("a", &["--tty"], &["sh"]));
    terminal.type_text("tty; until stty size | grep '24 80'; do sleep 0.1; done\n");
    terminal.expect("/dev/pts/0");
    terminal.expect("\n24 80");
    terminal.type_text(
        "until [ \"$(stty size)\" = '43 101' ]; do sleep 0.1; done; echo $((6*7))1; exit 12\n",
    );
    terminal.resize_until(101, 43, "421");
    assert_eq!(terminal.wait().0, Some(12));
}

fn exec_detach(daemon: &Containerd) {
    let task = sleeper(daemon, "exec_detach");
    let script = "echo done > /tmp/mark; sleep 1000; true";
    task.exec("a", &["--detach"], &["sh", "-c", script]).ok();
    let marked = || task.exec("b", &[], &["cat", "/tmp/mark"]).stdout == "done\n";
    command::wait_until("the process has run", 10, marked);
    let comms = task.sh("c", &[], "ps");
    assert!(comms.contains("sh -c echo done"), "{comms}");
}

fn exec_environment(daemon: &Containerd) {
    let task = daemon.task(
        "exec_environment",
        &["--env", "GIVEN=yes"],
        &["sleep", "1000"],
    );
    let seen = task.sh("a", &[], "echo $GIVEN $IMAGE $PATH");
    assert_eq!(seen, "yes yes /bin");
}

/// The exec process has the capabilities, seccomp filter and namespaces of the container's process.
fn exec_confinement(daemon: &Containerd) {
    let flags = ["--seccomp", "--cap-drop", "CAP_CHOWN"];
    let task = daemon.task("exec_confinement", &flags, &["sleep", "1000"]);
    let lines = "^Cap|^Seccomp:|^NoNewPrivs";
    let own = task.sh("a", &[], &format!("grep -E '{lines}' /proc/self/status"));
    let first = task.sh("b", &[], &format!("grep -E '{lines}' /proc/1/status"));
    assert_eq!(own, first);
    assert!(
        own.contains("Seccomp:\t2") && own.contains("NoNewPrivs:\t1"),
        "{own}"
    );
}

fn exec_cgroup(daemon: &Containerd) {
    let task = sleeper(daemon, "exec_cgroup");
    let own = task.sh("a", &[], "cat /proc/self/cgroup");
    let first = task.sh("b", &[], "cat /proc/1/cgroup");
    assert_eq!(own, first);
}

fn exec_no_program(daemon: &Containerd) {
    let task = sleeper(daemon, "exec_no_program");
    let output = task.exec("a", &[], &["/no/such/program"]).fails(1);
    assert!(output.contains("/no/such/program"), "{output}");
    assert!(output.contains("no such file or directory"), "{output}");
    assert_eq!(task.sh("b", &[], "echo still"), "still");
}

fn exec_stopped(daemon: &Containerd) {
    let task = daemon.task("exec_stopped", &[], &["true"]);
    task.wait_for_status("STOPPED");
    let output = task.exec("a", &[], &["true"]).fails(1);
    assert!(output.contains("stopped"), "{output}");
}

fn exec_many(daemon: &Containerd) {
    let task = sleeper(daemon, "exec_many");
    let output: Vec<String> = std::thread::scope(|scope| {
        let task = &task;
        let call = |i: usize| {
            let (name, word) = (format!("e{i}"), format!("word{i}"));
            task.sh(&name, &[], &format!("echo {word}"))
        };
        let calls: Vec<_> = (0..10).map(|i| scope.spawn(move || call(i))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    for (i, output) in output.into_iter().enumerate() {
        assert_eq!(output, format!("word{i}"));
    }
}
