//! The flags and the errors of both commands.

use std::fs;

use super::Counter;
use crate::harness::{Bundle, HostState, Kind, Runtime, only_rt, trials, violates};
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    trials![
        managers_find_the_commands,
        without_criu_one_line_says_so,
        wrong_values_are_refused,
        a_container_that_does_not_run_is_refused,
        a_directory_without_images_is_refused,
        the_pid_file_and_the_work_path_are_used,
        the_cause_of_a_failure_is_that_of_the_log,
    ]
}

/// Podman and CRI-O ask in this way.
fn managers_find_the_commands() {
    let runtime = Runtime::new();
    for verb in ["checkpoint", "restore"] {
        let help = runtime.call(&[verb, "--help"]).run().assert_ok().stdout;
        assert!(help.contains("--image-path"), "{help}");
    }
    let probe = runtime.call(&["restore", "--lsm-mount-context"]).run();
    assert_ne!(probe.code(), 0);
    assert!(
        (probe.stdout.clone() + &probe.stderr).contains("flag needs an argument"),
        "{probe}"
    );
}

fn without_criu_one_line_says_so() {
    only_rt("the text is rt's");
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    let call = bundle.runtime().call(&["checkpoint", bundle.id()]);
    let outcome = call.with(|command| command.env("PATH", "/nowhere")).run();
    let text = "criu: not found in PATH; checkpoint and restore need the package criu";
    assert_eq!(
        outcome.assert_code(1).one_line(),
        format!("rt checkpoint: {text}")
    );
    assert_eq!(container.status(), "running");
}

fn wrong_values_are_refused() {
    only_rt("the texts are rt's");
    let counter = Counter::new(Bundle::new());
    for (flags, text) in [
        (
            ["--parent-path", "/abs"],
            "--parent-path: \"/abs\" is absolute",
        ),
        (
            ["--page-server", "nowhere"],
            "--page-server: \"nowhere\": want ADDRESS:PORT",
        ),
        (
            ["--manage-cgroups-mode", "sof"],
            "--manage-cgroups-mode: unknown value \"sof\"",
        ),
        (
            ["--empty-ns", "pid"],
            "--empty-ns: unknown value \"pid\"; want network",
        ),
        (
            ["--status-fd", "77"],
            "--status-fd 77: not an open descriptor",
        ),
    ] {
        let refused = counter.checkpoint(&flags).assert_code(1);
        assert!(refused.one_line().contains(text), "{refused}");
    }
}

fn a_container_that_does_not_run_is_refused() {
    let mut counter = Counter::new(Bundle::new());
    let missing = counter.checkpoint(&[]);
    assert!(
        missing.code() != 0 && missing.stderr.contains("does not exist"),
        "{missing}"
    );
    let container = counter.bundle.create();
    let created = counter.checkpoint(&[]);
    assert!(
        created.code() != 0 && created.stderr.contains("created"),
        "{created}"
    );
    container.delete_force().assert_ok();
    let container = counter.start();
    container.kill("KILL").assert_ok();
    container.wait_stopped();
    let stopped = counter.checkpoint(&[]);
    assert!(
        stopped.code() != 0 && stopped.stderr.contains("stopped"),
        "{stopped}"
    );
}

fn a_directory_without_images_is_refused() {
    let mut counter = Counter::new(Bundle::new());
    let before = HostState::of(&counter.bundle);
    assert_ne!(counter.restore(&[]).code(), 0);
    fs::create_dir_all(counter.images()).unwrap();
    let refused = counter.restore(&[]);
    assert_ne!(refused.code(), 0);
    if Kind::under_test() == Kind::Rt {
        let text = "holds no checkpoint: there is no inventory.img";
        assert!(refused.one_line().contains(text), "{refused}");
    }
    fs::remove_dir_all(counter.images()).unwrap();
    before.assert_unchanged(&counter.bundle);
}

fn the_pid_file_and_the_work_path_are_used() {
    let mut counter = Counter::new(Bundle::new());
    counter.start();
    counter.checkpoint(&[]).assert_ok();
    counter.assert_gone();
    let file = counter.bundle.runtime().home().join("pid");
    counter
        .restore(&["--pid-file", file.to_str().unwrap()])
        .assert_ok();
    let pid = counter.bundle.container().pid();
    assert_eq!(fs::read_to_string(file).unwrap(), pid.to_string());
    assert!(
        counter
            .bundle
            .runtime()
            .home()
            .join("work/restore.log")
            .exists()
    );
}

/// A server and a client, whose connection needs `--tcp-established`.
fn the_cause_of_a_failure_is_that_of_the_log() {
    violates(
        Kind::Runc,
        "Debian's does not restore a connection through the interface lo",
    );
    let mut counter = Counter::new(Bundle::new());
    // 7000 is 1B58.
    // The FIFO never ends, and nc(1) would end with its input.
    let script = "busybox mkfifo /dev/shm/fifo; exec 4<>/dev/shm/fifo; \
                  busybox nc -l -p 7000 <&4 > /data/log & \
                  until busybox grep -q :1B58 /proc/net/tcp /proc/net/tcp6; do :; done; \
                  i=0; while :; do i=$((i+1)); echo $i; j=0; while [ $j -lt 2000 ]; do j=$((j+1)); done; done | \
                  busybox nc 127.0.0.1 7000";
    counter.bundle = counter.bundle.sh(script);
    let container = counter.start();
    let failed = counter.checkpoint(&[]);
    assert_ne!(failed.code(), 0);
    if Kind::under_test() == Kind::Rt {
        let (line, id) = (failed.one_line(), counter.bundle.id());
        let text = format!("rt checkpoint: {id}: criu: inet: Connected TCP socket");
        assert!(line.starts_with(&text), "{line}");
        let log = format!("(see {}/dump.log)", counter.images().display());
        assert!(line.ends_with(&log), "{line}");
    }
    assert_eq!(container.status(), "running");
    counter.wait_for_more();
    let flags = ["--tcp-established"];
    counter.checkpoint(&flags).assert_ok();
    counter.assert_gone();
    counter.restore(&flags).assert_ok();
    counter.wait_for_more();
}
