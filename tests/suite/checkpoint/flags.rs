//! The flags and the errors of both commands.

use std::fs;
use std::process::{Command, Stdio};

use super::{COUNT, Counter};
use crate::harness::{
    Bundle, HostState, Kind, Runtime, differs, needs, only_rt, trials, violates, wait_until,
};
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
        connections_that_nobody_has_accepted_can_be_left_out,
        open_files_with_another_name_need_link_remap,
        the_network_can_be_left_empty,
        each_mode_of_cgroups_works,
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

/// The server is stopped, so it accepts nothing.
fn connections_that_nobody_has_accepted_can_be_left_out() {
    differs(Kind::Runc, "Debian's has no --tcp-skip-in-flight");
    let mut counter = Counter::new(Bundle::new());
    let server = "busybox nc -l -p 7000 >/dev/null </dev/null & \
                  until busybox grep -q :1B58 /proc/net/tcp /proc/net/tcp6; do :; done; \
                  kill -STOP $!; ";
    counter.bundle = counter.bundle.sh(&format!("{server}{COUNT}"));
    let container = counter.start();
    let net = format!("--net=/proc/{}/ns/net", container.pid());
    let inside = |command: &[&str]| {
        let mut nsenter = Command::new("nsenter");
        nsenter.arg(&net).args(command);
        nsenter
    };
    let mut client = inside(&["busybox", "nc", "127.0.0.1", "7000"]);
    let mut client = client.stdin(Stdio::piped()).spawn().unwrap();
    wait_until("the connection", || {
        let table = inside(&["cat", "/proc/net/tcp"]).output().unwrap();
        String::from_utf8(table.stdout)
            .unwrap()
            .contains(":1B58 01 ")
    });
    let refused = counter.checkpoint(&[]);
    assert_ne!(refused.code(), 0, "{refused}");
    counter.wait_for_more();
    counter.checkpoint(&["--tcp-skip-in-flight"]).assert_ok();
    counter.assert_gone();
    client.kill().unwrap();
    client.wait().unwrap();
    counter.restore(&[]).assert_ok();
    counter.wait_for_more();
}

fn open_files_with_another_name_need_link_remap() {
    differs(Kind::Runc, "Debian's has no --link-remap");
    let mut counter = Counter::new(Bundle::new().writable());
    let open = "echo kept > /tmp/one; ln /tmp/one /tmp/two; exec 5</tmp/one; rm /tmp/one; ";
    counter.bundle = counter
        .bundle
        .sh(&format!("{open}{COUNT}"))
        .symlink("bin/ln", "busybox");
    counter.start();
    let refused = counter.checkpoint(&[]);
    assert_ne!(refused.code(), 0, "{refused}");
    counter.wait_for_more();
    counter.checkpoint(&["--link-remap"]).assert_ok();
    counter.assert_gone();
    counter.restore(&[]).assert_ok();
    counter.wait_for_more();
    let pid = counter.bundle.container().pid();
    assert_eq!(
        fs::read_to_string(format!("/proc/{pid}/fd/5")).unwrap(),
        "kept\n"
    );
    let names = fs::read_dir(counter.bundle.rootfs().join("tmp"))
        .unwrap()
        .flatten();
    let names: Vec<_> = names.map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["two"]);
}

/// Somebody else fills it.
fn the_network_can_be_left_empty() {
    differs(Kind::Runc, "it leaves every network empty");
    needs("ip", "iproute2");
    let mut counter = Counter::new(Bundle::new());
    let ip = |counter: &Counter, arguments: &[&str]| {
        let net = format!("--net=/proc/{}/ns/net", counter.bundle.container().pid());
        let output = Command::new("nsenter")
            .arg(net)
            .arg("ip")
            .args(arguments)
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    counter.start();
    ip(&counter, &["addr", "add", "192.0.2.7/32", "dev", "lo"]);
    for (flags, is_kept) in [(&[][..], true), (&["--empty-ns", "network"], false)] {
        counter.checkpoint(flags).assert_ok();
        counter.assert_gone();
        counter.restore(flags).assert_ok();
        counter.wait_for_more();
        let seen = ip(&counter, &["addr"]);
        assert_eq!(seen.contains("192.0.2.7"), is_kept, "{flags:?}: {seen}");
        assert!(seen.contains("lo: "), "{seen}");
    }
}

/// The processes are in the container's cgroup with each of them.
fn each_mode_of_cgroups_works() {
    let mut counter = Counter::new(Bundle::new());
    let before = HostState::of(&counter.bundle);
    counter.start();
    // Debian's runc does not know the last one.
    let known = if Kind::under_test() == Kind::Runc {
        3
    } else {
        4
    };
    for mode in ["soft", "full", "strict", "ignore"].iter().take(known) {
        let flags = ["--manage-cgroups-mode", mode];
        counter.checkpoint(&flags).assert_ok();
        counter.assert_gone();
        if *mode == "strict" {
            // The cgroup exists before CRIU starts, which is in it.
            let refused = counter.restore(&flags);
            if Kind::under_test() == Kind::Rt {
                assert_ne!(refused.code(), 0);
                counter.restore(&[]).assert_ok();
            }
        } else {
            counter.restore(&flags).assert_ok();
        }
        counter.wait_for_more();
        let pid = counter.bundle.container().pid();
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let is_own = |line: &str| line.contains(counter.bundle.id());
        assert!(cgroups.lines().any(is_own), "{mode}: {cgroups}");
    }
    counter.bundle.container().delete_force().assert_ok();
    before.assert_unchanged(&counter.bundle);
}
