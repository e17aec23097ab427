//! Terminals go on: what is typed, what is written, settings and size.

use super::{Counter, restores_no_new_privs};
use crate::harness::{Bundle, HostState, Kind, differs, only_rt, skip, trials, wait_until};
use crate::runner::Test;
use crate::terminal::pty::Master;
use crate::terminal::session::{LED, Session};
use crate::terminal::socket::Listener;
use crate::terminal::with_terminal;

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_terminal_on_a_console_socket,
        a_terminal_in_the_foreground,
        the_terminal_of_the_caller_needs_shell_job,
        restore_refuses_a_terminal_that_leads_nowhere,
    ]
}

/// Answers each line with its number and the size of the terminal.
const ANSWER: &str = "i=0; echo ready; \
                      while read -r line; do i=$((i+1)); echo \"$i: <$line> $(busybox stty size)\"; done";

/// A terminal by a console socket, on which it answers.
#[track_caller]
fn start(counter: &Counter) -> (Listener, Master) {
    let listener = Listener::new(&counter.bundle);
    let mut flags = vec!["--detach"];
    flags.extend(listener.flags());
    counter.bundle.call("run", &flags).run().assert_ok();
    let (mut terminal, _) = listener.receive();
    terminal.expect("ready");
    (listener, terminal)
}

fn answering(bundle: Bundle) -> Counter {
    let mut counter = Counter::new(bundle);
    counter.bundle = counter.bundle.sh(ANSWER);
    counter
}

#[track_caller]
fn ask(terminal: &mut Master, word: &str, answer: &str) {
    terminal.type_keys(&format!("{word}\r"));
    let seen = terminal.expect(answer);
    assert!(
        seen.contains(&format!("{word}\n{answer}")),
        "no echo: {seen:?}"
    );
}

fn a_terminal_on_a_console_socket() {
    let counter = answering(with_terminal());
    let before = HostState::of(&counter.bundle);
    let (listener, mut terminal) = start(&counter);
    terminal.set_size(30, 100);
    ask(&mut terminal, "one", "1: <one> 30 100");
    let settings = terminal.settings();
    counter.checkpoint(&[]).assert_ok();
    counter.assert_gone();
    terminal.expect_hangup();
    counter
        .restore_call(&[], "images", &listener.flags())
        .run()
        .assert_ok();
    let (mut terminal, _) = listener.receive();
    assert_eq!(terminal.settings(), settings);
    ask(&mut terminal, "two", "2: <two> 30 100");
    terminal.set_size(40, 120);
    ask(&mut terminal, "three", "3: <three> 40 120");
    let (runtime, id) = (counter.bundle.runtime(), counter.bundle.id());
    let seen = runtime
        .call(&["exec", id, "/bin/sh", "-c", "busybox tty </dev/console"])
        .run();
    assert_eq!(seen.assert_ok().stdout, "/dev/console\n");
    terminal.type_keys("\x03");
    counter.bundle.container().wait_stopped();
    terminal.expect_hangup();
    counter.bundle.container().delete().assert_ok();
    before.assert_unchanged(&counter.bundle);
}

fn a_terminal_in_the_foreground() {
    differs(
        Kind::Runc,
        "does not pass on a new size of the caller's terminal after a restore",
    );
    let counter = answering(with_terminal());
    let mut session = Session::start(&counter.bundle);
    session.terminal.expect("ready");
    ask(&mut session.terminal, "one", "1: <one> 24 80");
    counter.checkpoint(&[]).assert_ok();
    session.ended();
    let images = counter.images();
    let images = ["--image-path", images.to_str().unwrap()];
    let mut session = Session::of(counter.bundle.call_through(&LED, "restore", &images), None);
    counter.wait_running();
    ask(&mut session.terminal, "two", "2: <two> 24 80");
    session.assert_raw();
    session.terminal.set_size(40, 120);
    // An answer may still have the old size, so each has a word of its own.
    let mut words = (1..).map(|number| format!("word{number}"));
    wait_until("the new size", || {
        let word = words.next().unwrap();
        session.terminal.type_keys(&format!("{word}\r"));
        let seen = session.terminal.expect(&format!("<{word}> "));
        seen.contains("> 40 120")
    });
    session.terminal.type_keys("\x04");
    session.assert_end(0);
    counter.assert_gone();
}

/// Its pty belongs to the host.
fn the_terminal_of_the_caller_needs_shell_job() {
    only_rt("runc gives the process pipes in place of the caller's terminal");
    let counter = answering(Bundle::new());
    let mut session = Session::start(&counter.bundle);
    session.terminal.expect("ready");
    ask(&mut session.terminal, "one", "1: <one> 24 80");
    let refused = counter.checkpoint(&[]).assert_code(1);
    let text =
        "; a standard stream is a terminal of the host, which needs --shell-job, also at restore)";
    assert!(refused.one_line().ends_with(text), "{refused}");
    ask(&mut session.terminal, "two", "2: <two> 24 80");
    let checkpoint = counter.checkpoint(&["--shell-job"]);
    if checkpoint.code() != 0 && !restores_no_new_privs() {
        skip("the installed CRIU is too old for a terminal of the host");
    }
    checkpoint.assert_ok();
    session.ended();
    let images = counter.images();
    let images = ["--shell-job", "--image-path", images.to_str().unwrap()];
    let mut session = Session::of(counter.bundle.call_through(&LED, "restore", &images), None);
    counter.wait_running();
    ask(&mut session.terminal, "three", "3: <three> 24 80");
    session.terminal.type_keys("\x04");
    session.assert_end(0);
    counter.assert_gone();
}

fn restore_refuses_a_terminal_that_leads_nowhere() {
    only_rt("the texts are rt's");
    let mut counter = answering(with_terminal());
    let before = HostState::of(&counter.bundle);
    let (_listener, _terminal) = start(&counter);
    counter.checkpoint(&[]).assert_ok();
    counter.assert_gone();
    let refused = counter.restore(&[]).assert_code(1);
    assert!(
        refused.one_line().contains("needs --console-socket"),
        "{refused}"
    );
    counter.bundle = counter.bundle.set("/process/terminal", false.into());
    let refused = counter.restore(&[]).assert_code(1);
    let text = "process.terminal: the images have one, and config.json has none";
    assert!(refused.one_line().ends_with(text), "{refused}");
    before.assert_unchanged(&counter.bundle);
}
