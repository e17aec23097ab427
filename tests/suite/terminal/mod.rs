//! `process.terminal`: the container's terminal, the caller's terminal, and the flags for them.

mod outer;
pub(crate) mod pty;
pub(crate) mod session;
pub(crate) mod socket;
mod unread;

pub(crate) use pty::Master;
pub(crate) use session::{LED, Session};
pub(crate) use socket::{Listener, message, wait_readable};

use crate::runner::Test;
use serde_json::json;

use crate::harness::{Bundle, HostState, Kind, only_rt, trials};

pub(crate) fn tests() -> Vec<Test> {
    let mut all = trials![
        detached_without_a_console_socket_is_refused,
        a_console_socket_without_a_terminal_is_refused,
        a_console_socket_in_the_foreground_is_refused,
        a_console_socket_without_a_listener_is_refused,
        in_the_foreground_a_caller_without_a_terminal_is_refused,
        the_console_size_is_ignored_without_a_terminal,
    ];
    all.extend(outer::tests());
    all.extend(socket::tests());
    all.extend(unread::tests());
    all
}

pub(crate) fn with_terminal() -> Bundle {
    Bundle::new().set("/process/terminal", json!(true))
}

/// Asserts exit status 1, an error with `text`, and that nothing of the container remains.
#[track_caller]
fn assert_refused(bundle: &Bundle, verb: &str, flags: &[&str], text: &str) {
    let before = HostState::of(bundle);
    // The command has no terminal, even if the test suite runs on one.
    let call = bundle.call_through(&["setsid", "--wait"], verb, flags);
    let outcome = call.run().assert_code(1).assert_refused(text);
    if Kind::under_test() == Kind::Rt {
        outcome.one_line();
    }
    before.assert_unchanged(bundle);
}

fn detached_without_a_console_socket_is_refused() {
    let text = match Kind::under_test() {
        Kind::Rt => "needs --console-socket for a terminal",
        _ => "cannot allocate tty if runc will detach without setting console socket",
    };
    let bundle = with_terminal().sh("true");
    assert_refused(&bundle, "create", &[], text);
    assert_refused(&bundle, "run", &["--detach"], text);
}

/// The text about a console socket to which no terminal is sent.
fn useless_console_socket() -> &'static str {
    match Kind::under_test() {
        Kind::Rt => "leave out --console-socket",
        _ => "cannot use console socket if runc will not detach or allocate tty",
    }
}

fn a_console_socket_without_a_terminal_is_refused() {
    let text = useless_console_socket();
    let bundle = Bundle::new().sh("true");
    let flags = ["--console-socket", "/nonexistent"];
    assert_refused(&bundle, "create", &flags, text);
    assert_refused(&bundle, "run", &flags, text);
    let flags = ["--detach", "--console-socket", "/nonexistent"];
    assert_refused(&bundle, "run", &flags, text);
}

fn a_console_socket_in_the_foreground_is_refused() {
    let text = useless_console_socket();
    let bundle = with_terminal().sh("true");
    let flags = ["--console-socket", "/nonexistent"];
    assert_refused(&bundle, "run", &flags, text);
}

fn a_console_socket_without_a_listener_is_refused() {
    let bundle = with_terminal().sh("true");
    let file = bundle.runtime().home().join("file");
    std::fs::write(&file, "").unwrap();
    for socket in ["/nonexistent/socket", file.to_str().unwrap()] {
        let flags = ["--console-socket", socket];
        assert_refused(&bundle, "create", &flags, socket);
    }
}

/// None of descriptors 0 to 2 is a terminal, and /dev/tty cannot be opened.
fn in_the_foreground_a_caller_without_a_terminal_is_refused() {
    only_rt("the text is that of rt");
    let bundle = with_terminal().sh("true");
    assert_refused(&bundle, "run", &[], "terminal");
}

/// config.md: "Runtimes MUST ignore consoleSize if terminal is false or unset."
fn the_console_size_is_ignored_without_a_terminal() {
    let size = json!({ "height": 33, "width": 101 });
    let bundle = Bundle::new().set("/process/consoleSize", size);
    let seen = bundle.probe();
    assert!(!seen.has_mount("/dev/console"));
    let outcome = bundle.sh("test ! -t 0 && test ! -t 1 && echo none").run();
    assert_eq!(outcome.assert_ok().stdout, "none\n");
}
