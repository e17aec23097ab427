//! The runtime killed at its system calls: `delete --force` then leaves nothing.

use std::cell::RefCell;

use libtest_mimic::Trial;
use serde_json::json;

use crate::harness::{Bundle, Traces, killed_everywhere, trials};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        killed_anywhere_in_create_it_leaves_what_delete_force_removes,
        killed_anywhere_in_run_it_leaves_what_delete_force_removes,
        killed_anywhere_in_start_the_container_waits_or_runs,
        killed_anywhere_in_delete_it_leaves_what_delete_force_removes,
        killed_anywhere_among_hooks_it_leaves_what_delete_force_removes,
    ]
}

/// How many places are tried.
const PLACES: usize = 25;

/// Performs `verb`, prepared each time, and kills it at a sample of its system calls.
pub(crate) fn sweep(bundle: Bundle, verb: &str, prepare: impl Fn(&Bundle)) {
    let bundle = bundle.args(&["/bin/true"]);
    let call = |strace: &[&str]| {
        prepare(&bundle);
        match verb {
            "delete" => bundle
                .runtime()
                .call_through(strace, &["delete", "--force", bundle.id()]),
            _ => bundle.call_through(strace, verb, &[]),
        }
    };
    let before = Traces::of(&bundle);
    killed_everywhere(bundle.runtime(), PLACES, call, |place| {
        let deleted = bundle.container().delete_force();
        assert_eq!(deleted.code(), 0, "{verb} {place}\n{deleted}");
        let left = before.changes_since(&bundle);
        assert!(left.is_empty(), "{verb} {place} leaves:\n{left}");
    });
}

fn killed_anywhere_in_create_it_leaves_what_delete_force_removes() {
    sweep(Bundle::new(), "create", |_| ());
}

fn killed_anywhere_in_run_it_leaves_what_delete_force_removes() {
    sweep(Bundle::new(), "run", |_| ());
}

/// It can be started again, or it runs and is said to.
fn killed_anywhere_in_start_the_container_waits_or_runs() {
    let bundle = Bundle::new().args(&["/probe", "wait-signal"]);
    let made = RefCell::new(None);
    let call = |strace: &[&str]| {
        made.replace(Some(bundle.create()));
        bundle
            .runtime()
            .call_through(strace, &["start", bundle.id()])
    };
    killed_everywhere(bundle.runtime(), PLACES, call, |place| {
        let container = made.take().unwrap();
        // Refused where the one that was killed has got through.
        drop(container.start());
        container.wait_for("ready");
        assert_eq!(container.status(), "running", "{place}");
        container.start().assert_refused("already running");
        container.delete_force().assert_ok();
    });
}

fn killed_anywhere_in_delete_it_leaves_what_delete_force_removes() {
    sweep(Bundle::new(), "delete", |bundle| {
        let container = bundle.call("create", &[]).run();
        container.assert_ok();
    });
}

fn killed_anywhere_among_hooks_it_leaves_what_delete_force_removes() {
    let kinds = [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ];
    let hook = json!([{"path": "/bin/true"}]);
    let with = |bundle: Bundle, kind: &str| bundle.set(&format!("/hooks/{kind}"), hook.clone());
    sweep(kinds.into_iter().fold(Bundle::new(), with), "run", |_| ());
}
