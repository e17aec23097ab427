//! Standard streams, terminals, logs, and queries such as `top`, `stats` and `inspect`.

use super::RunAs::{Both, Root};
use super::{IMAGE, Podman, Test, WAIT_FOR_SIZE};
use crate::command::wait_until;

pub(super) const TESTS: &[Test] = &[
    ("stdin", Both, stdin),
    ("stdin_large", Both, stdin_large),
    ("tty", Both, tty),
    ("tty_typed", Both, tty_typed),
    ("tty_interrupt", Both, tty_interrupt),
    ("tty_detached", Both, tty_detached),
    ("attach", Both, attach),
    ("logs", Both, logs),
    ("logs_drivers", Both, logs_drivers),
    ("preserve_fds", Both, preserve_fds),
    ("no_leaked_descriptors", Both, no_leaked_descriptors),
    ("top", Both, top),
    ("stats", Root, stats),
    ("ps_and_inspect", Both, ps_and_inspect),
    ("events", Both, events),
    ("healthcheck", Both, healthcheck),
    ("info", Both, info),
];

fn stdin(p: &Podman) {
    let args = [
        "run",
        "--rm",
        "-i",
        IMAGE,
        "sh",
        "-c",
        "read a; echo $a; cat",
    ];
    assert_eq!(
        p.call_with(&args, "one\ntwo\nthree").ok(),
        "one\ntwo\nthree"
    );
    let without = ["run", "--rm", IMAGE, "cat"];
    assert_eq!(p.call_with(&without, "one").ok(), "");
}

fn stdin_large(p: &Podman) {
    let input = "0123456789abcdef".repeat(1 << 16);
    let output = p.call_with(&["run", "--rm", "-i", IMAGE, "cat"], &input);
    assert_eq!(output.status, 0);
    assert!(
        output.stdout == input,
        "{} bytes of {}",
        output.stdout.len(),
        input.len()
    );
}

fn tty(p: &Podman) {
    let script = "tty; test -t 0 && test -t 1 && test -t 2 && echo all; \
        stty size; ls -l /dev/console; echo \"<$TERM>\"";
    let script = format!("{WAIT_FOR_SIZE}; {script}");
    let mut terminal = p.on_terminal(&["run", "--rm", "-it", IMAGE, "sh", "-c", &script]);
    terminal.expect(">");
    let (status, output) = terminal.wait();
    let lines: Vec<&str> = output.lines().map(str::trim_end).collect();
    assert_eq!(lines[..3], ["/dev/pts/0", "all", "33 77"], "{output}");
    assert!(lines[3].starts_with("crw--w----"), "{output}");
    assert_eq!((lines[4], status), ("<xterm>", Some(0)), "{output}");
}

fn tty_typed(p: &Podman) {
    let mut terminal = p.on_terminal(&["run", "--rm", "-it", IMAGE]);
    terminal.expect("# ");
    terminal.type_text("echo $((40+2))\n");
    terminal.expect("\n42\r");
    terminal
        .type_text("until [ \"$(stty size)\" = '33 50' ]; do sleep 0.1; done; echo $((6*7))1\n");
    terminal.resize_until(50, 33, "421");
    terminal.type_text("exit 5\n");
    assert_eq!(terminal.wait().0, Some(5));
}

/// The container's own terminal turns ^C into SIGINT.
fn tty_interrupt(p: &Podman) {
    let script = "trap 'echo interrupted; exit 8' INT; echo ready; while :; do sleep 0.1; done";
    let mut terminal = p.on_terminal(&["run", "--rm", "-it", IMAGE, "sh", "-c", script]);
    terminal.expect("ready");
    terminal.type_text("\x03");
    terminal.expect("interrupted");
    assert_eq!(terminal.wait().0, Some(8));
}

fn tty_detached(p: &Podman) {
    let c = p.start("tty_detached", &["-t"], "tty; sleep 1000");
    c.wait_for("/dev/pts/0");
    assert_eq!(c.sh(&[], "readlink /proc/1/fd/0"), "/dev/pts/0");
}

fn attach(p: &Podman) {
    let script = "while read x; do echo got $x; [ $x = end ] && exit 3; done";
    let c = p.start("attach", &["-i"], script);
    let output = p.call_with(&["attach", &c.name], "one\nend\n");
    assert_eq!(output.ok(), "got one\ngot end");
    assert_eq!(p.ok(&["wait", &c.name]), "3");
}

fn logs(p: &Podman) {
    let c = p.start(
        "logs",
        &[],
        "echo err >&2; sleep 0.5; for i in 1 2 3; do echo out $i; done",
    );
    p.ok(&["wait", &c.name]);
    let output = p.call(&["logs", &c.name]);
    assert_eq!(output.stdout, "out 1\nout 2\nout 3\n");
    assert_eq!(output.stderr, "err\n");
    assert_eq!(p.ok(&["logs", "--tail", "1", &c.name]), "out 3");
    assert_eq!(p.ok(&["logs", "-f", &c.name]).lines().count(), 3);
}

fn logs_drivers(p: &Podman) {
    assert_eq!(p.sh(&["--log-driver", "none"], "echo seen"), "seen");
    let c = p.start("logs_drivers", &["--log-driver", "none"], "echo unseen");
    p.ok(&["wait", &c.name]);
    assert!(!c.logs().contains("unseen"));
}

/// Runs Podman from a shell script, which can open file descriptors for it.
pub(super) fn through_a_shell(p: &Podman, script: &str, args: &[&str]) -> String {
    use std::os::unix::process::CommandExt;
    let inner = p.command(args);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", script, "sh"]);
    shell.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        shell.env(name, value.unwrap());
    }
    shell.current_dir(p.path().join("home")).arg0("sh");
    crate::command::run(&mut shell).ok()
}

fn preserve_fds(p: &Podman) {
    let args = ["run", "--rm", "--preserve-fds", "2", IMAGE, "sh", "-c"];
    let script = "exec 3<<a 4<<b; \"$@\"\nkept\na\nkept too\nb\n";
    let args = [&args[..], &["cat <&3; cat <&4; ls /proc/self/fd | wc -l"]].concat();
    let output = through_a_shell(p, script, &args);
    assert!(output.starts_with("kept\nkept too\n"), "{output}");
}

fn no_leaked_descriptors(p: &Podman) {
    assert_eq!(p.sh(&[], "ls /proc/1/fd; true"), "0\n1\n2");
}

fn top(p: &Podman) {
    let c = p.start("top", &["--user", "user"], "sleep 1234 & sleep 4321");
    wait_until("both processes are listed", 10, || {
        let output = p.ok(&["top", &c.name, "pid", "user", "args"]);
        output
            .lines()
            .filter(|l| l.contains("user") && l.contains("sleep "))
            .count()
            >= 2
    });
    let output = p.ok(&["top", &c.name, "seccomp", "capeff", "capbnd"]);
    assert!(
        output
            .lines()
            .skip(1)
            .all(|line| line.starts_with("filter")),
        "{output}"
    );
}

fn stats(p: &Podman) {
    let c = p.start("stats", &["--memory", "64m"], "while :; do :; done");
    let format = "{{.PIDs}} {{.MemUsage}} {{.CPUNano}}";
    let mut output = String::new();
    wait_until("the CPU usage is not zero", 20, || {
        output = p.ok(&["stats", "--no-stream", "--format", format, &c.name]);
        output
            .rsplit(' ')
            .next()
            .is_some_and(|nanos| nanos.parse::<u64>().is_ok_and(|n| n > 0))
    });
    assert!(output.starts_with("1 "), "{output}");
    assert!(output.contains("/ 67.11MB"), "{output}");
}

fn ps_and_inspect(p: &Podman) {
    let options = [
        "--label",
        "kind=inspected",
        "--hostname",
        "seen",
        "-e",
        "A=b",
    ];
    let c = p.start("inspect", &options, "sleep 1000");
    let format = "{{.Names}} {{.Status}}";
    let output = p.ok(&["ps", "--filter", "label=kind=inspected", "--format", format]);
    assert!(output.starts_with("inspect Up "), "{output}");
    let output = c.inspect("{{.OCIRuntime}} {{.Config.Hostname}} {{.Config.Env}}");
    assert!(output.starts_with(p.runtime_path()), "{output}");
    assert!(
        output.contains(" seen ") && output.contains("A=b"),
        "{output}"
    );
    // Podman reads the runtime's state only through its commands.
    assert_eq!(c.sh(&[], "hostname"), "seen");
}

fn events(p: &Podman) {
    p.ok(&["run", "--rm", "--name", "events", IMAGE, "true"]);
    let args = [
        "events",
        "--stream=false",
        "--filter",
        "container=events",
        "--format",
        "{{.Status}}",
    ];
    let output = p.ok(&args);
    let mut seen: Vec<&str> = output.lines().collect();
    seen.sort_unstable();
    for status in ["create", "died", "remove", "start"] {
        assert!(seen.contains(&status), "{output}");
    }
}

/// Runs the health check explicitly: Podman relies on systemd timers to run it periodically.
fn healthcheck(p: &Podman) {
    let options = [
        "--health-cmd",
        "test -e /healthy",
        "--health-interval",
        "disable",
    ];
    let retries = [&options[..], &["--health-retries", "1"]].concat();
    let c = p.start("healthcheck", &retries, "sleep 1000");
    p.call(&["healthcheck", "run", &c.name]).fails(1);
    assert_eq!(c.inspect("{{.State.Health.Status}}"), "unhealthy");
    c.sh(&[], "touch /healthy");
    p.ok(&["healthcheck", "run", &c.name]);
    assert_eq!(c.inspect("{{.State.Health.Status}}"), "healthy");
}

fn info(p: &Podman) {
    let output = p.ok(&[
        "info",
        "--format",
        "{{.Host.OCIRuntime.Path}} {{.Host.OCIRuntime.Version}}",
    ]);
    assert!(output.starts_with(p.runtime_path()), "{output}");
    assert!(output.contains("spec: 1."), "{output}");
}
