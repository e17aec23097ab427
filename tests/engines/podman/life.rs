//! The lifecycle of a container: start, stop, restart, removal and exit status.

use std::fs;

use super::RunAs::{Both, Root};
use super::{IMAGE, Podman, Test};
use crate::command::{self, wait_until};
use crate::image;

pub(super) const TESTS: &[Test] = &[
    ("run", Both, run),
    ("exit_status", Both, exit_status),
    ("exit_125_of_podman", Both, exit_125),
    ("exit_126_not_executable", Both, exit_126),
    ("exit_127_not_found", Both, exit_127),
    ("exit_1_not_executed", Both, exit_1_not_executed),
    ("exit_128_and_signal", Both, exit_signal),
    ("create_and_start", Both, create_and_start),
    ("start_attached", Both, start_attached),
    ("detach", Both, detach),
    ("stop", Both, stop),
    ("stop_timeout_kills", Both, stop_timeout_kills),
    ("stop_signal_custom", Both, stop_signal),
    ("stop_of_a_created_container", Both, stop_not_started),
    ("kill_with_a_signal", Both, kill_with_a_signal),
    ("restart", Both, restart),
    ("restart_policy", Both, restart_policy),
    ("pause", Root, pause),
    ("rm_refuses_a_running_container", Both, rm_refuses),
    ("rm_force_leaves_nothing", Both, rm_force),
    ("init_reaps", Both, init_reaps),
    ("rename", Both, rename),
    ("timeout", Both, timeout),
    ("conmon_killed", Both, conmon_killed),
];

fn run(p: &Podman) {
    let output = p.run(&[], "echo out; echo err >&2");
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("out\n", "err\n")
    );
    assert_eq!(output.status, 0);
}

fn exit_status(p: &Podman) {
    for status in [1, 3, 255] {
        p.run(&[], &format!("exit {status}")).fails(status);
    }
}

fn exit_125(p: &Podman) {
    p.run(&["--no-such-option"], "true").fails(125);
    p.call(&["run", "--pull=never", "localhost/absent"])
        .fails(125);
}

fn exit_126(p: &Podman) {
    let output = p.call(&["run", "--rm", IMAGE, "/etc/passwd"]).fails(126);
    assert!(output.contains("permission denied"), "{output}");
    p.call(&["run", "--rm", IMAGE, "/etc"]).fails(126);
}

fn exit_127(p: &Podman) {
    let output = p.call(&["run", "--rm", IMAGE, "absent"]).fails(127);
    assert!(
        output.contains("executable file not found in $PATH"),
        "{output}"
    );
    p.call(&["run", "--rm", IMAGE, "/absent"]).fails(127);
}

/// When execve(2) refuses an existing program, the process reports the error and exits with 1. No container, cgroup
/// or conmon remains.
fn exit_1_not_executed(p: &Podman) {
    let programs = p.files("not_executed");
    image::write_refused_programs(&programs);
    let volume = format!("{}:/programs:ro", programs.display());
    let running = p.start("not_executed", &["-v", &volume], "sleep 1000");
    for (name, _, reason) in image::REFUSED {
        let program = format!("/programs/{name}");
        let message = format!("exec {program}: {reason}");
        for round in 0..6 {
            let file = programs.join(format!("{name}-{round}"));
            let cid = ["--cidfile", file.to_str().unwrap()];
            let run = [
                &["run", "--rm", "-v", &volume],
                &cid[..],
                &[IMAGE, &program],
            ];
            let output = p.call(&run.concat()).fails(1);
            assert!(output.contains(&message), "{output}");
            let id = fs::read_to_string(&file).unwrap_or_default();
            assert_eq!(p.call(&["container", "exists", &id]).status, 1, "{id}");
            let monitor = format!("conmon.*{id}");
            wait_until("conmon has ended", 10, || {
                command::run(std::process::Command::new("pgrep").args(["-f", &monitor])).status == 1
            });
            assert_no_cgroup(&id);
        }
        let output = p.call(&["exec", &running.name, &program]).fails(1);
        assert!(output.contains(&message), "{output}");
    }
}

fn exit_signal(p: &Podman) {
    p.run(&["--init"], "kill -KILL $$").fails(137);
    let c = p.start("exit_signal", &[], "sleep 1000");
    p.ok(&["kill", "-s", "KILL", &c.name]);
    assert_eq!(p.ok(&["wait", &c.name]), "137");
}

fn create_and_start(p: &Podman) {
    let name = "create_and_start";
    let command = [IMAGE, "sh", "-c", "echo started; exit 4"];
    p.ok(&[&["create", "--name", name][..], &command].concat());
    let c = p.container(name);
    assert_eq!(c.inspect("{{.State.Status}}"), "created");
    // `podman init` calls the runtime's `create`, but not `start`.
    p.ok(&["init", name]);
    assert_eq!(c.inspect("{{.State.Status}}"), "initialized");
    assert_eq!(c.logs(), "");
    p.ok(&["start", name]);
    assert_eq!(p.ok(&["wait", name]), "4");
    assert_eq!(c.logs(), "started\n");
}

fn start_attached(p: &Podman) {
    let name = "start_attached";
    p.ok(&[
        "create",
        "-i",
        "--name",
        name,
        IMAGE,
        "sh",
        "-c",
        "read x; echo got $x; exit 6",
    ]);
    let _c = p.container(name);
    let output = p.call_with(&["start", "-ai", name], "word\n");
    assert_eq!((output.stdout.as_str(), output.status), ("got word\n", 6));
}

fn detach(p: &Podman) {
    let c = p.start("detach", &[], "echo up; sleep 1000");
    assert_eq!(c.inspect("{{.State.Status}}"), "running");
    c.wait_for("up");
    let pid = c.pid();
    assert!(
        fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .unwrap()
            .contains("sleep\x001000")
    );
    assert_eq!(
        p.ok(&["ps", "-q", "--no-trunc", "--filter", "name=detach"]),
        c.inspect("{{.Id}}")
    );
}

/// A script that exits with 9 on a signal.
fn trap(signal: &str) -> String {
    format!("trap 'echo caught {signal}; exit 9' {signal}; echo ready; while :; do sleep 0.1; done")
}

fn stop(p: &Podman) {
    let c = p.start("stop", &[], &trap("TERM"));
    c.wait_for("ready");
    p.ok(&["stop", "-t", "20", &c.name]);
    assert_eq!(
        c.inspect("{{.State.Status}} {{.State.ExitCode}}"),
        "exited 9"
    );
    assert_eq!(c.logs(), "ready\ncaught TERM\n");
}

fn stop_timeout_kills(p: &Podman) {
    let c = p.start(
        "stop_timeout_kills",
        &[],
        "trap '' TERM; echo ready; sleep 1000",
    );
    c.wait_for("ready");
    p.ok(&["stop", "-t", "1", &c.name]);
    assert_eq!(
        c.inspect("{{.State.Status}} {{.State.ExitCode}}"),
        "exited 137"
    );
}

fn stop_signal(p: &Podman) {
    let c = p.start("stop_signal", &["--stop-signal", "USR1"], &trap("USR1"));
    c.wait_for("ready");
    p.ok(&["stop", "-t", "20", &c.name]);
    assert_eq!(c.inspect("{{.State.ExitCode}}"), "9");
}

/// A created container ends by its stop signal, not by SIGKILL after the time-out.
fn stop_not_started(p: &Podman) {
    let name = "stop_of_a_created_container";
    p.ok(&["create", "--name", name, IMAGE, "sleep", "1000"]);
    let c = p.container(name);
    p.ok(&["init", name]);
    p.ok(&["stop", "-t", "30", name]);
    assert_eq!(c.inspect("{{.State.Status}}"), "exited");
    assert_ne!(c.inspect("{{.State.ExitCode}}"), "137");
}

fn kill_with_a_signal(p: &Podman) {
    let script = "trap 'echo caught' HUP; echo ready; while :; do sleep 0.1; done";
    let c = p.start("kill_with_a_signal", &[], script);
    c.wait_for("ready");
    p.ok(&["kill", "-s", "HUP", &c.name]);
    c.wait_for("caught");
    assert_eq!(c.inspect("{{.State.Status}}"), "running");
    p.ok(&["kill", &c.name]);
    assert_eq!(p.ok(&["wait", &c.name]), "137");
    p.call(&["kill", &c.name]).fails(125);
}

fn restart(p: &Podman) {
    let c = p.start(
        "restart",
        &[],
        "echo $$ >>/count; wc -l </count; sleep 1000",
    );
    let before = c.pid();
    c.wait_for("1");
    p.ok(&["restart", "-t", "0", &c.name]);
    c.wait_for("2");
    assert_ne!(c.pid(), before);
    p.ok(&["stop", "-t", "0", &c.name]);
    p.ok(&["start", &c.name]);
    c.wait_for("3");
}

fn restart_policy(p: &Podman) {
    let c = p.start(
        "restart_policy",
        &["--restart", "on-failure:2"],
        "echo again; exit 1",
    );
    wait_until("the container has run three times", 30, || {
        c.logs() == "again\nagain\nagain\n"
    });
    wait_until("the container has ended", 30, || {
        c.inspect("{{.State.Status}}") == "exited"
    });
    assert_eq!(c.inspect("{{.RestartCount}} {{.State.ExitCode}}"), "2 1");
}

fn pause(p: &Podman) {
    let script = "i=0; while :; do i=$((i+1)); echo $i >/count; sleep 0.02; done";
    let files = p.files("pause");
    let volume = format!("{}:/count", files.join("count").display());
    fs::write(files.join("count"), "").unwrap();
    p.chown(&files.join("count"));
    let count = || fs::read_to_string(files.join("count")).unwrap();
    let c = p.start("pause", &["-v", &volume], script);
    wait_until("the container has started to count", 10, || {
        count().len() > 1
    });
    p.ok(&["pause", &c.name]);
    assert_eq!(c.inspect("{{.State.Status}}"), "paused");
    let paused = count();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(count(), paused);
    p.call(&["exec", &c.name, "true"]).fails(255);
    p.ok(&["unpause", &c.name]);
    wait_until("the counter advances", 10, || {
        count().len() > 1 && count() != paused
    });
    p.ok(&["pause", &c.name]);
    p.ok(&["rm", "-f", "-t0", &c.name]);
}

fn rm_refuses(p: &Podman) {
    let c = p.start("rm_refuses", &[], "sleep 1000");
    let output = p.call(&["rm", &c.name]).fails(2);
    assert!(output.contains("as it is running"), "{output}");
    assert_eq!(c.inspect("{{.State.Status}}"), "running");
}

fn rm_force(p: &Podman) {
    let c = p.start("rm_force", &[], "sleep 1001 & sleep 1002");
    let (pid, id) = (c.pid(), c.inspect("{{.Id}}"));
    p.ok(&["rm", "-f", "-t0", &c.name]);
    let process = format!("/proc/{pid}");
    wait_until("the process has ended", 10, || {
        !fs::exists(&process).unwrap()
    });
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&id), "{mounts}");
    p.call(&["container", "exists", &c.name]).fails(1);
    assert_no_cgroup(&id);
}

#[track_caller]
fn assert_no_cgroup(id: &str) {
    for controller in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let left = controller
            .path()
            .join("libpod_parent")
            .join(format!("libpod-{id}"));
        assert!(!left.exists(), "{}", left.display());
    }
}

fn init_reaps(p: &Podman) {
    let script = format!("{}; tr '\\0' ' ' </proc/1/cmdline", command::ORPHAN);
    let output = p.sh(&["--init"], &script);
    assert!(output.contains("podman-init"), "{output}");
}

fn rename(p: &Podman) {
    let c = p.start("rename_before", &[], "sleep 1000");
    let (id, renamed) = (c.inspect("{{.Id}}"), p.container("rename_after"));
    p.ok(&["rename", &c.name, &renamed.name]);
    assert_eq!(renamed.inspect("{{.Id}}"), id);
    assert_eq!(renamed.sh(&[], "echo in"), "in");
}

fn timeout(p: &Podman) {
    let before = std::time::Instant::now();
    assert_ne!(p.run(&["--timeout", "1"], "sleep 1000").status, 0);
    assert!(before.elapsed().as_secs() < 60);
}

/// Without conmon the container keeps running, and `podman rm -f` still removes it.
fn conmon_killed(p: &Podman) {
    let c = p.start("conmon_killed", &[], "sleep 1000");
    let pid = c.pid();
    let conmon = c.inspect("{{.State.ConmonPid}}");
    command::run(std::process::Command::new("kill").args(["-KILL", &conmon])).ok();
    assert!(fs::exists(format!("/proc/{pid}")).unwrap());
    assert_eq!(c.sh(&[], "echo in"), "in");
    p.call(&["rm", "-f", "-t0", &c.name]).ok();
    wait_until("the container has ended", 10, || {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state.is_empty() || state.contains(") Z ")
    });
}
