//! A terminal without `--console-socket`, and the reverse.

use serde_json::json;

use super::assert_call;
use crate::exec::running;
use crate::harness::{Bundle, only_rt, trials};
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_terminal_needs_a_console_socket,
        a_console_socket_needs_a_terminal,
        the_same_holds_for_exec,
    ]
}

const SOCKET: [&str; 2] = ["--console-socket", "/nonexistent"];

fn a_terminal_needs_a_console_socket() {
    only_rt("the texts are those of rt");
    let bundle = Bundle::new().set("/process/terminal", json!(true));
    assert_call(
        &bundle,
        "create",
        &[],
        "process.terminal: rt create needs --console-socket for a terminal (or set \"terminal\": false)",
    );
    assert_call(
        &bundle,
        "run",
        &["--detach"],
        "process.terminal: rt run --detach needs --console-socket for a terminal (or set \"terminal\": false)",
    );
}

fn a_console_socket_needs_a_terminal() {
    only_rt("the texts are those of rt");
    let line = "process.terminal: --console-socket is for a terminal: set \"terminal\": true, or leave out --console-socket";
    assert_call(&Bundle::new(), "create", &SOCKET, line);
    assert_call(
        &Bundle::new().set("/process/terminal", json!(true)),
        "run",
        &SOCKET,
        "--console-socket: rt run stays in the foreground, with the terminal that it has itself: add --detach, or leave out --console-socket",
    );
}

fn the_same_holds_for_exec() {
    only_rt("the texts are those of rt");
    let (bundle, _container) = running(Bundle::new());
    for (flags, line) in [
        (
            &["-d", "-t"][..],
            "process.terminal: rt exec --detach needs --console-socket for a terminal (or leave out --tty)",
        ),
        (
            &["-d", SOCKET[0], SOCKET[1]],
            "process.terminal: --console-socket is for a terminal: add --tty, or leave out --console-socket",
        ),
        (
            &["-t", SOCKET[0], SOCKET[1]],
            "--console-socket: rt exec stays in the foreground, with the terminal that it has itself: add --detach, or leave out --console-socket",
        ),
    ] {
        let words = [&["exec"], flags, &[bundle.id(), "true"]].concat();
        let outcome = bundle.runtime().call(&words).run().assert_code(255);
        let line = format!("rt exec: {}: {line}\n", bundle.id());
        assert_eq!(outcome.stderr, line);
    }
}
