//! A client of a terminal that is not read, or whose streams are all something else: nobody else
//! waits for it, and it hears signals.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::{Master, Session, with_terminal};
use crate::exec;
use crate::harness::{
    Bundle, Call, Running, Traces, only_rt, signal, stat, trials, wait_gone, wait_until,
};

pub(super) fn tests() -> Vec<Trial> {
    trials![
        a_client_of_run_that_does_not_read_holds_nobody_up,
        a_client_of_exec_that_does_not_read_holds_nobody_up,
        what_was_not_read_is_read_after_the_end,
        exec_hears_signals_while_its_process_is_stopped,
        with_all_streams_redirected_the_terminal_is_dev_tty,
    ]
}

/// Much less than what a `delete` waits for a process.
const SOON: Duration = Duration::from_secs(5);

const SAYS_MUCH: [&str; 3] = ["/bin/busybox", "yes", "as much as is read"];

/// A command on a terminal whose output goes into a pipe that nobody reads, and is full.
struct Unread {
    client: Running,
    reader: std::io::PipeReader,
    _terminal: Master,
}

impl Unread {
    fn start(call: Call) -> Unread {
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
        Unread {
            client,
            reader,
            _terminal: terminal,
        }
    }

    /// Deletes the container, and ends the client by a signal.
    #[track_caller]
    fn assert_holds_nobody_up(self, bundle: &Bundle, before: &Traces) {
        let begun = Instant::now();
        bundle.container().delete_force().assert_ok();
        let took = begun.elapsed();
        assert!(took < SOON, "delete took {took:?}");
        let state = bundle.runtime().call(&["state", bundle.id()]).run();
        state.assert_refused("does not exist");
        signal(self.client.pid(), Signal::SIGTERM);
        self.client.wait().assert_code(137);
        before.assert_unchanged(bundle);
        drop(self.reader);
    }
}

fn a_client_of_run_that_does_not_read_holds_nobody_up() {
    only_rt("runc waits for its reader, whatever signals say");
    for is_killed_before in [false, true] {
        let bundle = with_terminal().args(&SAYS_MUCH);
        let before = Traces::of(&bundle);
        let unread = Unread::start(bundle.call("run", &[]));
        if is_killed_before {
            let pid = bundle.container().pid();
            bundle.container().kill("KILL").assert_ok();
            wait_gone(pid);
        }
        unread.assert_holds_nobody_up(&bundle, &before);
    }
}

fn a_client_of_exec_that_does_not_read_holds_nobody_up() {
    only_rt("runc waits for its reader, whatever signals say");
    let bundle = Bundle::new();
    let before = Traces::of(&bundle);
    let (bundle, _container) = exec::running(bundle);
    let unread = Unread::start(exec::call(&bundle, &["-t"], &SAYS_MUCH));
    unread.assert_holds_nobody_up(&bundle, &before);
}

fn what_was_not_read_is_read_after_the_end() {
    only_rt("runc loses what the terminal still holds");
    let bundle = with_terminal().sh("busybox seq 1 20000; exit 7");
    let before = Traces::of(&bundle);
    let Unread {
        client, mut reader, ..
    } = Unread::start(bundle.call("run", &[]));
    let mut said = Vec::new();
    std::io::Read::read_to_end(&mut reader, &mut said).unwrap();
    let all: String = (1..=20000).map(|number| format!("{number}\n")).collect();
    assert!(said == all.as_bytes(), "{} bytes", said.len());
    client.wait().assert_code(7);
    before.assert_unchanged(&bundle);
}

/// Whether a process of the container sees `pid`.
fn is_inside(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    ids.is_some_and(|ids| ids.split_whitespace().count() > 1)
}

/// The child of `parent` in the container, which is stopped now.
fn stopped_child(parent: i32) -> i32 {
    let children = format!("/proc/{parent}/task/{parent}/children");
    let mut child = None;
    // Without a pause: it has a millisecond to go.
    let begun = Instant::now();
    while child.is_none() {
        assert!(begun.elapsed() < SOON, "the client has no child");
        let listed = fs::read_to_string(&children).unwrap_or_default();
        let mut listed = listed.split_whitespace();
        child = listed.find(|child| is_inside(child)).map(str::to_owned);
    }
    let child = child.unwrap().parse().unwrap();
    signal(child, Signal::SIGSTOP);
    wait_until("it to stop", || {
        stat::<char>(child, 3).is_none_or(|state| state == 'T')
    });
    child
}

/// As one that is already in a container that they share may stop it.
fn exec_hears_signals_while_its_process_is_stopped() {
    only_rt("runc does not hear signals before the process runs");
    let (bundle, container) = exec::running(Bundle::new());
    let before = Traces::of(&bundle);
    for _ in 0..50 {
        let client = exec::call(&bundle, &[], &["/bin/sleep", "1000"]).start();
        let child = stopped_child(client.pid());
        let program = fs::read_link(format!("/proc/{child}/exe")).unwrap();
        if program.ends_with("busybox") {
            // It was faster.
            signal(child, Signal::SIGKILL);
            client.wait().assert_code(137);
            continue;
        }
        let begun = Instant::now();
        signal(client.pid(), Signal::SIGTERM);
        client.wait().assert_code(143);
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
        wait_gone(child);
        before.assert_unchanged(&bundle);
        return container.end();
    }
    panic!("no process was stopped before it ran");
}

/// `"$@" < /dev/null > FILE 2>&1`, led as in a session.
fn redirected(file: &str) -> Vec<String> {
    let script =
        format!("\"$@\" </dev/null >{file} 2>&1; printf '\\nended %d;\\n' $? >&2; read -r end");
    ["sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
}

fn with_all_streams_redirected_the_terminal_is_dev_tty() {
    let script = "until [ \"$(busybox stty size)\" = '24 80' ]; do busybox sleep 0.02; done; echo of this size";
    let words = ["/bin/sh", "-c", script];
    let run = with_terminal().args(&words);
    let (joined, _container) = exec::running(Bundle::new());
    for bundle in [&run, &joined] {
        let file = bundle.runtime().home().join("said");
        let before = redirected(file.to_str().unwrap());
        let before: Vec<&str> = before.iter().map(String::as_str).collect();
        let call = match std::ptr::eq(bundle, &run) {
            true => bundle.call_through(&before, "run", &[]),
            false => exec::through(bundle, &before, &["-t"], &words),
        };
        Session::of(call, None).assert_end(0);
        let said = fs::read_to_string(&file).unwrap();
        assert!(said.contains("of this size"), "{said:?}");
    }
}
