//! The runtime is killed, or fails, at its system calls. Afterwards `delete --force` removes
//! everything.

use std::fs;

use super::host::Host;
use crate::harness::{
    Bundle, Call, HostState, killed_everywhere, needs_strace, only_in_the_matrix, trials,
};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        after_a_killed_create_nothing_is_left,
        after_a_killed_delete_nothing_is_left,
        every_failed_request_of_create_is_one_line_and_leaves_nothing,
        every_failed_request_of_delete_is_one_line_and_can_be_repeated,
        the_same_of_create_with_translated_addresses,
        the_same_of_delete_with_translated_addresses,
    ]
}

/// The number of system calls that are tried.
pub(super) const PLACES: usize = 25;

/// The system calls of a netlink socket.
const REQUESTS: [&str; 3] = ["socket", "sendmsg", "recvfrom"];

fn after_a_killed_create_nothing_is_left() {
    let host = Host::new();
    let bundle = host.on_bridge();
    let call = |strace: &[&str]| bundle.call_through(strace, "create", &[]);
    sweep(&host, &bundle, call);
}

fn after_a_killed_delete_nothing_is_left() {
    let host = Host::new();
    let bundle = host.on_bridge();
    let call = |strace: &[&str]| {
        bundle.call("create", &[]).run().assert_ok();
        delete(&bundle, strace)
    };
    sweep(&host, &bundle, call);
}

/// `delete --force`.
pub(super) fn delete(bundle: &Bundle, strace: &[&str]) -> Call {
    (bundle.runtime()).call_through(strace, &["delete", "--force", bundle.id()])
}

fn sweep(host: &Host, bundle: &Bundle, call: impl Fn(&[&str]) -> Call) {
    let before = HostState::of(bundle);
    killed_everywhere(bundle.runtime(), PLACES, call, |place| {
        let deleted = delete(bundle, &[]).run();
        assert_eq!(deleted.code(), 0, "{place}\n{deleted}");
        assert_eq!(host.leftovers(), "", "{place}");
        let left = before.changes_since(bundle);
        assert!(left.is_empty(), "{place} leaves:\n{left}");
    });
}

fn every_failed_request_of_create_is_one_line_and_leaves_nothing() {
    let host = Host::new();
    each_failure_of_create(&host, &host.on_bridge());
}

fn every_failed_request_of_delete_is_one_line_and_can_be_repeated() {
    let host = Host::new();
    each_failure_of_delete(&host, &host.on_bridge());
}

const NAT: [(&str, &str); 2] = [
    ("masquerade", "true"),
    ("publish", "8080:80,127.0.0.1:5353:53/udp"),
];

fn the_same_of_create_with_translated_addresses() {
    only_in_the_matrix(); // Each of many requests fails in turn.
    let host = Host::with_nft();
    each_failure_of_create(&host, &host.on_bridge_with(&NAT));
}

fn the_same_of_delete_with_translated_addresses() {
    only_in_the_matrix(); // Each of many requests fails in turn.
    let host = Host::with_nft();
    each_failure_of_delete(&host, &host.on_bridge_with(&NAT));
}

fn each_failure_of_create(host: &Host, bundle: &Bundle) {
    let before = HostState::of(bundle);
    let create = |strace: &[&str]| bundle.call_through(strace, "create", &[]);
    let prepare = || ();
    each_failure(bundle, &prepare, &create, |place, failed| {
        if failed {
            assert_eq!(host.leftovers(), "", "{place}");
        } else {
            delete(bundle, &[]).run().assert_ok();
        }
        let left = before.changes_since(bundle);
        assert!(left.is_empty(), "{place} leaves:\n{left}");
    });
}

fn each_failure_of_delete(host: &Host, bundle: &Bundle) {
    let prepare = || drop(bundle.call("create", &[]).run().assert_ok());
    let call = |strace: &[&str]| delete(bundle, strace);
    each_failure(bundle, &prepare, &call, |place, _| {
        delete(bundle, &[]).run().assert_ok();
        assert_eq!(host.leftovers(), "", "{place}");
    });
}

/// Runs `call` once for each of its requests, which fails with ENOBUFS. `check` sees whether the
/// command failed.
pub(super) fn each_failure(
    bundle: &Bundle,
    prepare: &dyn Fn(),
    call: &dyn Fn(&[&str]) -> Call,
    check: impl Fn(&str, bool),
) {
    needs_strace();
    let trace = bundle.runtime().home().join("trace");
    let filter = format!("trace={}", REQUESTS.join(","));
    prepare();
    call(&["strace", "-o", trace.to_str().unwrap(), "-e", &filter])
        .run()
        .assert_ok();
    let text = fs::read_to_string(&trace).unwrap();
    check("not failed", false);
    for name in REQUESTS {
        let count = text
            .lines()
            .filter(|line| line.starts_with(&format!("{name}(")))
            .count();
        assert!(count > 0, "no {name} in {text}");
        for number in 1..=count {
            prepare();
            let inject = format!("inject={name}:error=ENOBUFS:when={number}");
            let outcome = call(&["strace", "-o", "/dev/null", "-e", &inject]).run();
            let place = format!("{name} number {number}: {outcome}");
            let failed = outcome.code() != 0;
            if failed {
                assert_eq!(outcome.stderr.trim_end().lines().count(), 1, "{place}");
            }
            check(&place, failed);
        }
    }
}
