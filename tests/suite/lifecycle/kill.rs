//! `kill`: which processes a signal reaches, and in which states of the container.

use crate::runner::Test;
use nix::sys::signal::Signal;

use super::{sleeper, waiter};
use crate::harness::{
    Bundle, Container, HostState, Kind, Outcome, Runtime, View, alive, differs, signal, trials,
    wait_gone,
};

pub(super) fn tests() -> Vec<Test> {
    trials![
        kill_accepts_signal_names_and_numbers,
        kill_without_a_signal_sends_term,
        kill_with_an_unknown_signal_is_refused,
        kill_of_a_created_container_works,
        a_fatal_signal_ends_a_created_container,
        a_created_container_survives_signals_that_are_not_fatal,
        kill_of_a_stopped_container_is_refused,
        kill_9_reaches_every_process_in_a_shared_pid_namespace,
        kill_all_reaches_every_process,
        kill_all_reaches_processes_that_outlived_init,
        kill_9_ends_processes_that_outlived_init,
        kill_all_of_a_stopped_container_succeeds,
        kill_all_of_a_missing_container_is_refused,
    ]
}

fn kill_accepts_signal_names_and_numbers() {
    let spellings = [
        ("TERM", 15),
        ("SIGUSR1", 10),
        ("12", 12),
        ("int", 2),
        ("37", 37),
    ];
    for (spelling, number) in spellings {
        let bundle = waiter();
        let container = bundle.run_detached();
        container.wait_for("ready\n");
        container.kill(spelling).assert_ok();
        let stdout = container.wait_for(&format!("\n{number}\n"));
        assert_eq!(
            stdout,
            format!("ready\n{number}\n"),
            "after kill {spelling}"
        );
    }
}

fn kill_without_a_signal_sends_term() {
    let bundle = waiter();
    let container = bundle.run_detached();
    container.wait_for("ready\n");
    container.call("kill", &[]).assert_ok();
    container.wait_for("\n15\n");
}

fn kill_with_an_unknown_signal_is_refused() {
    let bundle = sleeper();
    let container = bundle.run_detached();
    for spelling in ["NOSUCH", "SIG", "9x", "-1", "0x9", "65"] {
        container.kill(spelling).assert_refused("");
    }
    assert_eq!(container.status(), "running");
}

fn kill_of_a_created_container_works() {
    let bundle = sleeper();
    let container = bundle.create();
    container.kill("KILL").assert_ok();
    container.wait_stopped();
    container.delete().assert_ok();
}

/// Managers stop a created container with a signal. The kernel would discard a signal that PID 1
/// of a pid namespace does not handle.
fn a_fatal_signal_ends_a_created_container() {
    let signals: &[&str] = match Kind::under_test() {
        Kind::Rt => &["TERM", "INT", "HUP", "QUIT", "USR1", "37"],
        Kind::Runc | Kind::Crun => &["TERM", "INT", "HUP"],
    };
    differs(Kind::Crun, "its init handles no signals");
    for shared in [false, true] {
        for signal in signals {
            let bundle = if shared {
                sleeper().without_namespace("pid")
            } else {
                sleeper()
            };
            let before = HostState::of(&bundle);
            let container = bundle.create();
            container.kill(signal).assert_ok();
            container.wait_stopped();
            container
                .start()
                .assert_refused("cannot start a container that has stopped");
            container.delete().assert_ok();
            before.assert_unchanged(&bundle);
        }
    }
}

fn a_created_container_survives_signals_that_are_not_fatal() {
    let bundle = Bundle::new().args(&["/probe", "report"]);
    let container = bundle.create();
    for signal in ["WINCH", "CHLD", "URG", "STOP", "TSTP", "TTIN", "CONT"] {
        container.kill(signal).assert_ok();
        assert_eq!(container.status(), "created", "{signal}");
    }
    container.start().assert_ok();
    container.wait_stopped();
    let seen: serde_json::Value = serde_json::from_str(&container.stdout()).unwrap();
    assert_eq!(seen["signals"]["blocked"], serde_json::json!([]));
}

fn kill_of_a_stopped_container_is_refused() {
    let bundle = sleeper();
    let container = bundle.run_detached();
    signal(container.pid(), Signal::SIGKILL);
    container.wait_stopped();
    container
        .kill("TERM")
        .assert_refused("container not running");
}

/// A container in the host's pid namespace: starts a second process, prints its pid, then runs
/// `last`.
fn with_second_process(view: View, last: &str) -> Bundle {
    let bundle = Bundle::with_runtime(&Runtime::new().view(view)).without_namespace("pid");
    let bundle = match Kind::under_test() {
        Kind::Crun => bundle.remove("/linux/resources"),
        Kind::Rt | Kind::Runc => bundle,
    };
    bundle.sh(&format!("sleep 1000 & echo $!; {last}"))
}

fn kill_all(bundle: &Bundle, flag: &str, signal: &str) -> Outcome {
    let arguments = ["kill", flag, bundle.id(), signal];
    bundle.runtime().call(&arguments).run()
}

fn second_pid(container: &Container) -> i32 {
    container.wait_for("\n").trim().parse().unwrap()
}

fn kill_9_reaches_every_process_in_a_shared_pid_namespace() {
    differs(
        Kind::Runc,
        "Debian's old version kills them when the container is deleted",
    );
    differs(Kind::Crun, "it kills them when the container is deleted");
    for view in [View::Host, View::V2] {
        let bundle = with_second_process(view, "sleep 1000");
        let before = HostState::of(&bundle);
        let container = bundle.run_detached();
        let second = second_pid(&container);
        container.kill("KILL").assert_ok();
        wait_gone(second);
        container.wait_stopped();
        container.delete().assert_ok();
        before.assert_unchanged(&bundle);
    }
}

/// containerd's shim and Podman do this when the container shares a pid namespace.
fn kill_all_reaches_every_process() {
    let script = "trap 'echo one' USR1; \
                  (trap 'echo two' USR1; echo ready; while :; do sleep 0.02; done) & \
                  while :; do sleep 0.02; done";
    for (view, shared) in [(View::Host, false), (View::Host, true), (View::V2, false)] {
        let bundle = Bundle::with_runtime(&Runtime::new().view(view)).sh(script);
        let bundle = match (Kind::under_test(), view) {
            (Kind::Crun, View::V2) => bundle.remove("/linux/resources"),
            _ => bundle,
        };
        let bundle = if shared {
            bundle.without_namespace("pid")
        } else {
            bundle
        };
        let container = bundle.run_detached();
        container.wait_for("ready\n");
        kill_all(&bundle, "--all", "USR1").assert_ok();
        container.wait_for("one\n");
        container.wait_for("two\n");
        let pid = container.pid();
        kill_all(&bundle, "-a", "9").assert_ok();
        wait_gone(pid);
        container.wait_stopped();
    }
}

fn kill_all_reaches_processes_that_outlived_init() {
    for view in [View::Host, View::V2] {
        let bundle = with_second_process(view, "exit 0");
        let before = HostState::of(&bundle);
        let container = bundle.run_detached();
        let second = second_pid(&container);
        container.wait_stopped();
        assert!(
            alive(second),
            "it must survive, because its pid namespace does"
        );
        if Kind::under_test() != Kind::Crun {
            container
                .kill("TERM")
                .assert_refused("container not running");
        }
        kill_all(&bundle, "--all", "9").assert_ok();
        wait_gone(second);
        container.delete().assert_ok();
        before.assert_unchanged(&bundle);
    }
}

/// In a shared pid namespace the kernel does not kill them with init.
fn kill_9_ends_processes_that_outlived_init() {
    differs(Kind::Runc, "Debian's old version reports that nothing runs");
    differs(Kind::Crun, "it kills them when the container is deleted");
    for view in [View::Host, View::V2] {
        let bundle = with_second_process(view, "exit 0");
        let before = HostState::of(&bundle);
        let container = bundle.run_detached();
        let second = second_pid(&container);
        container.wait_stopped();
        assert!(
            alive(second),
            "it must survive, because its pid namespace does"
        );
        for refused in ["TERM", "0"] {
            container
                .kill(refused)
                .assert_refused("container not running");
        }
        container.kill("KILL").assert_ok();
        wait_gone(second);
        container.delete().assert_ok();
        before.assert_unchanged(&bundle);
    }
}

fn kill_all_of_a_stopped_container_succeeds() {
    let bundle = sleeper();
    let container = bundle.run_detached();
    signal(container.pid(), Signal::SIGKILL);
    container.wait_stopped();
    kill_all(&bundle, "--all", "9").assert_ok();
    kill_all(&bundle, "--all", "TERM").assert_ok();
}

fn kill_all_of_a_missing_container_is_refused() {
    let outcome = Runtime::new()
        .call(&["kill", "--all", "missing", "9"])
        .run();
    differs(Kind::Crun, "its text is `No such file or directory`");
    outcome.assert_refused("does not exist");
}
