//! More processes in a container that runs.

use std::fs;

use super::Who::{Both, Root};
use super::{Line, Podman, SIZED};
use crate::call::wait_until;

pub(super) const LINES: &[Line] = &[
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
    ("exec_where_nothing_runs", Both, exec_where_nothing_runs),
    ("exec_session_ends_with_it", Both, exec_session_ends),
    ("exec_at_once", Both, exec_at_once),
];

fn exec(p: &Podman) {
    let c = p.start("exec", &["--hostname", "there"], "sleep 1000");
    let said = c.exec(&[], "hostname; tr '\\0' ' ' </proc/1/cmdline; echo err >&2");
    assert_eq!(said.stdout, "there\nsleep 1000 ");
    assert_eq!((said.stderr.as_str(), said.status), ("err\n", 0));
    for namespace in ["mnt", "pid", "net", "ipc", "uts", "cgroup", "user"] {
        let same = format!(
            "test $(readlink /proc/self/ns/{namespace}) = $(readlink /proc/1/ns/{namespace})"
        );
        c.says(&[], &same);
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
        c.says(&["-e", "MORE=exec"], "echo $OF $MORE $PATH"),
        "container exec /bin"
    );
}

fn exec_user(p: &Podman) {
    let c = p.start("exec_user", &[], "sleep 1000");
    let said = c.says(&["--user", "user"], "id; echo $HOME");
    assert!(
        said.starts_with("uid=1000(user) gid=1000(user) groups="),
        "{said}"
    );
    assert!(
        said.contains("2000(extra)") && said.ends_with("/home/user"),
        "{said}"
    );
    let said = c.says(
        &["--user", "4321:1234"],
        "id; grep -E 'Cap(Eff|Prm)' /proc/self/status",
    );
    assert!(said.starts_with("uid=4321 gid=1234"), "{said}");
    assert_eq!(said.matches("\t0000000000000000").count(), 2, "{said}");
    let said = c.exec(&["--user", "absent"], "true");
    assert_ne!(said.status, 0);
}

fn exec_workdir(p: &Podman) {
    let c = p.start("exec_workdir", &["--workdir", "/tmp"], "sleep 1000");
    assert_eq!(c.says(&[], "pwd"), "/tmp");
    assert_eq!(c.says(&["--workdir", "/home/user"], "pwd"), "/home/user");
}

fn exec_stdin(p: &Podman) {
    let c = p.start("exec_stdin", &[], "sleep 1000");
    let said = p.call_with(
        &["exec", "-i", &c.name, "sh", "-c", "read a; echo $a; wc -c"],
        "one\ntwo",
    );
    assert_eq!(said.ok(), "one\n3");
}

fn exec_tty(p: &Podman) {
    let c = p.start("exec_tty", &[], "sleep 1000");
    let script = format!("tty; {SIZED}; echo sized; read x; echo \"<$x>\"; exit 4");
    let mut terminal = p.on_terminal(&["exec", "-it", &c.name, "sh", "-c", &script]);
    terminal.expect("sized");
    terminal.say("typed\n");
    terminal.expect("<typed>");
    let (status, said) = terminal.end();
    assert!(said.starts_with("/dev/pts/0"), "{said}");
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
    wait_until("its mark", 10, || {
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
    let (plain, privileged) = (c.says(&[], has), c.says(&["--privileged"], has));
    assert!(privileged.trim_start_matches('0').len() > plain.trim_start_matches('0').len());
    assert_eq!(c.says(&[], "grep CapEff /proc/1/status | cut -f2"), plain);
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
    let said = c.says(&[], what);
    assert_eq!(said, c.says(&[], &what.replace("self", "1")));
    assert!(
        said.contains("NoNewPrivs:\t1") && said.contains("Seccomp:\t2"),
        "{said}"
    );
    assert!(said.contains("CapBnd:\t0000000000000000"), "{said}");
    assert_ne!(c.exec(&[], "touch /here").status, 0);
    assert_eq!(c.says(&[], "umask; ulimit -n"), "0022\n1024");
}

fn exec_in_the_cgroup(p: &Podman) {
    let c = p.start("exec_in_the_cgroup", &["--pids-limit", "16"], "sleep 1000");
    let id = c.inspect("{{.Id}}");
    p.ok(&["exec", "-d", &c.name, "sleep", "5432"]);
    let of = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let said = p.ok(&["top", &c.name, "hpid", "args"]);
    let pid = said.lines().find(|line| line.contains("5432")).unwrap();
    let pid = pid.split_whitespace().next().unwrap();
    assert!(of(pid).contains(&id), "{}", of(pid));
    assert_eq!(of(pid), of(&c.pid().to_string()));
    let said = c.exec(&[], "for i in $(seq 20); do sleep 1 & done; wait");
    assert!(said.stderr.contains("can't fork"), "{said:?}");
}

fn exec_preserve_fds(p: &Podman) {
    let c = p.start("exec_preserve_fds", &[], "sleep 1000");
    let words = [
        "exec",
        "--preserve-fds",
        "1",
        &c.name,
        "cat",
        "/proc/self/fd/3",
    ];
    let said = super::talk::through_a_shell(p, "exec 3<<a; \"$@\"\nkept\na\n", &words);
    assert_eq!(said, "kept");
    assert_eq!(c.says(&[], "ls /proc/$$/fd; true"), "0\n1\n2");
}

fn exec_where_nothing_runs(p: &Podman) {
    let c = p.start("exec_where_nothing_runs", &[], "true");
    p.ok(&["wait", &c.name]);
    let said = c.exec(&[], "true").fails(255);
    assert!(said.contains("container state improper"), "{said}");
}

fn exec_session_ends(p: &Podman) {
    let c = p.start("exec_session_ends", &[], "sleep 2");
    let said = c.exec(&[], "sleep 1000");
    assert_eq!(said.status, 137, "{said:?}");
}

fn exec_at_once(p: &Podman) {
    let c = p.start("exec_at_once", &[], "sleep 1000");
    std::thread::scope(|scope| {
        let each = |number: usize| c.says(&[], &format!("echo {number}"));
        let calls: Vec<_> = (0..8)
            .map(|number| scope.spawn(move || each(number)))
            .collect();
        for (number, call) in calls.into_iter().enumerate() {
            assert_eq!(call.join().unwrap(), number.to_string());
        }
    });
}
