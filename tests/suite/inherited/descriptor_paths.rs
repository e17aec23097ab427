//! Paths of descriptors such as `/dev/fd/63` on the command line, which a shell writes for `<(..)`:
//! the file is read, and the descriptor does not reach the container.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{OwnedFd, RawFd};

use crate::runner::Test;
use serde_json::json;

use super::{numbers, with_inherited_descriptors};
use crate::exec::running;
use crate::harness::{Bundle, Call, Kind, Outcome, Report, differs, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![
        exec_reads_its_process_from_a_pipe,
        update_reads_its_resources_from_a_pipe,
        a_bundle_may_be_given_as_a_descriptor,
        a_pid_file_may_be_below_a_descriptor,
        a_removed_file_is_read,
        the_log_may_be_a_pipe,
        a_descriptor_that_is_not_open_is_not_found,
    ]
}

/// Passes `file` as `number`, and leaks a directory of the host as the numbers before and after it.
fn among_leaks(call: Call, number: RawFd, file: &File) -> Call {
    let root = File::open("/").unwrap();
    with_inherited_descriptors(
        call,
        &[(number - 1, &root), (number, file), (number + 1, &root)],
    )
}

/// A pipe that contains this text and is closed for writing.
fn pipe(text: &str) -> File {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(text.as_bytes()).unwrap();
    OwnedFd::from(reader).into()
}

#[track_caller]
fn assert_untouched(outcome: Outcome) -> Report {
    let seen = Report::parse(&outcome.assert_ok().stdout);
    assert_eq!(numbers(&seen), [0, 1, 2], "{}", seen["fds"]);
    seen
}

fn process_json() -> String {
    json!({"cwd": "/", "args": ["/probe", "report"], "env": ["A=1"]}).to_string()
}

fn exec_reads_its_process_from_a_pipe() {
    let (bundle, _container) = running(Bundle::new());
    for name in ["/dev/fd/63", "/proc/self/fd/63", "/proc/thread-self/fd/63"] {
        let args = ["exec", "--process", name, bundle.id()];
        let call = bundle.runtime().call(&args);
        let seen = assert_untouched(among_leaks(call, 63, &pipe(&process_json())).run());
        assert_eq!(seen.env("A").as_deref(), Some("1"));
    }
}

fn update_reads_its_resources_from_a_pipe() {
    differs(Kind::Crun, "its error text differs");
    let (bundle, _container) = running(Bundle::new());
    for (text, code) in [("{}", 0), (r#"{"pids": {"limit": "x"}}"#, 1)] {
        let args = ["update", "-r", "/dev/fd/63", bundle.id()];
        let call = bundle.runtime().call(&args);
        let outcome = among_leaks(call, 63, &pipe(text)).run().assert_code(code);
        if Kind::under_test() == Kind::Rt && code == 1 {
            assert!(outcome.one_line().contains("pids.limit"), "{outcome}");
        }
    }
}

fn a_bundle_may_be_given_as_a_descriptor() {
    let bundle = Bundle::new().args(&["/probe", "report"]);
    bundle.write();
    let directory = File::open(bundle.path()).unwrap();
    let args = ["run", "--bundle", "/proc/self/fd/9", bundle.id()];
    let call = bundle.runtime().call(&args);
    assert_untouched(among_leaks(call, 9, &directory).run());
}

fn a_pid_file_may_be_below_a_descriptor() {
    let bundle = Bundle::new().args(&["/probe", "report"]);
    let home = bundle.runtime().home();
    let directory = File::open(home).unwrap();
    let call = bundle.call("run", &["--pid-file=/dev/fd/9/pid"]);
    assert_untouched(among_leaks(call, 9, &directory).run());
    let pid = fs::read_to_string(home.join("pid")).unwrap();
    assert!(pid.parse::<u32>().is_ok(), "{pid}");
}

/// The open file has been removed, and another file has its path.
fn a_removed_file_is_read() {
    let (bundle, _container) = running(Bundle::new());
    let path = bundle.runtime().home().join("process_json");
    fs::write(&path, process_json()).unwrap();
    let file = File::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "{}").unwrap();
    let args = ["exec", "-p", "/dev/fd/9", bundle.id()];
    let call = bundle.runtime().call(&args);
    assert_untouched(among_leaks(call, 9, &file).run());
}

fn the_log_may_be_a_pipe() {
    differs(Kind::Crun, "its error text differs");
    let bundle = Bundle::new();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let call = bundle
        .runtime()
        .call(&["--log", "/dev/fd/9", "--log-format=json", "state", "none"]);
    let writer = File::from(OwnedFd::from(writer));
    with_inherited_descriptors(call, &[(9, &writer)])
        .run()
        .assert_code(1);
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert!(text.contains("does not exist"), "{text}");
}

fn a_descriptor_that_is_not_open_is_not_found() {
    let (bundle, _container) = running(Bundle::new());
    let args = ["exec", "-p", "/dev/fd/77", bundle.id()];
    let outcome = bundle.runtime().call(&args).run();
    outcome.assert_refused("/dev/fd/77").one_line();
}
