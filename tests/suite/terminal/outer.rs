//! A container in the foreground, whose terminal is connected to the caller's.

use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use crate::runner::Test;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::session::Session;
use super::with_terminal;
use crate::harness::{Bundle, Directory, HostState, Report, only_rt, signal, trials, wait_until};

pub(super) fn tests() -> Vec<Test> {
    trials![
        descriptors_0_to_2_are_the_terminal,
        the_terminal_is_the_controlling_terminal,
        dev_console_is_the_same_terminal,
        the_terminal_belongs_to_the_user_of_the_process,
        the_exit_status_is_passed_on,
        the_settings_of_the_callers_terminal_are_restored_after_sigkill,
        the_settings_of_the_callers_terminal_are_restored_after_an_error,
        a_line_ends_with_one_carriage_return_and_a_line_feed,
        large_output_arrives_completely,
        stdout_may_be_a_file,
        stdout_may_be_non_blocking,
        the_reader_of_stdout_may_close_it,
        the_terminal_has_the_size_of_the_callers,
        the_terminal_has_its_size_before_the_process_starts,
        a_new_size_of_the_callers_terminal_reaches_the_process,
        input_reaches_the_process,
        control_c_interrupts,
        control_d_ends_the_input,
        control_z_and_jobs_work_in_a_shell,
        closing_the_terminal_emulator_ends_the_process,
        cve_2025_52565_dev_console_follows_no_link_to_a_file,
        cve_2025_52565_dev_console_follows_no_link_to_a_missing_file,
    ]
}

/// A script that waits for Enter before it exits. Output right before the exit may be lost when the
/// terminal is closed.
fn script(commands: &str) -> Bundle {
    with_terminal().sh(&format!("{commands}; read -r end"))
}

/// The output of a script that ends with `done` and exits with 0.
#[track_caller]
fn output_of(bundle: &Bundle) -> String {
    let before = HostState::of(bundle);
    let mut session = Session::start(bundle);
    session.terminal.expect("done\n");
    session.terminal.type_keys("\r");
    let output = session.assert_end(0);
    before.assert_unchanged(bundle);
    output
}

fn descriptors_0_to_2_are_the_terminal() {
    let bundle =
        script("busybox tty; test -t 0 && test -t 1 && test -t 2 && echo three; echo done");
    let output = output_of(&bundle);
    assert!(output.contains("/dev/pts/0\nthree\n"), "{output:?}");

    let bundle = script("/probe report; echo done");
    let output = output_of(&bundle);
    let report = output.split_once("\n").map_or("", |(report, _)| report);
    let seen = Report::parse(report);
    let descriptors = seen["fds"].as_object().expect("descriptors");
    assert_eq!(descriptors.len(), 3, "{descriptors:?}");
    for (descriptor, target) in descriptors {
        assert_eq!(target, "/dev/pts/0", "{descriptor}");
    }
}

/// /dev/tty can be opened, and the process is the leader of its session.
fn the_terminal_is_the_controlling_terminal() {
    let bundle =
        script("read -r stat </proc/self/stat; echo $stat; echo opened >/dev/tty; echo done");
    let output = output_of(&bundle);
    assert!(output.contains("opened\n"), "{output:?}");
    let stat = output.lines().next().unwrap_or_default();
    let (_, fields) = stat.rsplit_once(") ").unwrap_or_default();
    // state, ppid, pgrp, session, tty_nr (136:0) and tpgid (proc_pid_stat(5)).
    let fields: Vec<&str> = fields.split(' ').take(6).collect();
    assert_eq!(fields, ["R", "0", "1", "1", "34816", "1"], "{output:?}");
}

fn dev_console_is_the_same_terminal() {
    let bundle = script(
        "echo $(stat -c '%F %t:%T %i' /dev/console); echo $(stat -L -c '%F %t:%T %i' /proc/self/fd/0); \
         echo through >/dev/console; cat /proc/self/mountinfo; echo done",
    );
    let output = output_of(&bundle);
    let lines: Vec<&str> = output.lines().collect();
    assert!(
        lines[0].starts_with("character special file 88:0 "),
        "{output:?}"
    );
    assert_eq!(lines[0], lines[1]);
    assert_eq!(lines[2], "through");
    let mount = lines.iter().find(|line| line.contains(" /dev/console "));
    assert!(mount.is_some_and(|m| m.contains(" - devpts ")), "{mount:?}");
}

fn the_terminal_belongs_to_the_user_of_the_process() {
    let bundle = script("stat -L -c 'owner %u' /proc/self/fd/0; echo done >/dev/pts/0");
    let output = output_of(&bundle.user(1000, 1000));
    assert!(output.contains("owner 1000\n"), "{output:?}");
}

fn the_exit_status_is_passed_on() {
    let bundle = with_terminal().sh("echo ready; read -r end; exit 7");
    let before = HostState::of(&bundle);
    let mut session = Session::start(&bundle);
    session.terminal.expect("ready");
    session.assert_raw();
    session.terminal.type_keys("\r");
    session.assert_end(7);
    before.assert_unchanged(&bundle);
}

fn the_settings_of_the_callers_terminal_are_restored_after_sigkill() {
    let bundle = with_terminal().sh("echo ready; read -r end");
    let before = HostState::of(&bundle);
    let mut session = Session::start(&bundle);
    session.terminal.expect("ready");
    session.assert_raw();
    signal(bundle.container().pid(), Signal::SIGKILL);
    session.assert_end(137);
    before.assert_unchanged(&bundle);
}

fn the_settings_of_the_callers_terminal_are_restored_after_an_error() {
    let bundle = with_terminal().args(&["/missing"]);
    let before = HostState::of(&bundle);
    let output = Session::start(&bundle).assert_end(1);
    assert!(output.contains("/missing"), "{output:?}");
    before.assert_unchanged(&bundle);
}

/// Each line feed is preceded by exactly one carriage return.
fn a_line_ends_with_one_carriage_return_and_a_line_feed() {
    only_rt("runc changes the settings when the process already runs");
    let bundle = script("echo one; echo two; echo done");
    let mut session = Session::start(&bundle);
    session.terminal.expect("done\n");
    assert_eq!(session.terminal.seen(), "one\r\ntwo\r\ndone\r\n");
    session.terminal.type_keys("\r");
    session.assert_end(0);
}

/// The output is larger than all buffers between the process and the test.
fn large_output_arrives_completely() {
    let count = "i=0; while [ $i -lt 9999 ]; do i=$((i+1)); echo $i; done";
    let output = output_of(&script(&format!("{count}; echo done")));
    let whole: String = (1..=9999).map(|i| format!("{i}\n")).collect();
    assert!(output.starts_with(&whole), "{} bytes came", output.len());
}

/// `run ID | tee log`: inside the container, stdout is a terminal nevertheless.
fn stdout_may_be_a_file() {
    let bundle = with_terminal().sh("read -r line; echo got $line; test -t 1 && echo terminal");
    let path = bundle.runtime().home().join("stdout");
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&path);
    let mut session = Session::start_with_stdout(&bundle, Some(file.unwrap()));
    session.terminal.type_keys("word\n");
    session.assert_end(0);
    let output = fs::read_to_string(&path).unwrap();
    assert!(output.contains("got word\n"), "{output:?}");
    assert!(output.ends_with("terminal\n"), "{output:?}");
}

/// Another process has set O_NONBLOCK on the open file description, as on a shared terminal.
fn stdout_may_be_non_blocking() {
    let bundle = with_terminal().sh("busybox seq 1 40000; read -r line");
    let (mut reader, writer) = std::io::pipe().unwrap();
    let flags = FcntlArg::F_SETFL(OFlag::O_NONBLOCK);
    fcntl(&writer, flags).unwrap();
    let full = writer.try_clone().unwrap();
    let file = File::from(OwnedFd::from(writer));
    let mut session = Session::start_with_stdout(&bundle, Some(file));
    wait_until("the pipe to be full", || {
        let mut fds = [PollFd::new(full.as_fd(), PollFlags::POLLOUT)];
        poll(&mut fds, PollTimeout::ZERO) == Ok(0)
    });
    drop(full);
    let mut output = Vec::new();
    while !output.ends_with(b"40000\n") {
        let mut bytes = [0; 4096];
        let length = std::io::Read::read(&mut reader, &mut bytes).unwrap();
        assert!(length > 0, "it ended too early");
        output.extend_from_slice(&bytes[..length]);
    }
    let expected: String = (1..=40000).map(|n| format!("{n}\n")).collect();
    assert!(output == expected.as_bytes(), "{} bytes", output.len());
    session.terminal.type_keys("\r");
    session.assert_end(0);
}

/// The container continues to run, and is deleted after its exit.
fn the_reader_of_stdout_may_close_it() {
    only_rt("runc stops reading the container's terminal and waits forever");
    let bundle = with_terminal().sh("busybox seq 1 40000; exit 7");
    let before = HostState::of(&bundle);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let file = File::from(OwnedFd::from(writer));
    Session::start_with_stdout(&bundle, Some(file)).assert_end(7);
    before.assert_unchanged(&bundle);
}

/// A command that waits until the container's terminal has this size.
fn until_size(size: &str) -> String {
    format!("until [ \"$(busybox stty size)\" = '{size}' ]; do busybox sleep 0.02; done")
}

fn the_terminal_has_the_size_of_the_callers() {
    output_of(&script(&format!("{}; echo done", until_size("24 80"))));
}

fn the_terminal_has_its_size_before_the_process_starts() {
    only_rt("runc sets the size when the process already runs");
    let output = output_of(&script("busybox stty size; echo done"));
    assert!(output.starts_with("24 80\n"), "{output:?}");
}

/// The process gets SIGWINCH, and its terminal has the new size.
fn a_new_size_of_the_callers_terminal_reaches_the_process() {
    let bundle = script(&format!(
        "{}; echo first; {}; echo second; trap 'busybox stty size; echo done' WINCH; echo ready; \
         until [ \"$(busybox stty size)\" = '50 132' ]; do busybox sleep 0.02; done",
        until_size("24 80"),
        until_size("44 120"),
    ));
    let mut session = Session::start(&bundle);
    session.terminal.expect("first");
    session.terminal.set_size(44, 120);
    session.terminal.expect("ready");
    session.terminal.set_size(50, 132);
    let output = session.terminal.expect("done");
    assert!(output.contains("ready\n50 132\n"), "{output:?}");
    session.terminal.type_keys("\r");
    session.assert_end(0);
}

fn input_reaches_the_process() {
    let bundle = script("echo ready; read -r line; echo got $line; echo done");
    let mut session = Session::start(&bundle);
    session.terminal.expect("ready");
    session.terminal.type_keys("two words\r");
    let output = session.terminal.expect("done\n");
    // The container's terminal echoes the line; the caller's does not echo it again.
    assert_eq!(output, "ready\ntwo words\ngot two words\ndone\n");
    session.terminal.type_keys("\r");
    session.assert_end(0);
}

fn control_c_interrupts() {
    let loops = "while :; do sleep 1; done";
    let bundle = with_terminal().sh(&format!("trap 'exit 3' INT; echo ready; {loops}"));
    let before = HostState::of(&bundle);
    let mut session = Session::start(&bundle);
    session.terminal.expect("ready");
    session.terminal.type_keys("\x03");
    session.assert_end(3);
    before.assert_unchanged(&bundle);
}

fn control_d_ends_the_input() {
    let bundle = script("echo ready; cat; echo done");
    let mut session = Session::start(&bundle);
    session.terminal.expect("ready");
    session.terminal.type_keys("line\r\x04");
    session.terminal.expect("done");
    session.terminal.type_keys("\r");
    session.assert_end(0);
}

fn control_z_and_jobs_work_in_a_shell() {
    let bundle = with_terminal().args(&["/bin/sh", "-i"]);
    let before = HostState::of(&bundle);
    let mut session = Session::start(&bundle);
    session.terminal.type_keys("echo its sum $((20+22))\r");
    let output = session.terminal.expect("its sum 42\n");
    assert!(!output.contains("job control"), "{output:?}");
    session
        .terminal
        .type_keys("sh -c 'echo jo''b; read -r end'\r");
    session.terminal.expect("\njob\n");
    session.terminal.type_keys("\x1a");
    session.terminal.expect("Stopped");
    session.terminal.type_keys("exit 5\r");
    session.terminal.expect("stopped jobs");
    session.terminal.type_keys("exit 5\r");
    session.assert_end(5);
    before.assert_unchanged(&bundle);
}

/// The process gets SIGHUP, and the runtime exits after it as usual.
fn closing_the_terminal_emulator_ends_the_process() {
    let loops = "while :; do busybox sleep 0.05; done";
    let bundle = with_terminal().sh(&format!("trap 'exit' HUP; echo ready; {loops}"));
    let before = HostState::of(&bundle);
    let mut session = Session::start(&bundle);
    session.terminal.expect("ready");
    session.hang_up();
    before.assert_unchanged(&bundle);
}

/// An image in which /dev/console is a symbolic link. Nothing is mounted on /dev.
fn with_console_link(target: &str) -> Bundle {
    let bundle = with_terminal().sh("exit 0");
    let bundle = ["/dev", "/dev/shm", "/dev/mqueue"]
        .into_iter()
        .fold(bundle, Bundle::without_mount);
    let bundle = bundle.writable().folder("dev/pts");
    bundle.symlink("dev/console", target)
}

/// The link points inside or outside the root file system. The file stays unchanged, whether or not the
/// container starts.
fn cve_2025_52565_dev_console_follows_no_link_to_a_file() {
    only_rt("Debian's runc follows the link and truncates the file");
    let bundle = with_console_link("/etc/target").file("etc/target", "precious\n");
    drop(Session::start(&bundle).ended());
    let target = fs::read_to_string(bundle.rootfs().join("etc/target"));
    assert_eq!(target.unwrap(), "precious\n");

    let directory = Directory::new();
    let outside = directory.join("outside");
    fs::write(&outside, "precious\n").unwrap();
    let hostile = with_console_link(outside.to_str().unwrap());
    drop(Session::start(&hostile).ended());
    assert_eq!(fs::read_to_string(&outside).unwrap(), "precious\n");
}

fn cve_2025_52565_dev_console_follows_no_link_to_a_missing_file() {
    only_rt("Debian's runc follows the link and creates the file");
    let bundle = with_console_link("/etc/target");
    drop(Session::start(&bundle).ended());
    assert!(!bundle.rootfs().join("etc/target").exists());
}
