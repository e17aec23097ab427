//! Refusals: the exit status is 255, and the error is a text that container managers parse.

use std::fs;

use crate::runner::Test;
use serde_json::json;

use super::{call, exec, running, sh, waiting};
use crate::harness::{
    Bundle, Container, HostState, Kind, Runtime, View, alive, cgroup_of, differs, only_rt, signal,
    trials, wait_gone, wait_until,
};

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_container_that_does_not_exist_is_refused,
        an_invalid_id_is_refused,
        a_stopped_container_is_refused,
        a_container_whose_init_is_a_zombie_is_refused,
        a_created_container_can_be_joined,
        a_paused_container_is_refused,
        a_paused_container_can_be_joined_with_ignore_paused,
        a_missing_program_argument_is_refused,
        a_missing_id_is_refused,
        an_unknown_flag_is_refused,
        a_missing_program_is_refused,
        a_program_without_execute_permission_is_refused,
        a_file_that_is_not_a_program_fails_in_execve,
        a_program_behind_a_magic_link_is_refused,
        exec_does_not_need_the_bundle,
        an_error_is_written_to_the_log,
        a_refused_exec_leaves_nothing_behind,
    ]
}

fn a_container_that_does_not_exist_is_refused() {
    let bundle = Bundle::new();
    fs::create_dir(bundle.runtime().root()).unwrap();
    let outcome = exec(&bundle, &[], &["/bin/true"]).assert_code(255);
    outcome
        .assert_refused("container does not exist")
        .one_line();
}

fn an_invalid_id_is_refused() {
    let runtime = Runtime::new();
    for id in ["a/b", "..", "a b"] {
        let outcome = runtime
            .call(&["exec", id, "/bin/true"])
            .run()
            .assert_code(255);
        outcome
            .assert_refused("invalid container ID format")
            .one_line();
    }
}

fn a_stopped_container_is_refused() {
    let bundle = Bundle::new().args(&["/bin/true"]);
    let container = bundle.run_detached();
    container.wait_stopped();
    let outcome = exec(&bundle, &[], &["/bin/true"]).assert_code(255);
    outcome
        .assert_refused("cannot exec in a stopped container")
        .one_line();
}

/// A zombie has no namespaces to enter.
fn a_container_whose_init_is_a_zombie_is_refused() {
    let (bundle, container) = running(Bundle::new());
    let pid = container.pid();
    signal(pid, nix::sys::signal::Signal::SIGKILL);
    wait_until("init to end", || !alive(pid));
    let outcome = exec(&bundle, &[], &["/bin/true"]).assert_code(255);
    outcome.assert_refused("cannot exec in a stopped container");
}

fn a_created_container_can_be_joined() {
    let bundle = waiting(Bundle::new());
    let container = bundle.create();
    assert_eq!(
        sh(&bundle, &[], "echo before its start"),
        "before its start\n"
    );
    assert_eq!(container.status(), "created");
    container.start().assert_ok();
    assert_eq!(sh(&bundle, &[], "echo after"), "after\n");
}

/// Freezes the container through its cgroup, without the runtime, until it is dropped.
struct Freezer(std::path::PathBuf, &'static str);

impl Freezer {
    fn new(container: &Container, view: View) -> Self {
        let v2 = view == View::V2 || crate::harness::on_v2();
        let controller = if v2 { "" } else { "freezer" };
        let (name, frozen, thawed) = if v2 {
            ("cgroup.freeze", "1", "0")
        } else {
            ("freezer.state", "FROZEN", "THAWED")
        };
        let file = cgroup_of(container.pid(), controller).join(name);
        fs::write(&file, frozen).unwrap();
        wait_until("the container to be paused", || {
            container.status() == "paused"
        });
        Self(file, thawed)
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        drop(fs::write(&self.0, self.1));
    }
}

fn a_paused_container_is_refused() {
    for view in [View::Host, View::V2] {
        let (bundle, container) = running(Bundle::with_runtime(&Runtime::new().view(view)));
        let freezer = Freezer::new(&container, view);
        let before = HostState::of(&bundle);
        let outcome = exec(&bundle, &[], &["/bin/true"]).assert_code(255);
        let message = "cannot exec in a paused container (use --ignore-paused to override)";
        outcome.assert_refused(message).one_line();
        before.assert_unchanged(&bundle);
        drop(freezer);
        exec(&bundle, &[], &["/bin/true"]).assert_ok();
    }
}

fn a_paused_container_can_be_joined_with_ignore_paused() {
    for view in [View::Host, View::V2] {
        let (bundle, container) = running(Bundle::with_runtime(&Runtime::new().view(view)));
        let freezer = Freezer::new(&container, view);
        let joining = call(&bundle, &["--ignore-paused"], &["/bin/echo", "joined"]).start();
        let read = |file: &str| fs::read_to_string(freezer.0.with_file_name(file));
        let (state, frozen) = if freezer.1 == "0" {
            ("cgroup.events", "frozen 1\n")
        } else {
            ("freezer.state", "FROZEN\n")
        };
        wait_until("the process to be frozen with the container", || {
            read("cgroup.procs").is_ok_and(|pids| pids.lines().count() > 1)
                && read(state).is_ok_and(|text| text.contains(frozen))
        });
        assert_eq!(joining.stdout(), "", "it is frozen as well");
        drop(freezer);
        assert_eq!(joining.wait().assert_ok().stdout, "joined\n");
    }
}

fn a_missing_program_argument_is_refused() {
    let (bundle, _container) = running(Bundle::new());
    let outcome = exec(&bundle, &[], &[]).assert_code(255);
    outcome.assert_refused("args cannot be empty").one_line();
    differs(Kind::Runc, "Debian's old one says \"process args\"");
    exec(&bundle, &[], &[]).assert_refused("exec args cannot be empty");
}

fn a_missing_id_is_refused() {
    let outcome = Runtime::new().call(&["exec"]).run().assert_code(1);
    outcome.assert_refused("requires a minimum of 1 argument(s)");
}

fn an_unknown_flag_is_refused() {
    let (bundle, _container) = running(Bundle::new());
    let outcome = exec(&bundle, &["--bogus"], &["/bin/true"]).assert_code(1);
    let outcome = outcome.assert_refused("flag provided but not defined: -");
    outcome.assert_refused("-bogus");
}

fn a_missing_program_is_refused() {
    let (bundle, _container) = running(Bundle::new());
    for (program, message) in [
        (
            "nosuch",
            "exec: \"nosuch\": executable file not found in $PATH",
        ),
        ("", "exec: \"\": executable file not found in $PATH"),
        ("/no/such", "no such file or directory"),
        ("./nosuch", "no such file or directory"),
    ] {
        let outcome = exec(&bundle, &[], &[program]).assert_code(255);
        outcome.assert_refused(message).one_line();
    }
}

fn a_program_without_execute_permission_is_refused() {
    let bundle = Bundle::new()
        .file("etc/plain", "#!/bin/sh\n")
        .executable("secret/x", "#!/bin/sh\n");
    let closed = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o700);
    fs::set_permissions(bundle.rootfs().join("secret"), closed).unwrap();
    let (bundle, _container) = running(bundle);
    let outcome = exec(&bundle, &[], &["/etc/plain"]).assert_code(255);
    outcome.assert_refused("permission denied").one_line();
    let outcome = exec(&bundle, &["-u", "1000"], &["/secret/x"]).assert_code(255);
    outcome.assert_refused("permission denied").one_line();
    let outcome = exec(&bundle, &[], &["/etc"]).assert_code(255);
    differs(
        Kind::Runc,
        "Debian's old one says \"permission denied\" of a directory, newer \"is a directory\"",
    );
    outcome.assert_refused("is a directory").one_line();
}

/// The process reports the error on its own standard error and exits with 1, as it has
/// already joined the container and cannot report to the runtime.
fn a_file_that_is_not_a_program_fails_in_execve() {
    let bundle = Bundle::new()
        .executable("bin/garbage", "\u{1}\u{2}garbage")
        .executable("bin/orphan", "#!/no/such\n");
    let (bundle, _container) = running(bundle);
    let before = HostState::of(&bundle);
    let pid_file = bundle.runtime().home().join("pid");
    let detached = ["--detach", "--pid-file", pid_file.to_str().unwrap()];
    for (program, message) in [
        ("/bin/garbage", "exec format error"),
        ("/bin/orphan", "no such file or directory"),
    ] {
        let said = exec(&bundle, &[], &[program]).assert_code(1).stderr;
        let line = format!("exec {program}: {message}");
        assert!(said.starts_with(&line), "{said:?}");
        exec(&bundle, &detached, &[program]).assert_ok();
        let pid = fs::read_to_string(&pid_file).unwrap();
        wait_gone(pid.parse().unwrap());
        fs::remove_file(&pid_file).unwrap();
    }
    before.assert_unchanged(&bundle);
}

/// CVE-2019-5736: such a link may lead to the runtime's own file.
fn a_program_behind_a_magic_link_is_refused() {
    only_rt("runc protects itself by other means");
    let (bundle, _container) = running(Bundle::new());
    for program in ["/proc/self/exe", "/proc/self/fd/3", "/proc/thread-self/exe"] {
        let outcome = exec(&bundle, &[], &[program]).assert_code(255);
        outcome.assert_refused("process.args[0]").one_line();
    }
}

/// runtime.md, "Create": "Any updates to config.json after this step MUST NOT affect the container."
fn exec_does_not_need_the_bundle() {
    differs(Kind::Runc, "it reads config.json again");
    let (bundle, _container) = running(Bundle::new().set("/process/env/-", json!("OWN=1")));
    fs::remove_file(bundle.path().join("config.json")).unwrap();
    assert_eq!(sh(&bundle, &[], "echo $OWN"), "1\n");
    fs::write(bundle.path().join("config.json"), "garbage").unwrap();
    assert_eq!(sh(&bundle, &[], "echo $OWN"), "1\n");
}

/// containerd shows the last line with level error.
fn an_error_is_written_to_the_log() {
    let (bundle, _container) = running(Bundle::new());
    let log = bundle.runtime().home().join("log.json");
    let runtime = bundle.runtime().clone();
    let globals = ["--log", log.to_str().unwrap(), "--log-format", "json"];
    let args = [&globals[..], &["exec", bundle.id(), "nosuch"]].concat();
    runtime.call(&args).run().assert_code(255);
    let text = fs::read_to_string(log).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["level"], "error");
    let message = last["msg"].as_str().unwrap();
    assert!(
        message.contains("executable file not found in $PATH"),
        "{message}"
    );
}

fn a_refused_exec_leaves_nothing_behind() {
    let (bundle, _container) = running(Bundle::new());
    let before = HostState::of(&bundle);
    for (flags, args) in [
        (&["-u", "7"] as &[&str], &["nosuch"] as &[&str]),
        (&["--cwd", "/nosuch"], &["/bin/true"]),
        (&["-d", "-t"], &["/bin/true"]),
        (&["--pid-file", "/nonexistent/pid"], &["/bin/sleep", "1000"]),
        (&["--cgroup", "nosuch"], &["/bin/true"]),
        (
            &["--console-socket", "/nonexistent", "-d", "-t"],
            &["/bin/true"],
        ),
    ] {
        exec(&bundle, flags, args).assert_code(255);
        before.assert_unchanged(&bundle);
    }
}
