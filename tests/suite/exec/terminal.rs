//! `exec --tty`: with a terminal in the foreground, or one sent to the console socket.

use std::fs;

use crate::runner::Test;
use serde_json::json;

use super::{call, exec, process_file, running, through};
use crate::harness::{Bundle, HostState, Kind, only_rt, trials};
use crate::terminal::{LED, Listener, Master, Session};

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_foreground_exec_has_a_terminal_of_the_containers_devpts,
        the_terminal_has_the_callers_size_from_the_start,
        a_new_size_is_forwarded,
        control_c_reaches_the_process,
        the_exit_status_is_returned_and_the_terminal_is_restored,
        the_terminal_is_restored_after_a_failure,
        a_process_file_can_ask_for_a_terminal,
        the_terminal_belongs_to_the_user,
        without_the_flag_there_is_no_terminal,
        a_detached_exec_sends_the_master_to_the_console_socket,
        a_size_in_the_process_file_is_set,
        a_detached_exec_with_a_terminal_writes_a_pid_file,
        contradictory_flags_are_refused,
        a_console_socket_without_a_listener_is_refused,
        the_callers_terminal_may_be_its_standard_output_only,
        a_terminal_is_refused_if_the_caller_has_none,
        a_dev_ptmx_that_is_not_devpts_is_refused,
    ]
}

fn joined(bundle: &Bundle, flags: &[&str], script: &str) -> Session {
    let flags = [&["--tty"], flags].concat();
    Session::of(
        through(bundle, &LED, &flags, &["/bin/sh", "-c", script]),
        None,
    )
}

fn a_foreground_exec_has_a_terminal_of_the_containers_devpts() {
    let (bundle, _container) = running(Bundle::new());
    let script = "busybox tty; echo to tty >/dev/tty; test -t 0 && test -t 1 && test -t 2 && echo all; read -r end";
    let mut session = joined(&bundle, &[], script);
    let said = session.terminal.expect("all\n");
    assert!(said.starts_with("/dev/pts/0\nto tty\nall\n"), "{said:?}");
    session.assert_raw();
    session.terminal.type_keys("\r");
    session.assert_end(0);
}

fn the_terminal_has_the_callers_size_from_the_start() {
    only_rt("runc may set the size after the process has started");
    let (bundle, _container) = running(Bundle::new());
    let said = joined(&bundle, &[], "busybox stty size").assert_end(0);
    assert!(said.starts_with("24 80\n"), "{said:?}");
}

fn a_new_size_is_forwarded() {
    let (bundle, _container) = running(Bundle::new());
    let wait = "while :; do busybox sleep 0.05; done";
    let script = format!("trap 'busybox stty size; exit 0' WINCH; echo ready; {wait}");
    let mut session = joined(&bundle, &[], &script);
    session.terminal.expect("ready");
    session.terminal.set_size(44, 120);
    session.terminal.expect("44 120");
    session.assert_end(0);
}

fn control_c_reaches_the_process() {
    let (bundle, _container) = running(Bundle::new());
    let script = "trap 'echo interrupted; exit 3' INT; echo ready; while :; do sleep 1; done";
    let mut session = joined(&bundle, &[], script);
    session.terminal.expect("ready");
    session.terminal.type_keys("\x03");
    session.terminal.expect("interrupted");
    session.assert_end(3);
}

fn the_exit_status_is_returned_and_the_terminal_is_restored() {
    let (bundle, _container) = running(Bundle::new());
    joined(&bundle, &[], "exit 7").assert_end(7);
    joined(&bundle, &[], "kill -KILL $$").assert_end(137);
}

fn the_terminal_is_restored_after_a_failure() {
    let (bundle, _container) = running(Bundle::new());
    let before = HostState::of(&bundle);
    for args in [&["nosuch"] as &[&str], &["/etc/passwd"]] {
        let session = Session::of(through(&bundle, &LED, &["-t"], args), None);
        session.assert_end(255);
    }
    before.assert_unchanged(&bundle);
}

fn a_process_file_can_ask_for_a_terminal() {
    let (bundle, _container) = running(Bundle::new());
    let args = ["/bin/sh", "-c", "busybox tty; exit 3"];
    let file = process_file(&bundle, &args, &[("/terminal", json!(true))]);
    let flags = ["--process", file.to_str().unwrap()];
    let said = Session::of(through(&bundle, &LED, &flags, &[]), None).assert_end(3);
    assert!(said.starts_with("/dev/pts/0\n"), "{said:?}");
}

fn the_terminal_belongs_to_the_user() {
    let (bundle, _container) = running(Bundle::new());
    let script = "stat -L -c 'owner %u' /proc/self/fd/0; : </dev/tty && echo opened";
    let said = joined(&bundle, &["-u", "1000"], script).assert_end(0);
    assert!(said.starts_with("owner 1000\nopened\n"), "{said:?}");
}

/// An exec process does not inherit the terminal of init.
fn without_the_flag_there_is_no_terminal() {
    let bundle = super::waiting(Bundle::new().set("/process/terminal", json!(true)));
    let listener = Listener::new(&bundle);
    let flags = [&["--detach"], &listener.flags()[..]].concat();
    bundle.call("run", &flags).run().assert_ok();
    let _master = listener.receive();
    let outcome = exec(
        &bundle,
        &[],
        &["/bin/sh", "-c", "test ! -t 0 && test ! -t 1 && echo none"],
    );
    assert_eq!(outcome.assert_ok().stdout, "none\n");
    assert_eq!(
        exec(&bundle, &[], &["/bin/busybox", "tty"])
            .assert_code(1)
            .stdout,
        "not a tty\n"
    );
}

/// conmon and containerd use it in this way.
fn a_detached_exec_sends_the_master_to_the_console_socket() {
    let (bundle, _container) = running(Bundle::new());
    let listener = Listener::new(&bundle);
    let script = "busybox tty; ls /proc/$$/fd; echo done; read -r end";
    let flags = [&["-t", "-d"], &listener.flags()[..]].concat();
    let outcome = exec(&bundle, &flags, &["/bin/sh", "-c", script]).assert_ok();
    assert_eq!(outcome.stdout, "");
    let (mut master, name) = listener.receive();
    assert!(
        ["/dev/ptmx", "/dev/pts/0"].contains(&name.as_str()),
        "{name:?}"
    );
    let said = master.expect("done");
    let lines: Vec<&str> = said
        .split_whitespace()
        .filter(|line| *line != "10")
        .collect();
    assert_eq!(lines, ["/dev/pts/0", "0", "1", "2", "done"]);
    master.type_keys("\r");
    master.expect_hangup();
}

fn a_size_in_the_process_file_is_set() {
    let (bundle, _container) = running(Bundle::new());
    let listener = Listener::new(&bundle);
    let args = ["/bin/sh", "-c", "busybox stty size; echo done; read -r end"];
    let size = json!({"height": 33, "width": 101});
    let file = process_file(
        &bundle,
        &args,
        &[("/terminal", json!(true)), ("/consoleSize", size)],
    );
    let flags = ["-d", "--process", file.to_str().unwrap()];
    exec(&bundle, &[&flags, &listener.flags()[..]].concat(), &[]).assert_ok();
    let said = listener.receive().0.expect("done");
    assert!(said.starts_with("33 101\n"), "{said:?}");
}

fn a_detached_exec_with_a_terminal_writes_a_pid_file() {
    let (bundle, _container) = running(Bundle::new());
    let listener = Listener::new(&bundle);
    let file = bundle.runtime().home().join("exec.pid");
    let flags = ["-t", "-d", "--pid-file", file.to_str().unwrap()];
    let flags = [&flags, &listener.flags()[..]].concat();
    exec(&bundle, &flags, &["/bin/sleep", "1001"]).assert_ok();
    let (mut master, _) = listener.receive();
    let pid: i32 = fs::read_to_string(file).unwrap().parse().unwrap();
    crate::harness::signal(pid, nix::sys::signal::Signal::SIGTERM);
    master.expect_hangup();
    crate::harness::wait_gone(pid);
}

fn contradictory_flags_are_refused() {
    let (bundle, _container) = running(Bundle::new());
    let before = HostState::of(&bundle);
    let (without, useless) = match Kind::under_test() {
        Kind::Rt => ("needs --console-socket", "leave out --console-socket"),
        _ => (
            "cannot allocate tty if runc will detach without setting console socket",
            "cannot use console socket if runc will not detach or allocate tty",
        ),
    };
    let socket = ["--console-socket", "/nonexistent"];
    for (flags, message) in [
        (vec!["-t", "-d"], without),
        (socket.to_vec(), useless),
        ([&socket[..], &["-d"]].concat(), useless),
        ([&socket[..], &["-t"]].concat(), useless),
    ] {
        let outcome = exec(&bundle, &flags, &["/bin/true"]).assert_code(255);
        outcome.assert_refused(message).one_line();
    }
    before.assert_unchanged(&bundle);
}

fn a_console_socket_without_a_listener_is_refused() {
    let (bundle, _container) = running(Bundle::new());
    let before = HostState::of(&bundle);
    let flags = ["-t", "-d", "--console-socket", "/nonexistent/socket"];
    let outcome = exec(&bundle, &flags, &["/bin/true"]).assert_code(255);
    outcome.assert_refused("/nonexistent/socket").one_line();
    before.assert_unchanged(&bundle);
}

/// Standard input is a pipe here, and its end must be passed on.
fn the_callers_terminal_may_be_its_standard_output_only() {
    only_rt("runc does not pass on the end of the input");
    let (bundle, _container) = running(Bundle::new());
    let (reader, mut writer) = std::io::pipe().unwrap();
    let (mut terminal, slave) = Master::open();
    terminal.set_size(40, 120);
    let before = terminal.settings();
    // cat, because a shell with line editing leaves the canonical mode, in which the terminal
    // has an end of file.
    let script = "busybox stty size; cat";
    let joined = call(&bundle, &["-t"], &["/bin/sh", "-c", script]);
    let error = slave.try_clone().unwrap();
    let joined = joined.with(|command| command.stdin(reader).stdout(slave).stderr(error));
    let joined = joined.start();
    std::io::Write::write_all(&mut writer, b"typed\n").unwrap();
    terminal.expect("40 120");
    terminal.expect("typed\n");
    assert_eq!(
        terminal.settings(),
        before,
        "the caller's terminal is not in raw mode"
    );
    drop(writer);
    joined.wait().assert_ok();
}

fn a_terminal_is_refused_if_the_caller_has_none() {
    only_rt("the error text is rt's");
    let (bundle, _container) = running(Bundle::new());
    let before = HostState::of(&bundle);
    let call = through(&bundle, &["setsid", "--wait"], &["-t"], &["/bin/true"]);
    let outcome = call.run().assert_code(255);
    outcome
        .assert_refused("standard input is not a terminal")
        .one_line();
    before.assert_unchanged(&bundle);
}

/// CVE-2025-52565 and similar attacks: a terminal must be from the container's devpts.
fn a_dev_ptmx_that_is_not_devpts_is_refused() {
    only_rt("runc accepts any /dev/ptmx");
    let bundle = Bundle::new().without_mount("/dev/pts");
    let (bundle, _container) = running(bundle);
    let listener = Listener::new(&bundle);
    let flags = [&["-t", "-d"], &listener.flags()[..]].concat();
    exec(&bundle, &flags, &["/bin/true"])
        .assert_code(255)
        .one_line();
}
