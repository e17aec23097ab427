//! In the foreground: the container's terminal behind the caller's.

use std::fs::{self, File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;

use libtest_mimic::Trial;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;

use super::session::Session;
use super::with_terminal;
use crate::harness::{Bundle, Directory, Report, Traces, only_rt, signal, trials};

pub(super) fn tests() -> Vec<Trial> {
    trials![
        the_three_descriptors_are_the_terminal,
        it_is_the_controlling_terminal,
        dev_console_is_the_same_terminal,
        it_belongs_to_the_user_of_the_process,
        the_exit_status_is_passed_on,
        the_settings_outside_come_back_after_kill_9,
        the_settings_outside_come_back_when_the_program_is_missing,
        lines_end_as_a_terminal_needs_it,
        much_output_arrives_whole,
        stdout_may_be_a_file,
        stdout_may_take_its_time,
        stdout_may_lose_its_reader,
        the_size_outside_is_the_size_inside,
        the_size_is_right_from_the_start,
        a_new_size_outside_is_told_inside,
        what_is_typed_arrives,
        control_c_interrupts,
        control_d_ends_the_input,
        control_z_and_jobs_work_in_a_shell,
        closing_the_window_ends_what_runs_in_it,
        cve_2025_52565_dev_console_follows_no_link_to_a_file,
        cve_2025_52565_dev_console_follows_no_link_to_a_missing_file,
    ]
}

/// Ends with what it does after the next Enter: what a process says last may be lost with its terminal.
fn script(words: &str) -> Bundle {
    with_terminal().sh(&format!("{words}; read -r end"))
}

/// What a script says that ends with `done`; it must exit with 0.
#[track_caller]
fn said_by(bundle: &Bundle) -> String {
    let before = Traces::of(bundle);
    let mut session = Session::start(bundle);
    session.terminal.expect("done\n");
    session.terminal.type_keys("\r");
    let said = session.assert_end(0);
    before.assert_unchanged(bundle);
    said
}

fn the_three_descriptors_are_the_terminal() {
    let bundle =
        script("busybox tty; test -t 0 && test -t 1 && test -t 2 && echo three; echo done");
    let said = said_by(&bundle);
    assert!(said.contains("/dev/pts/0\nthree\n"), "{said:?}");

    let bundle = script("/probe report; echo done");
    let said = said_by(&bundle);
    let report = said.split_once("\n").map_or("", |(report, _)| report);
    let seen = Report::parse(report);
    let descriptors = seen["fds"].as_object().expect("descriptors");
    assert_eq!(descriptors.len(), 3, "{descriptors:?}");
    for (descriptor, target) in descriptors {
        assert_eq!(target, "/dev/pts/0", "{descriptor}");
    }
}

/// /dev/tty opens, and the process is the leader of its session.
fn it_is_the_controlling_terminal() {
    let bundle =
        script("read -r stat </proc/self/stat; echo $stat; echo opened >/dev/tty; echo done");
    let said = said_by(&bundle);
    assert!(said.contains("opened\n"), "{said:?}");
    let stat = said.lines().next().unwrap_or_default();
    let (_, fields) = stat.rsplit_once(") ").unwrap_or_default();
    // State, parent, group, session, terminal (136:0), group in the foreground: see proc_pid_stat(5).
    let fields: Vec<&str> = fields.split(' ').take(6).collect();
    assert_eq!(fields, ["R", "0", "1", "1", "34816", "1"], "{said:?}");
}

fn dev_console_is_the_same_terminal() {
    let bundle = script(
        "echo $(stat -c '%F %t:%T %i' /dev/console); echo $(stat -L -c '%F %t:%T %i' /proc/self/fd/0); \
         echo through >/dev/console; cat /proc/self/mountinfo; echo done",
    );
    let said = said_by(&bundle);
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[0].starts_with("character special file 88:0 "),
        "{said:?}"
    );
    assert_eq!(lines[0], lines[1]);
    assert_eq!(lines[2], "through");
    let mount = lines.iter().find(|line| line.contains(" /dev/console "));
    assert!(mount.is_some_and(|m| m.contains(" - devpts ")), "{mount:?}");
}

fn it_belongs_to_the_user_of_the_process() {
    let bundle = script("stat -L -c 'owner %u' /proc/self/fd/0; echo done >/dev/pts/0");
    let said = said_by(&bundle.user(1000, 1000));
    assert!(said.contains("owner 1000\n"), "{said:?}");
}

fn the_exit_status_is_passed_on() {
    let bundle = with_terminal().sh("echo ready; read -r end; exit 7");
    let before = Traces::of(&bundle);
    let mut session = Session::start(&bundle);
    session.terminal.expect("ready");
    session.assert_raw();
    session.terminal.type_keys("\r");
    session.assert_end(7);
    before.assert_unchanged(&bundle);
}

fn the_settings_outside_come_back_after_kill_9() {
    let bundle = with_terminal().sh("echo ready; read -r end");
    let before = Traces::of(&bundle);
    let mut session = Session::start(&bundle);
    session.terminal.expect("ready");
    session.assert_raw();
    signal(bundle.container().pid(), Signal::SIGKILL);
    session.assert_end(137);
    before.assert_unchanged(&bundle);
}

fn the_settings_outside_come_back_when_the_program_is_missing() {
    let bundle = with_terminal().args(&["/missing"]);
    let before = Traces::of(&bundle);
    let said = Session::start(&bundle).assert_end(1);
    assert!(said.contains("/missing"), "{said:?}");
    before.assert_unchanged(&bundle);
}

/// Each line feed gets its carriage return exactly once.
fn lines_end_as_a_terminal_needs_it() {
    only_rt("runc sees to it when the process runs already");
    let bundle = script("echo one; echo two; echo done");
    let mut session = Session::start(&bundle);
    session.terminal.expect("done\n");
    assert_eq!(session.terminal.seen(), "one\r\ntwo\r\ndone\r\n");
    session.terminal.type_keys("\r");
    session.assert_end(0);
}

/// More than any buffer on the way holds.
fn much_output_arrives_whole() {
    let count = "i=0; while [ $i -lt 9999 ]; do i=$((i+1)); echo $i; done";
    let said = said_by(&script(&format!("{count}; echo done")));
    let whole: String = (1..=9999).map(|i| format!("{i}\n")).collect();
    assert!(said.starts_with(&whole), "{} bytes came", said.len());
}

/// `run ID | tee log`: inside, stdout is a terminal all the same.
fn stdout_may_be_a_file() {
    let bundle = with_terminal().sh("read -r line; echo got $line; test -t 1 && echo terminal");
    let path = bundle.runtime().home().join("stdout");
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&path);
    let mut session = Session::start_with_stdout(&bundle, Some(file.unwrap()));
    session.terminal.type_keys("word\n");
    session.assert_end(0);
    let said = fs::read_to_string(&path).unwrap();
    assert!(said.contains("got word\n"), "{said:?}");
    assert!(said.ends_with("terminal\n"), "{said:?}");
}

/// Somebody else has made the description non-blocking, as of a terminal that they share.
fn stdout_may_take_its_time() {
    let bundle = with_terminal().sh("busybox seq 1 40000; read -r line");
    let (mut reader, writer) = std::io::pipe().unwrap();
    let flags = FcntlArg::F_SETFL(OFlag::O_NONBLOCK);
    fcntl(&writer, flags).unwrap();
    let file = File::from(OwnedFd::from(writer));
    let mut session = Session::start_with_stdout(&bundle, Some(file));
    std::thread::sleep(std::time::Duration::from_millis(300));
    let mut said = Vec::new();
    while !said.ends_with(b"40000\n") {
        let mut bytes = [0; 4096];
        let length = std::io::Read::read(&mut reader, &mut bytes).unwrap();
        assert!(length > 0, "it ended too early");
        said.extend_from_slice(&bytes[..length]);
    }
    let expected: String = (1..=40000).map(|n| format!("{n}\n")).collect();
    assert!(said == expected.as_bytes(), "{} bytes", said.len());
    session.terminal.type_keys("\r");
    session.assert_end(0);
}

/// The container goes on, and goes at its end.
fn stdout_may_lose_its_reader() {
    only_rt("runc waits for ever, for nobody reads the container's terminal any more");
    let bundle = with_terminal().sh("busybox seq 1 40000; exit 7");
    let before = Traces::of(&bundle);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let file = File::from(OwnedFd::from(writer));
    Session::start_with_stdout(&bundle, Some(file)).assert_end(7);
    before.assert_unchanged(&bundle);
}

/// Waits inside until the size is this one.
fn until_size(size: &str) -> String {
    format!("until [ \"$(busybox stty size)\" = '{size}' ]; do busybox sleep 0.02; done")
}

fn the_size_outside_is_the_size_inside() {
    said_by(&script(&format!("{}; echo done", until_size("24 80"))));
}

fn the_size_is_right_from_the_start() {
    only_rt("runc sets it when the process runs already");
    let said = said_by(&script("busybox stty size; echo done"));
    assert!(said.starts_with("24 80\n"), "{said:?}");
}

/// The new size is there, and the process gets SIGWINCH for it.
fn a_new_size_outside_is_told_inside() {
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
    let said = session.terminal.expect("done");
    assert!(said.contains("ready\n50 132\n"), "{said:?}");
    session.terminal.type_keys("\r");
    session.assert_end(0);
}

fn what_is_typed_arrives() {
    let bundle = script("echo ready; read -r line; echo got $line; echo done");
    let mut session = Session::start(&bundle);
    session.terminal.expect("ready");
    session.terminal.type_keys("two words\r");
    let said = session.terminal.expect("done\n");
    // Once as the echo of the terminal inside, not again by the one outside.
    assert_eq!(said, "ready\ntwo words\ngot two words\ndone\n");
    session.terminal.type_keys("\r");
    session.assert_end(0);
}

fn control_c_interrupts() {
    let loops = "while :; do sleep 1; done";
    let bundle = with_terminal().sh(&format!("trap 'exit 3' INT; echo ready; {loops}"));
    let before = Traces::of(&bundle);
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
    let before = Traces::of(&bundle);
    let mut session = Session::start(&bundle);
    session.terminal.type_keys("echo its sum $((20+22))\r");
    let said = session.terminal.expect("its sum 42\n");
    assert!(!said.contains("job control"), "{said:?}");
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

/// The hangup reaches the process as SIGHUP, and the runtime ends after it as always.
fn closing_the_window_ends_what_runs_in_it() {
    let loops = "while :; do busybox sleep 0.05; done";
    let bundle = with_terminal().sh(&format!("trap 'exit' HUP; echo ready; {loops}"));
    let before = Traces::of(&bundle);
    let mut session = Session::start(&bundle);
    session.terminal.expect("ready");
    session.hang_up();
    before.assert_unchanged(&bundle);
}

/// An image whose /dev/console is a link, with nothing mounted on /dev.
fn with_console_link(target: &str) -> Bundle {
    let bundle = with_terminal().sh("exit 0");
    let bundle = ["/dev", "/dev/shm", "/dev/mqueue"]
        .into_iter()
        .fold(bundle, Bundle::without_mount);
    let bundle = bundle.writable().folder("dev/pts");
    bundle.symlink("dev/console", target)
}

/// Inside and outside of the image: whether the container starts or not, the file stays as it is.
fn cve_2025_52565_dev_console_follows_no_link_to_a_file() {
    only_rt("Debian's follows it and empties the file");
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
    only_rt("Debian's follows it and makes the file");
    let bundle = with_console_link("/etc/target");
    drop(Session::start(&bundle).ended());
    assert!(!bundle.rootfs().join("etc/target").exists());
}
