//! A container that never sends READY=1, or a service manager that does not receive it.

use std::fs;
use std::time::{Duration, Instant};

use crate::runner::Test;

use super::{Manager, ZOMBIES, bundle, sending};
use crate::harness::{
    HostState, Kind, differs, needs_strace, only_in_the_matrix, only_rt, trials, wait_until,
};

pub(super) fn tests() -> Vec<Test> {
    trials![
        start_does_not_wait_for_a_container_that_has_exited,
        the_container_can_be_used_while_start_waits,
        start_without_a_service_manager_does_not_wait,
        start_with_a_service_manager_of_a_container_created_without_one,
        a_missing_socket_of_the_service_manager_is_refused_before_creation,
        a_service_manager_that_exits_causes_a_warning,
        a_barrier_is_waited_for_with_a_limit_of_30_s,
        a_barrier_that_stays_open_is_waited_for_30_s,
        without_a_mount_namespace_notify_socket_is_refused,
        after_a_failed_create_no_socket_remains,
    ]
}

fn start_does_not_wait_for_a_container_that_has_exited() {
    differs(Kind::Runc, ZOMBIES);
    let bundle = bundle().args(&["/bin/true"]);
    let before = HostState::of(&bundle);
    let manager = Manager::new(&bundle);
    let run = bundle.call("run", &["--detach"]);
    manager.set_notify_socket(run).run().assert_ok();
    bundle.container().delete().assert_ok();
    manager
        .set_notify_socket(bundle.call("create", &[]))
        .run()
        .assert_ok();
    let start = bundle.runtime().call(&["start", bundle.id()]);
    manager.set_notify_socket(start).run().assert_ok();
    bundle.container().delete().assert_ok();
    manager
        .set_notify_socket(bundle.call("run", &[]))
        .run()
        .assert_ok();
    manager.assert_silent();
    before.assert_unchanged(&bundle);
}

fn the_container_can_be_used_while_start_waits() {
    differs(Kind::Runc, ZOMBIES);
    let bundle = bundle().args(&["/probe", "sleep"]);
    let before = HostState::of(&bundle);
    let manager = Manager::new(&bundle);
    manager
        .set_notify_socket(bundle.call("create", &[]))
        .run()
        .assert_ok();
    let start = bundle.runtime().call(&["start", bundle.id()]);
    let running = manager.set_notify_socket(start).start();
    let container = bundle.container();
    wait_until("the container to run", || container.status() == "running");
    container.delete_force().assert_ok();
    running.wait().assert_ok();
    manager.assert_silent();
    before.assert_unchanged(&bundle);
}

fn start_without_a_service_manager_does_not_wait() {
    let bundle = sending(&["READY=1", "sleep"]);
    let manager = Manager::new(&bundle);
    let call = manager.set_notify_socket(bundle.call("create", &[]));
    let output = call.output().with_extension("out");
    call.run().assert_ok();
    let container = bundle.container();
    container.start().assert_ok();
    let output = || std::fs::read_to_string(&output).unwrap();
    wait_until("the message of the service", || {
        output().contains("READY=1: NotFound")
    });
    manager.assert_silent();
    container.end();
}

fn start_with_a_service_manager_of_a_container_created_without_one() {
    only_rt("runc fails to create its socket, after the start");
    let bundle = sending(&["READY=1", "sleep"]);
    let manager = Manager::new(&bundle);
    let container = bundle.create();
    let start = bundle.runtime().call(&["start", bundle.id()]);
    manager.set_notify_socket(start).run().assert_ok();
    manager.assert_silent();
    container.end();
}

fn a_missing_socket_of_the_service_manager_is_refused_before_creation() {
    only_rt("runc notices when the container runs, or not at all");
    let bundle = sending(&["READY=1", "sleep"]);
    let before = HostState::of(&bundle);
    for (address, reason) in [
        ("/no/such", "not found (ENOENT)"),
        ("@rt-suite-no-listener", "connection refused (ECONNREFUSED)"),
        (
            "relative",
            "neither an absolute path nor the name of an abstract socket",
        ),
        (
            "vsock:2:1",
            "neither an absolute path nor the name of an abstract socket",
        ),
    ] {
        let call = bundle.call("run", &["--detach"]);
        let call = call.with(|command| command.env("NOTIFY_SOCKET", address));
        let refused = call.run().assert_code(1);
        let line = format!("rt run: {}: NOTIFY_SOCKET {address}: {reason}", bundle.id());
        assert_eq!(refused.one_line(), line);
        before.assert_unchanged(&bundle);
    }
    // The container can be started again.
    let manager = Manager::new(&bundle);
    manager
        .set_notify_socket(bundle.call("create", &[]))
        .run()
        .assert_ok();
    let start = || bundle.runtime().call(&["start", bundle.id()]);
    let call = start().with(|command| command.env("NOTIFY_SOCKET", "/no/such"));
    call.run().assert_refused("NOTIFY_SOCKET /no/such: ");
    assert_eq!(bundle.container().status(), "created");
    let running = manager.set_notify_socket(start()).start();
    drop(manager.receive_ready(bundle.container().pid()));
    running.wait().assert_ok();
    bundle.container().end();
    before.assert_unchanged(&bundle);
}

fn a_service_manager_that_exits_causes_a_warning() {
    only_rt("runc prints no warning");
    let bundle = sending(&["enter", "READY=1", "sleep"]);
    let manager = Manager::new(&bundle);
    let (reader, writer) = std::io::pipe().unwrap();
    let call = manager.set_notify_socket(bundle.call("run", &["--detach"]));
    let running = call.with(|command| command.stdin(reader)).start();
    bundle.container_pid_once_it_runs();
    drop(manager);
    drop(writer);
    let outcome = running.wait().assert_ok();
    let line = outcome.one_line();
    assert!(
        line.contains("NOTIFY_SOCKET: READY is not forwarded: connection refused"),
        "{line}"
    );
    bundle.container().end();
}

fn a_barrier_is_waited_for_with_a_limit_of_30_s() {
    only_rt("Debian's runc sends no barrier");
    needs_strace();
    let bundle = sending(&["READY=1"]);
    let manager = Manager::new(&bundle);
    let trace = bundle.runtime().home().join("trace");
    let strace = [
        "strace",
        "-D",
        "-o",
        trace.to_str().unwrap(),
        "-e",
        "trace=poll,ppoll",
    ];
    let call = bundle.call_through(&strace, "run", &[]);
    let running = manager.set_notify_socket(call).start();
    drop(manager.receive_ready(running.pid()));
    running.wait().assert_ok();
    let mut text = String::new();
    wait_until("the end of the trace", || {
        text = fs::read_to_string(&trace).unwrap_or_default();
        text.contains("exited with")
    });
    let last = text.lines().rfind(|line| line.contains("POLLIN"));
    let last = last.unwrap_or_default();
    assert!(last.contains(", 30000)") || last.contains(", 29"), "{text}");
}

fn a_barrier_that_stays_open_is_waited_for_30_s() {
    only_rt("Debian's runc sends no barrier");
    only_in_the_matrix(); // This takes 30 s.
    let bundle = sending(&["READY=1"]);
    let manager = Manager::new(&bundle);
    let begun = Instant::now();
    let running = manager.set_notify_socket(bundle.call("run", &[])).start();
    let barrier = manager.receive_ready(running.pid());
    let outcome = running.wait().assert_ok();
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_secs(30), "only {waited:?}");
    let line = outcome.one_line();
    let expected = "NOTIFY_SOCKET: the service manager has not confirmed READY in 30 s";
    assert!(line.contains(expected), "{line}");
    drop(barrier);
}

fn without_a_mount_namespace_notify_socket_is_refused() {
    only_rt("runc does not mount the socket then, and prints no error");
    let bundle = sending(&["READY=1", "sleep"])
        .without_namespace("mount")
        .remove("/mounts")
        .remove("/linux/maskedPaths")
        .remove("/linux/readonlyPaths")
        .writable();
    let before = HostState::of(&bundle);
    let manager = Manager::new(&bundle);
    let refused = manager
        .set_notify_socket(bundle.call("run", &["--detach"]))
        .run();
    refused.assert_refused("NOTIFY_SOCKET: needs a new mount namespace");
    before.assert_unchanged(&bundle);
}

fn after_a_failed_create_no_socket_remains() {
    let no_program = bundle().args(&["/no/such/program"]);
    let no_mount_point = bundle().symlink("run", "/etc/passwd");
    for bundle in [no_program, no_mount_point] {
        let before = HostState::of(&bundle);
        let manager = Manager::new(&bundle);
        for (verb, flags) in [("create", &[] as &[&str]), ("run", &["--detach"])] {
            manager
                .set_notify_socket(bundle.call(verb, flags))
                .run()
                .assert_refused("");
            before.assert_unchanged(&bundle);
        }
    }
}
