//! `podman exec`: further processes in a running container.

use std::fs;

use super::RunAs::{Both, Root};
use super::{Podman, Test, WAIT_FOR_SIZE};
use crate::command::wait_until;

pub(super) const TESTS: &[Test] = &[
    ("exec", Both, exec),
    ("exec_exit_status", Both, exec_exit_status),
    ("exec_not_found", Both, exec_not_found),
    ("exec_env", Both, exec_env),
    ("exec_user", Both, exec_user),
    ("exec_workdir", Both, exec_workdir),
    ("exec_stdin", Both, exec_stdin),
    ("exec_tty", Both, exec_tty),
    ("exec_detach", Both, exec_detach),
    ("exec_signal", Both, exec_signal),
    ("exec_privileged", Both, exec_privileged),
    ("exec_confined", Both, exec_confined),
    ("exec_in_the_cgroup", Root, exec_in_the_cgroup),
    ("exec_preserve_fds", Both, exec_preserve_fds),
    (
        "exec_in_a_stopped_container",
        Both,
        exec_in_a_stopped_container,
    ),
    ("exec_ends_with_the_container", Both, exec_session_ends),
    ("exec_concurrently", Both, exec_concurrently),
];

fn exec(p: &Podman) {
    let c = p.start("exec", &["--hostname", "there"], "sleep 1000");
    let output = c.exec(&[], "hostname; tr '\\0' ' ' </proc/1/cmdline; echo err >&2");
    assert_eq!(output.stdout, "there\nsleep 1000 ");
    assert_eq!((output.stderr.as_str(), output.status), ("err\n", 0));
    for namespace in ["mnt", "pid", "net", "ipc", "uts", "cgroup", "user"] {
        let same = format!(
            "test $(readlink /proc/self/ns/{namespace}) = $(readlink /proc/1/ns/{namespace})"
        );
        c.sh(&[], &same);
    }
}

fn exec_exit_status(p: &Podman) {
    let c = p.start("exec_exit_status", &[], "sleep 1000");
    for status in [1, 7, 255] {
        c.exec(&[], &format!("exit {status}")).fails(status);
    }
}

fn exec_not_found(p: &Podman) {
    let c = p.start("exec_not_found", &[], "sleep 1000");
    p.call(&["exec", &c.name, "absent"]).fails(127);
    p.call(&["exec", &c.name, "/etc/passwd"]).fails(126);
    p.call(&["exec", "absent", "true"]).fails(125);
}

fn exec_env(p: &Podman) {
    let c = p.start("exec_env", &["-e", "OF=container"], "sleep 1000");
    assert_eq!(
        c.sh(&["-e", "MORE=exec"], "echo $OF $MORE $PATH"),
        "container exec /bin"
    );
}

fn exec_user(p: &Podman) {
    let c = p.start("exec_user", &[], "sleep 1000");
    let output = c.sh(&["--user", "user"], "id; echo $HOME");
    assert!(
        output.starts_with("uid=1000(user) gid=1000(user) groups="),
        "{output}"
    );
    assert!(
        output.contains("2000(extra)") && output.ends_with("/home/user"),
        "{output}"
    );
    let output = c.sh(
        &["--user", "4321:1234"],
        "id; grep -E 'Cap(Eff|Prm)' /proc/self/status",
    );
    assert!(output.starts_with("uid=4321 gid=1234"), "{output}");
    assert_eq!(output.matches("\t0000000000000000").count(), 2, "{output}");
    let output = c.exec(&["--user", "absent"], "true");
    assert_ne!(output.status, 0);
}

fn exec_workdir(p: &Podman) {
    let c = p.start("exec_workdir", &["--workdir", "/tmp"], "sleep 1000");
    assert_eq!(c.sh(&[], "pwd"), "/tmp");
    assert_eq!(c.sh(&["--workdir", "/home/user"], "pwd"), "/home/user");
}

fn exec_stdin(p: &Podman) {
    let c = p.start("exec_stdin", &[], "sleep 1000");
    let output = p.call_with(
        &["exec", "-i", &c.name, "sh", "-c", "read a; echo $a; wc -c"],
        "one\ntwo",
    );
    assert_eq!(output.ok(), "one\n3");
}

fn exec_tty(p: &Podman) {
    let c = p.start("exec_tty", &[], "sleep 1000");
    let script = format!("tty; {WAIT_FOR_SIZE}; echo sized; read x; echo \"<$x>\"; exit 4");
    let mut terminal = p.on_terminal(&["exec", "-it", &c.name, "sh", "-c", &script]);
    terminal.expect("sized");
    terminal.type_text("typed\n");
    terminal.expect("<typed>");
    let (status, output) = terminal.wait();
    assert!(output.starts_with("/dev/pts/0"), "{output}");
    assert_eq!(status, Some(4));
}

fn exec_detach(p: &Podman) {
    let c = p.start("exec_detach", &[], "sleep 1000");
    p.ok(&[
        "exec",
        "-d",
        &c.name,
        "sh",
        "-c",
        "sleep 0.3; echo done >/tmp/mark; sleep 1000",
    ]);
    wait_until("the marker file exists", 10, || {
        c.exec(&[], "cat /tmp/mark").stdout == "done\n"
    });
    let running = c.inspect("{{len .ExecIDs}}");
    assert_eq!(running, "1");
}

fn exec_signal(p: &Podman) {
    let c = p.start("exec_signal", &[], "sleep 1000");
    c.exec(&[], "kill -TERM $$").fails(143);
    c.exec(&[], "kill -KILL $$").fails(137);
    assert_eq!(c.inspect("{{.State.Status}}"), "running");
}

fn exec_privileged(p: &Podman) {
    let c = p.start("exec_privileged", &[], "sleep 1000");
    let has = "grep CapEff /proc/self/status | cut -f2";
    let (plain, privileged) = (c.sh(&[], has), c.sh(&["--privileged"], has));
    assert!(privileged.trim_start_matches('0').len() > plain.trim_start_matches('0').len());
    assert_eq!(c.sh(&[], "grep CapEff /proc/1/status | cut -f2"), plain);
}

fn exec_confined(p: &Podman) {
    let options = [
        "--security-opt",
        "no-new-privileges",
        "--cap-drop",
        "all",
        "--read-only",
    ];
    let c = p.start("exec_confined", &options, "sleep 1000");
    let what = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status";
    let output = c.sh(&[], what);
    assert_eq!(output, c.sh(&[], &what.replace("self", "1")));
    assert!(
        output.contains("NoNewPrivs:\t1") && output.contains("Seccomp:\t2"),
        "{output}"
    );
    assert!(output.contains("CapBnd:\t0000000000000000"), "{output}");
    assert_ne!(c.exec(&[], "touch /here").status, 0);
    assert_eq!(c.sh(&[], "umask; ulimit -n"), "0022\n1024");
}

fn exec_in_the_cgroup(p: &Podman) {
    let c = p.start("exec_in_the_cgroup", &["--pids-limit", "16"], "sleep 1000");
    let id = c.inspect("{{.Id}}");
    p.ok(&["exec", "-d", &c.name, "sleep", "5432"]);
    let cgroups_of = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let output = p.ok(&["top", &c.name, "hpid", "args"]);
    let pid = output.lines().find(|line| line.contains("5432")).unwrap();
    let pid = pid.split_whitespace().next().unwrap();
    assert!(cgroups_of(pid).contains(&id), "{}", cgroups_of(pid));
    assert_eq!(cgroups_of(pid), cgroups_of(&c.pid().to_string()));
    let output = c.exec(&[], "for i in $(seq 20); do sleep 1 & done; wait");
    assert!(output.stderr.contains("can't fork"), "{output:?}");
}

fn exec_preserve_fds(p: &Podman) {
    let c = p.start("exec_preserve_fds", &[], "sleep 1000");
    let args = [
        "exec",
        "--preserve-fds",
        "1",
        &c.name,
        "cat",
        "/proc/self/fd/3",
    ];
    let output = super::streams::through_a_shell(p, "exec 3<<a; \"$@\"\nkept\na\n", &args);
    assert_eq!(output, "kept");
    assert_eq!(c.sh(&[], "ls /proc/$$/fd; true"), "0\n1\n2");
}

fn exec_in_a_stopped_container(p: &Podman) {
    let c = p.start("exec_in_a_stopped_container", &[], "true");
    p.ok(&["wait", &c.name]);
    let output = c.exec(&[], "true").fails(255);
    assert!(output.contains("container state improper"), "{output}");
}

fn exec_session_ends(p: &Podman) {
    let c = p.start("exec_session_ends", &[], "sleep 2");
    let output = c.exec(&[], "sleep 1000");
    assert_eq!(output.status, 137, "{output:?}");
}

fn exec_concurrently(p: &Podman) {
    let c = p.start("exec_concurrently", &[], "sleep 1000");
    std::thread::scope(|scope| {
        let each = |number: usize| c.sh(&[], &format!("echo {number}"));
        let calls: Vec<_> = (0..8)
            .map(|number| scope.spawn(move || each(number)))
            .collect();
        for (number, call) in calls.into_iter().enumerate() {
            assert_eq!(call.join().unwrap(), number.to_string());
        }
    });
}
