//! A container that sends READY=1, and the messages that the service manager receives.

use std::os::fd::OwnedFd;

use crate::runner::Test;
use nix::sys::signal::Signal;
use serde_json::json;

use super::{Manager, ZOMBIES, assert_blocks, bundle, sending};
use crate::harness::{
    Bundle, HostState, Kind, Running, differs, only_rt, signal, trials, wait_until,
};
use crate::terminal::{LED, Session};

pub(super) fn tests() -> Vec<Test> {
    trials![
        run_detached_waits_until_the_container_is_ready,
        start_waits_until_the_container_is_ready,
        run_in_the_foreground_remains_the_main_process_of_the_service,
        run_with_a_terminal_remains_the_main_process_of_the_service,
        signals_are_forwarded_before_the_container_is_ready,
        the_socket_may_have_an_abstract_address,
        the_container_gets_a_socket_of_its_own,
        the_umask_of_the_caller_does_not_affect_the_socket,
        a_container_with_a_user_namespace_can_send_ready,
        only_ready_is_forwarded,
        messages_after_ready_do_not_block_in_the_foreground,
        ready_is_forwarded_for_a_container_that_exits_right_after,
    ]
}

/// Asserts that the call succeeds, and that it does not return before the barrier is closed.
#[track_caller]
fn assert_waits_for(barrier: Option<OwnedFd>, running: Running) {
    if barrier.is_some() {
        assert_blocks(&running);
    }
    drop(barrier);
    running.wait().assert_ok();
}

/// sd_notify_barrier(3): `run` does not exit until the service manager has read all messages, because
/// the manager may look up the process that sent them.
fn run_detached_waits_until_the_container_is_ready() {
    let bundle = sending(&["enter", "STATUS=starting", "READY=1", "sleep"]);
    let before = HostState::of(&bundle);
    let manager = Manager::new(&bundle);
    let (reader, writer) = std::io::pipe().unwrap();
    let call = manager.set_notify_socket(bundle.call("run", &["--detach"]));
    let running = call.with(|command| command.stdin(reader)).start();
    wait_until("the container to run", || {
        bundle
            .runtime()
            .root()
            .join(bundle.id())
            .join("state.json")
            .exists()
            && bundle.container().status() == "running"
    });
    assert_blocks(&running);
    manager.assert_silent();
    std::io::Write::write_all(&mut &writer, b"\n").unwrap();
    let barrier = manager.receive_ready(bundle.container().pid());
    assert_waits_for(barrier, running);
    manager.assert_silent();
    bundle.container().end();
    before.assert_unchanged(&bundle);
}

fn start_waits_until_the_container_is_ready() {
    // runc may have exited by then, so the barrier arrives only sometimes.
    let with_barrier = Kind::under_test() == Kind::Rt;
    let bundle = if with_barrier {
        sending(&["READY=1", "barrier", "sleep"])
    } else {
        sending(&["READY=1", "sleep"])
    };
    let before = HostState::of(&bundle);
    let manager = Manager::new(&bundle);
    let create = manager.set_notify_socket(bundle.call("create", &[]));
    let output = create.output().with_extension("out");
    create.run().assert_ok();
    let container = bundle.container();
    assert_eq!(container.status(), "created");
    manager.assert_silent();
    let start = bundle.runtime().call(&["start", bundle.id()]);
    let running = manager.set_notify_socket(start).start();
    let barrier = manager.receive_ready(container.pid());
    assert_waits_for(barrier, running);
    // The receiver of the service's own barrier closes it, at the latest together with the socket. On a busy host
    // the socket is closed before the service has sent it.
    if with_barrier {
        let output = || std::fs::read_to_string(&output).unwrap();
        let ends = ["barrier: ok", "barrier: ConnectionRefused"];
        wait_until("the barrier", || {
            ends.iter().any(|end| output().contains(end))
        });
    }
    container.end();
    before.assert_unchanged(&bundle);
}

/// The service manager has started `run`, so `run` is the main process of the service. The
/// container's process is its child.
fn run_in_the_foreground_remains_the_main_process_of_the_service() {
    let bundle = sending(&["READY=1", "enter"]);
    let before = HostState::of(&bundle);
    let manager = Manager::new(&bundle);
    let (reader, writer) = std::io::pipe().unwrap();
    let call = manager.set_notify_socket(bundle.call("run", &[]));
    let running = call.with(|command| command.stdin(reader)).start();
    drop(manager.receive_ready(running.pid()));
    drop(writer);
    let outcome = running.wait().assert_ok();
    assert_eq!(outcome.stdout, "READY=1: ok\nenter: ok\n");
    manager.assert_silent();
    before.assert_unchanged(&bundle);
}

/// As above, with a terminal whose data `run` forwards.
fn run_with_a_terminal_remains_the_main_process_of_the_service() {
    let script =
        "/probe notify STATUS=up READY=1 WATCHDOG=1; read -r line; echo got $line; read -r end";
    let bundle = bundle()
        .set("/process/terminal", json!(true))
        .set("/process/args", json!(["/bin/sh", "-c", script]));
    let before = HostState::of(&bundle);
    let manager = Manager::new(&bundle);
    let call = manager.set_notify_socket(bundle.call_through(&LED, "run", &[]));
    let mut session = Session::of(call, None);
    assert_eq!(manager.receive().text, "READY=1\n");
    let main = manager.receive().text;
    let main = main.strip_prefix("MAINPID=").unwrap().trim_end();
    // /proc/PID/exe of the runtime leads to a detached mount.
    let cmdline = std::fs::read_to_string(format!("/proc/{main}/cmdline")).unwrap();
    let program = bundle.runtime().program();
    assert_eq!(cmdline.split('\0').next(), program.to_str());
    if Kind::under_test() == Kind::Rt {
        assert_eq!(manager.receive().text, "BARRIER=1");
    }
    session.terminal.expect("WATCHDOG=1: ok\n");
    session.terminal.type_keys("on\r");
    session.terminal.expect("got on\n");
    session.terminal.type_keys("\r");
    session.assert_end(0);
    manager.assert_silent();
    before.assert_unchanged(&bundle);
}

fn signals_are_forwarded_before_the_container_is_ready() {
    only_rt("runc in the foreground handles no signals before READY=1");
    let bundle = Bundle::new().args(&["/probe", "wait-signal"]);
    let manager = Manager::new(&bundle);
    let running = manager.set_notify_socket(bundle.call("run", &[])).start();
    running.wait_for("ready");
    signal(running.pid(), Signal::SIGTERM);
    let outcome = running.wait().assert_ok();
    assert_eq!(outcome.stdout, "ready\n15\n");
    manager.assert_silent();
}

fn the_socket_may_have_an_abstract_address() {
    let bundle = sending(&["READY=1", "sleep"]);
    let manager = Manager::with_abstract_address(&bundle);
    let running = manager
        .set_notify_socket(bundle.call("run", &["--detach"]))
        .start();
    drop(manager.receive_ready(bundle.container_pid_once_it_runs()));
    running.wait().assert_ok();
    bundle.container().end();
}

/// The container cannot reach the service manager's socket, so it cannot send messages of other kinds.
fn the_container_gets_a_socket_of_its_own() {
    differs(Kind::Runc, ZOMBIES);
    let bundle = Bundle::new()
        .user(1000, 1000)
        .set("/process/env", json!(["NOTIFY_SOCKET=/config"]));
    let manager = Manager::new(&bundle);
    let seen = manager
        .set_notify_socket(bundle.probe_call(&[], &["--detach"]))
        .start();
    let directory = bundle.runtime().root().join(bundle.id()).join("notify");
    seen.wait().assert_ok();
    assert!(directory.join("notify.sock").exists());
    let container = bundle.container();
    container.wait_stopped();
    container.end();
    assert!(!directory.exists());

    let bundle = Bundle::new().args(&[
        "/bin/sh",
        "-c",
        "echo $NOTIFY_SOCKET; stat -c '%A %u' /run/notify \
        /run/notify/notify.sock; touch /run/notify/x || echo read-only; cat /proc/self/mountinfo",
    ]);
    let bundle = bundle.set(
        "/process/env",
        json!(["NOTIFY_SOCKET=/config", "PATH=/bin"]),
    );
    let outcome = manager
        .set_notify_socket(bundle.call("run", &[]))
        .run()
        .assert_ok();
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    let expected = [
        "/run/notify/notify.sock",
        "drwxr-xr-x 0",
        "srwxrwxrwx 0",
        "read-only",
    ];
    assert_eq!(lines[..4], expected, "{outcome}");
    let mount = lines
        .iter()
        .find(|line| line.contains(" /run/notify "))
        .unwrap();
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        let options = mount.split(' ').nth(5).unwrap();
        assert!(
            options.split(',').any(|one| one == option),
            "{option}: {mount}"
        );
    }
    assert!(!outcome.stdout.contains("manager.sock"), "{outcome}");
}

fn the_umask_of_the_caller_does_not_affect_the_socket() {
    let bundle = sending(&["READY=1", "sleep"]).user(1000, 1000);
    let manager = Manager::new(&bundle);
    let masked = ["sh", "-c", "umask 0077; exec \"$@\"", "sh"];
    differs(
        Kind::Runc,
        "its directory has the mode that the umask leaves",
    );
    let call = bundle.call_through(&masked, "run", &["--detach"]);
    let running = manager.set_notify_socket(call).start();
    drop(manager.receive_ready(bundle.container_pid_once_it_runs()));
    running.wait().assert_ok();
    bundle.container().end();
}

fn a_container_with_a_user_namespace_can_send_ready() {
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let bundle = sending(&["READY=1", "sleep"])
        .namespace("user", None)
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map);
    let before = HostState::of(&bundle);
    let manager = Manager::new(&bundle);
    manager
        .set_notify_socket(bundle.call("create", &[]))
        .run()
        .assert_ok();
    let start = bundle.runtime().call(&["start", bundle.id()]);
    let running = manager.set_notify_socket(start).start();
    drop(manager.receive_ready(bundle.container().pid()));
    running.wait().assert_ok();
    bundle.container().end();
    before.assert_unchanged(&bundle);
}

fn only_ready_is_forwarded() {
    differs(
        Kind::Runc,
        "it forwards the first line of a message that begins with READY",
    );
    let messages = [
        "STATUS=READY=1",
        "MAINPID=1~WATCHDOG=1",
        "STATUS=up~READY=1~MAINPID=77",
        "sleep",
    ];
    let bundle = sending(&messages);
    let manager = Manager::new(&bundle);
    let running = manager
        .set_notify_socket(bundle.call("run", &["--detach"]))
        .start();
    drop(manager.receive_ready(bundle.container_pid_once_it_runs()));
    running.wait().assert_ok();
    manager.assert_silent();
    bundle.container().end();
}

/// The queue of a socket holds about ten messages (net.unix.max_dgram_qlen).
fn messages_after_ready_do_not_block_in_the_foreground() {
    let mut messages = vec!["READY=1"];
    messages.extend(["WATCHDOG=1"; 100]);
    messages.extend(["READY=1", "barrier"]);
    only_rt("runc stops reading after it has received READY=1 twice");
    let bundle = sending(&messages);
    let manager = Manager::new(&bundle);
    let running = manager.set_notify_socket(bundle.call("run", &[])).start();
    drop(manager.receive_ready(running.pid()));
    let outcome = running.wait().assert_ok();
    assert_eq!(outcome.stdout.lines().count(), 103);
    assert!(outcome.stdout.ends_with("barrier: ok\n"), "{outcome}");
    manager.assert_silent();
}

fn ready_is_forwarded_for_a_container_that_exits_right_after() {
    only_rt("runc first checks whether the process exists");
    for flags in [&["--detach"] as &[&str], &[]] {
        let bundle = sending(&["READY=1"]);
        let manager = Manager::new(&bundle);
        let running = manager.set_notify_socket(bundle.call("run", flags)).start();
        assert_eq!(manager.receive().text, "READY=1\n");
        assert!(manager.receive().text.starts_with("MAINPID="));
        drop(manager.receive());
        running.wait().assert_ok();
    }
}
