//! `exec` in the foreground: it returns the exit status of the process, which has the
//! caller's standard streams.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use crate::runner::Test;
use nix::sys::signal::Signal;

use super::{call, exec, running};
use crate::harness::{Bundle, HostState, Kind, differs, only_rt, signal, trials, wait_gone};

pub(super) fn tests() -> Vec<Test> {
    trials![
        the_exit_status_is_that_of_the_process,
        death_by_a_signal_is_128_plus_its_number,
        signals_are_forwarded,
        signals_before_execve_reach_the_process,
        standard_input_is_passed_to_its_end,
        standard_input_may_be_closed,
        all_standard_streams_may_be_closed,
        large_output_is_complete,
        a_closed_pipe_ends_the_process_with_sigpipe,
        standard_output_and_error_are_separate,
        a_daemon_outlives_exec,
        exec_leaves_nothing_behind,
        only_stdio_is_open,
        the_user_can_reopen_the_standard_streams,
        the_end_of_the_container_ends_the_process,
        ignored_and_blocked_signals_of_the_caller_are_reset,
        groups_and_umask_of_the_caller_are_not_inherited,
    ]
}

fn the_exit_status_is_that_of_the_process() {
    let (bundle, _container) = running(Bundle::new());
    for code in [0, 1, 7, 126, 127, 255] {
        let outcome = exec(&bundle, &[], &["/probe", "exit", &code.to_string()]);
        assert_eq!(outcome.assert_code(code).stderr, "");
    }
}

fn death_by_a_signal_is_128_plus_its_number() {
    let (bundle, _container) = running(Bundle::new());
    for number in [1, 2, 9, 11, 15, 34] {
        let script = format!("kill -{number} $$");
        exec(&bundle, &[], &["/bin/sh", "-c", &script]).assert_code(128 + number);
    }
}

fn signals_are_forwarded() {
    let (bundle, _container) = running(Bundle::new());
    for one in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
    ] {
        let joined = call(&bundle, &[], &["/probe", "wait-signal"]).start();
        joined.wait_for("ready");
        signal(joined.pid(), one);
        assert_eq!(
            joined.wait().assert_ok().stdout,
            format!("ready\n{}\n", one as i32)
        );
    }
}

/// A signal that comes before execve(2) must end the process as well as the runtime.
fn signals_before_execve_reach_the_process() {
    only_rt("Go dies of a signal before it forwards any");
    let (bundle, _container) = running(Bundle::new());
    let before = HostState::of(&bundle);
    for delay in 0..20 {
        let joined = call(&bundle, &[], &["/bin/sleep", "1000"]).start();
        std::thread::sleep(std::time::Duration::from_micros(delay * 500));
        signal(joined.pid(), Signal::SIGTERM);
        joined.wait().assert_code(143);
        before.assert_unchanged(&bundle);
    }
}

fn standard_input_is_passed_to_its_end() {
    let (bundle, _container) = running(Bundle::new());
    let (reader, mut writer) = std::io::pipe().unwrap();
    let joined = call(&bundle, &[], &["/bin/cat"])
        .with(|command| command.stdin(reader))
        .start();
    writer.write_all(b"one\n").unwrap();
    joined.wait_for("one");
    writer.write_all(b"two").unwrap();
    drop(writer);
    assert_eq!(joined.wait().assert_ok().stdout, "one\ntwo");
}

/// Closes the descriptors `numbers` between fork(2) and execve(2).
#[allow(unsafe_code, reason = "code between fork and exec is unsafe")]
fn without_descriptors(
    call: crate::harness::Call,
    numbers: &'static [i32],
) -> crate::harness::Call {
    let close = move || {
        for number in numbers {
            // SAFETY: the call takes a number and no pointer.
            unsafe { libc::close(*number) };
        }
        Ok(())
    };
    // SAFETY: the closure only makes system calls. It allocates no memory and takes no lock.
    call.with(|command| unsafe { command.pre_exec(close) })
}

fn standard_input_may_be_closed() {
    let (bundle, _container) = running(Bundle::new());
    let joined = without_descriptors(call(&bundle, &[], &["/probe", "report"]), &[0]);
    let seen = joined.assert_report();
    let open: Vec<&String> = seen["fds"].as_object().unwrap().keys().collect();
    differs(Kind::Runc, "Go does not reopen it");
    assert_eq!(open, ["0", "1", "2"], "{}", seen["fds"]);
}

fn all_standard_streams_may_be_closed() {
    only_rt("runc passes on the files that it has opened in their place");
    let (bundle, _container) = running(Bundle::new().writable());
    let script = "for fd in 0 1 2; do readlink /proc/self/fd/$fd >>/tmp/seen; done";
    without_descriptors(call(&bundle, &[], &["/bin/sh", "-c", script]), &[0, 1, 2])
        .run()
        .assert_ok();
    let seen = std::fs::read_to_string(bundle.rootfs().join("tmp/seen")).unwrap();
    // The shell moves its standard output for the redirection.
    assert!(
        seen.lines()
            .all(|line| line == "/dev/null" || line == "/tmp/seen"),
        "{seen}"
    );
}

fn large_output_is_complete() {
    let (bundle, _container) = running(Bundle::new());
    let (mut reader, writer) = std::io::pipe().unwrap();
    let script = "busybox head -c 5000000 /dev/zero; echo end";
    let joined =
        call(&bundle, &[], &["/bin/sh", "-c", script]).with(|command| command.stdout(writer));
    // The call owns the writer until it has started.
    let joined = joined.start();
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    while !bytes.ends_with(b"end\n") {
        let length = reader.read(&mut chunk).unwrap();
        assert!(length > 0, "it ended after {} bytes", bytes.len());
        bytes.extend_from_slice(&chunk[..length]);
    }
    assert_eq!(bytes.len(), 5_000_004);
    joined.wait().assert_ok();
}

/// As without a container.
fn a_closed_pipe_ends_the_process_with_sigpipe() {
    differs(Kind::Runc, "it copies the output and ignores a closed pipe");
    let (bundle, _container) = running(Bundle::new());
    let (reader, writer) = std::io::pipe().unwrap();
    let script = "while :; do echo y; done";
    let joined = call(&bundle, &[], &["/bin/sh", "-c", script]);
    let joined = joined
        .with(|command| command.stdout(writer).stderr(Stdio::null()))
        .start();
    drop(reader);
    let code = joined.wait().code();
    assert!([141, 1].contains(&code), "{code}");
}

fn standard_output_and_error_are_separate() {
    let (bundle, _container) = running(Bundle::new());
    let outcome = exec(&bundle, &[], &["/bin/sh", "-c", "echo out; echo err >&2"]).assert_ok();
    assert_eq!(
        (outcome.stdout.as_str(), outcome.stderr.as_str()),
        ("out\n", "err\n")
    );
}

/// A daemon belongs to the container, not to the exec process that has started it.
fn a_daemon_outlives_exec() {
    let (bundle, container) = running(Bundle::new());
    let script = "busybox setsid sleep 1001 </dev/null >/dev/null 2>&1 & echo started";
    let outcome = exec(&bundle, &[], &["/bin/sh", "-c", script]).assert_ok();
    assert_eq!(outcome.stdout, "started\n");
    let listed = super::sh(&bundle, &[], "ps");
    assert!(listed.contains("sleep 1001"), "{listed}");
    container.end();
}

fn exec_leaves_nothing_behind() {
    let (bundle, _container) = running(Bundle::new());
    let before = HostState::of(&bundle);
    for args in [&["/bin/true"] as &[&str], &["/bin/false"], &["nosuch"]] {
        exec(&bundle, &[], args);
        before.assert_unchanged(&bundle);
    }
}

fn only_stdio_is_open() {
    let (bundle, _container) = running(Bundle::new());
    let joined = call(&bundle, &[], &["/probe", "report"]).leaking();
    joined.assert_report().assert_only_stdio();
}

fn the_user_can_reopen_the_standard_streams() {
    let (bundle, _container) = running(Bundle::new());
    let (reader, writer) = std::io::pipe().unwrap();
    let script = "echo again > /proc/self/fd/1";
    let joined = call(&bundle, &["-u", "1000"], &["/bin/sh", "-c", script]);
    joined
        .with(|command| command.stdout(writer))
        .run()
        .assert_ok();
    let mut reader = reader;
    let mut line = [0; 6];
    reader.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"again\n");
}

fn the_end_of_the_container_ends_the_process() {
    let (bundle, container) = running(Bundle::new());
    let joined = call(&bundle, &[], &["/bin/sh", "-c", "echo in; sleep 1000"]).start();
    joined.wait_for("in");
    let pid = container.pid();
    container.kill("KILL").assert_ok();
    joined.wait().assert_code(137);
    wait_gone(pid);
}

/// Callers written in Rust or Python ignore SIGPIPE.
fn ignored_and_blocked_signals_of_the_caller_are_reset() {
    only_rt("Go passes on the mask it started with");
    let ignored = [Signal::SIGPIPE, Signal::SIGCHLD];
    let blocked = [Signal::SIGTERM, Signal::SIGCHLD];
    let (bundle, _container) = running(Bundle::new());
    let joined = call(&bundle, &[], &["/probe", "report"]);
    let seen = joined.with_signals(&ignored, &blocked).assert_report();
    seen.assert_signals_untouched();
    // The runtime notices the end of its child although the caller has blocked SIGCHLD.
    let joined = call(&bundle, &[], &["/bin/true"]);
    joined.with_signals(&ignored, &blocked).run().assert_ok();
}

fn groups_and_umask_of_the_caller_are_not_inherited() {
    let (bundle, _container) = running(Bundle::new());
    let caller = [
        "setpriv",
        "--groups",
        "10,27",
        "sh",
        "-c",
        "umask 0777; exec \"$@\"",
        "sh",
    ];
    let seen = super::through(&bundle, &caller, &[], &["/probe", "report"]).assert_report();
    let groups = seen["groups"].as_array().unwrap();
    assert!(groups.iter().all(|group| *group == 0), "{groups:?}");
    differs(
        Kind::Runc,
        "Debian's old one does not set the umask of an exec process",
    );
    assert_eq!(seen["umask"], 0o022);
}
