//! What a container must not inherit from the caller: groups, umask, keyring, signals,
//! descriptors.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use crate::runner::Test;
use nix::sys::signal::Signal;
use serde_json::json;

use super::identity::groups;
use crate::harness::{Bundle, Report, only_rt, skip, trials};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        groups_of_the_caller_are_dropped,
        umask_of_the_caller_is_not_inherited,
        the_container_has_its_own_session_keyring,
        no_new_keyring_keeps_the_keyring_of_the_caller,
        stdio_is_owned_by_the_user,
        in_the_foreground_the_caller_keeps_ownership_of_its_files,
        cpu_affinity_of_the_caller_is_dropped,
        signals_that_the_caller_ignores_are_not_ignored,
        signals_that_the_caller_blocks_are_not_blocked,
        only_stdio_is_open,
        the_process_leads_its_own_session,
    ]
}

fn groups_of_the_caller_are_dropped() {
    let bundle = Bundle::new();
    let caller = ["setpriv", "--groups", "10,27"];
    let seen = bundle.probe_call(&caller, &[]).assert_report();
    assert_eq!(groups(&seen), [0u64; 0]);
}

fn umask_of_the_caller_is_not_inherited() {
    let bundle = Bundle::new();
    let caller = ["sh", "-c", "umask 0777; exec \"$@\"", "sh"];
    let seen = bundle.probe_call(&caller, &[]).assert_report();
    assert_eq!(seen["umask"], 0o022);
    let shm = &seen["devices"]["shm"];
    assert_eq!(
        shm["mode"], "1777",
        "the umask does not affect what the runtime creates: {shm}"
    );
}

fn keyring_name(seen: &Report) -> String {
    let text = seen["keyring"].as_str().unwrap_or_default();
    text.rsplit(';').next().unwrap_or_default().to_owned()
}

fn the_container_has_its_own_session_keyring() {
    let bundle = Bundle::new();
    assert_eq!(
        keyring_name(&bundle.probe()),
        format!("_ses.{}", bundle.id())
    );
}

fn no_new_keyring_keeps_the_keyring_of_the_caller() {
    let bundle = Bundle::new();
    let seen = bundle.probe_with(&["--no-new-keyring"]);
    assert_ne!(keyring_name(&seen), format!("_ses.{}", bundle.id()));
}

/// A non-root user must be able to reopen its standard output through /proc/self/fd.
fn stdio_is_owned_by_the_user() {
    let (reader, writer) = std::io::pipe().unwrap();
    let bundle = Bundle::new()
        .user(1000, 1000)
        .sh("echo through the pipe > /proc/self/fd/1");
    let owner = writer.try_clone().unwrap();
    let call = bundle.call("run", &["--detach"]);
    call.with(|command| command.stdout(writer))
        .run()
        .assert_ok();
    bundle.container().wait_stopped();
    let meta = fs::metadata(format!("/proc/self/fd/{}", owner.as_raw_fd())).unwrap();
    assert_eq!(meta.uid(), 1000);
    drop(owner);
    assert_eq!(
        std::io::read_to_string(reader).unwrap(),
        "through the pipe\n"
    );
}

/// The caller's files and terminal would otherwise keep the container's user as their owner.
fn in_the_foreground_the_caller_keeps_ownership_of_its_files() {
    let bundle = Bundle::new().user(1000, 1000).args(&["/bin/true"]);
    let call = bundle.call("run", &[]);
    let stdout = call.output().with_extension("out");
    call.run().assert_ok();
    assert_eq!(fs::metadata(stdout).unwrap().uid(), 0);
    let (bundle, _container) = crate::exec::running(Bundle::new());
    let call = crate::exec::call(&bundle, &["--user", "1000"], &["/bin/true"]);
    let stderr = call.output().with_extension("err");
    call.run().assert_ok();
    assert_eq!(fs::metadata(stderr).unwrap().uid(), 0);
}

fn cpu_affinity_of_the_caller_is_dropped() {
    if fs::read_to_string("/sys/devices/system/cpu/online").is_ok_and(|all| all.trim() == "0") {
        skip("this host has only one CPU");
    }
    only_rt("Debian's old runc and crun keep the caller's affinity, newer runc resets it");
    let bundle = Bundle::new();
    let all_cpus = bundle.probe()["cpus"].clone();
    let restricted = bundle.probe_call(&["taskset", "1"], &[]).assert_report()["cpus"].clone();
    assert_eq!(restricted, all_cpus);
    assert!(all_cpus.as_array().unwrap().len() > 1);
}

/// For example, Rust and Python programs ignore SIGPIPE.
fn signals_that_the_caller_ignores_are_not_ignored() {
    let bundle = Bundle::new();
    let call = bundle.probe_call(&[], &[]);
    let call = call.with_signals(&[Signal::SIGPIPE, Signal::SIGUSR1], &[]);
    call.assert_report().assert_signals_untouched();
}

fn signals_that_the_caller_blocks_are_not_blocked() {
    only_rt("Go passes on the signal mask with which it was started");
    let blocked = [Signal::SIGTERM, Signal::SIGUSR2, Signal::SIGCHLD];
    let bundle = Bundle::new();
    let call = bundle.probe_call(&[], &[]).with_signals(&[], &blocked);
    call.assert_report().assert_signals_untouched();
}

fn only_stdio_is_open() {
    let bundle = Bundle::new();
    let call = bundle.probe_call(&[], &[]).leaking();
    call.assert_report().assert_only_stdio();
}

fn the_process_leads_its_own_session() {
    let seen = Bundle::new().probe();
    assert_eq!((&seen["pid"], &seen["sid"]), (&json!(1), &json!(1)));
}
