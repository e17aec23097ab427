//! A client (`run` or `exec`) whose output is not read, or whose streams are not the terminal: it does not
//! block other commands, and it handles signals.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::runner::Test;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::{Master, Session, with_terminal};
use crate::exec;
use crate::harness::{
    Bundle, Call, HostState, Running, only_rt, signal, stat, trials, wait_gone, wait_until,
};

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_blocked_run_does_not_block_delete,
        a_blocked_exec_does_not_block_delete,
        output_can_be_read_after_the_process_has_exited,
        exec_handles_signals_while_its_process_is_stopped,
        with_all_streams_redirected_the_terminal_is_dev_tty,
    ]
}

/// A time limit far below the time that `delete` waits for a process.
const SHORT: Duration = Duration::from_secs(5);

const ENDLESS_OUTPUT: [&str; 3] = ["/bin/busybox", "yes", "as much as is read"];

/// A client on a terminal whose output goes to a full pipe that is not read.
struct BlockedClient {
    client: Running,
    reader: std::io::PipeReader,
    _terminal: Master,
}

impl BlockedClient {
    fn start(call: Call) -> BlockedClient {
        let (terminal, slave) = Master::open();
        let (reader, writer) = std::io::pipe().unwrap();
        let full = writer.try_clone().unwrap();
        let (stdin, stdout) = (
            slave.try_clone().unwrap(),
            File::from(OwnedFd::from(writer)),
        );
        let call = call.with(|command| command.stdin(stdin).stdout(stdout).stderr(slave));
        let client = call.start();
        wait_until("the pipe to be full", || {
            let mut room = [PollFd::new(full.as_fd(), PollFlags::POLLOUT)];
            poll(&mut room, PollTimeout::ZERO) == Ok(0)
        });
        BlockedClient {
            client,
            reader,
            _terminal: terminal,
        }
    }

    /// Asserts that the container can be deleted quickly, and that SIGTERM ends the client.
    #[track_caller]
    fn assert_delete_is_fast(self, bundle: &Bundle, before: &HostState) {
        let begun = Instant::now();
        bundle.container().delete_force().assert_ok();
        let took = begun.elapsed();
        assert!(took < SHORT, "delete took {took:?}");
        let state = bundle.runtime().call(&["state", bundle.id()]).run();
        state.assert_refused("does not exist");
        signal(self.client.pid(), Signal::SIGTERM);
        self.client.wait().assert_code(137);
        before.assert_unchanged(bundle);
        drop(self.reader);
    }
}

fn a_blocked_run_does_not_block_delete() {
    only_rt("runc waits for the reader and ignores signals");
    for is_killed_before in [false, true] {
        let bundle = with_terminal().args(&ENDLESS_OUTPUT);
        let before = HostState::of(&bundle);
        let blocked = BlockedClient::start(bundle.call("run", &[]));
        if is_killed_before {
            let pid = bundle.container().pid();
            bundle.container().kill("KILL").assert_ok();
            wait_gone(pid);
        }
        blocked.assert_delete_is_fast(&bundle, &before);
    }
}

fn a_blocked_exec_does_not_block_delete() {
    only_rt("runc waits for the reader and ignores signals");
    let bundle = Bundle::new();
    let before = HostState::of(&bundle);
    let (bundle, _container) = exec::running(bundle);
    let blocked = BlockedClient::start(exec::call(&bundle, &["-t"], &ENDLESS_OUTPUT));
    blocked.assert_delete_is_fast(&bundle, &before);
}

fn output_can_be_read_after_the_process_has_exited() {
    only_rt("runc loses output that is still in the terminal");
    let bundle = with_terminal().sh("busybox seq 1 20000; exit 7");
    let before = HostState::of(&bundle);
    let BlockedClient {
        client, mut reader, ..
    } = BlockedClient::start(bundle.call("run", &[]));
    let mut output = Vec::new();
    std::io::Read::read_to_end(&mut reader, &mut output).unwrap();
    let all: String = (1..=20000).map(|number| format!("{number}\n")).collect();
    assert!(output == all.as_bytes(), "{} bytes", output.len());
    client.wait().assert_code(7);
    before.assert_unchanged(&bundle);
}

/// Whether `pid` is in a nested pid namespace.
fn is_inside(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    ids.is_some_and(|ids| ids.split_whitespace().count() > 1)
}

/// Stops the child of `parent` that is in the container, and returns its pid.
fn stopped_child(parent: i32) -> i32 {
    let children = format!("/proc/{parent}/task/{parent}/children");
    let mut child = None;
    // A busy loop, because the child executes its program within a millisecond.
    let begun = Instant::now();
    while child.is_none() {
        assert!(begun.elapsed() < SHORT, "the client has no child");
        let listed = fs::read_to_string(&children).unwrap_or_default();
        let mut listed = listed.split_whitespace();
        child = listed.find(|child| is_inside(child)).map(str::to_owned);
    }
    let child = child.unwrap().parse().unwrap();
    signal(child, Signal::SIGSTOP);
    wait_until("the child to stop", || {
        stat::<char>(child, 3).is_none_or(|state| state == 'T')
    });
    child
}

/// Another process of the container may stop the process of `exec` before it executes its program.
fn exec_handles_signals_while_its_process_is_stopped() {
    only_rt("runc handles no signals before the process runs");
    let (bundle, container) = exec::running(Bundle::new());
    let before = HostState::of(&bundle);
    for _ in 0..50 {
        let client = exec::call(&bundle, &[], &["/bin/sleep", "1000"]).start();
        let child = stopped_child(client.pid());
        let program = fs::read_link(format!("/proc/{child}/exe")).unwrap();
        if program.ends_with("busybox") {
            // The child has already executed its program.
            signal(child, Signal::SIGKILL);
            client.wait().assert_code(137);
            continue;
        }
        let begun = Instant::now();
        signal(client.pid(), Signal::SIGTERM);
        client.wait().assert_code(143);
        assert!(begun.elapsed() < SHORT, "{:?}", begun.elapsed());
        wait_gone(child);
        before.assert_unchanged(&bundle);
        return container.end();
    }
    panic!("no process was stopped before it ran");
}

/// A session leader that calls `"$@" < /dev/null > FILE 2>&1`.
fn redirected(file: &str) -> Vec<String> {
    let script =
        format!("\"$@\" </dev/null >{file} 2>&1; printf '\\nended %d;\\n' $? >&2; read -r end");
    ["sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
}

fn with_all_streams_redirected_the_terminal_is_dev_tty() {
    let script = "until [ \"$(busybox stty size)\" = '24 80' ]; do busybox sleep 0.02; done; echo of this size";
    let args = ["/bin/sh", "-c", script];
    let run = with_terminal().args(&args);
    let (joined, _container) = exec::running(Bundle::new());
    for bundle in [&run, &joined] {
        let file = bundle.runtime().home().join("output");
        let wrapper = redirected(file.to_str().unwrap());
        let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
        let call = if std::ptr::eq(bundle, &run) {
            bundle.call_through(&wrapper, "run", &[])
        } else {
            exec::through(bundle, &wrapper, &["-t"], &args)
        };
        Session::of(call, None).assert_end(0);
        let output = fs::read_to_string(&file).unwrap();
        assert!(output.contains("of this size"), "{output:?}");
    }
}
