//! The runtime is killed at its system calls: afterwards `delete --force` removes everything.

use std::cell::RefCell;

use crate::runner::Test;
use serde_json::json;

use crate::harness::{Bundle, HostState, killed_everywhere, trials};
use crate::process::init::with_init;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        after_a_killed_create_delete_force_removes_everything,
        after_a_killed_run_delete_force_removes_everything,
        after_a_killed_run_with_an_init_delete_force_removes_everything,
        after_a_killed_start_the_container_waits_or_runs,
        after_a_killed_delete_delete_force_removes_everything,
        after_a_killed_run_with_hooks_delete_force_removes_everything,
    ]
}

/// The number of system calls that are tried.
const PLACES: usize = 25;

/// Runs `verb` many times, killed at a sample of its system calls. `prepare` runs before each.
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
    let before = HostState::of(&bundle);
    killed_everywhere(bundle.runtime(), PLACES, call, |place| {
        let deleted = bundle.container().delete_force();
        assert_eq!(deleted.code(), 0, "{verb} {place}\n{deleted}");
        let left = before.changes_since(&bundle);
        assert!(left.is_empty(), "{verb} {place} leaves:\n{left}");
    });
}

fn after_a_killed_create_delete_force_removes_everything() {
    sweep(Bundle::new(), "create", |_| ());
}

fn after_a_killed_run_delete_force_removes_everything() {
    sweep(Bundle::new(), "run", |_| ());
}

fn after_a_killed_run_with_an_init_delete_force_removes_everything() {
    sweep(with_init(Bundle::new()), "create", |_| ());
    sweep(with_init(Bundle::new()), "run", |_| ());
}

/// Afterwards the container can be started, or it is running.
fn after_a_killed_start_the_container_waits_or_runs() {
    let bundle = Bundle::new().args(&["/probe", "wait-signal"]);
    let container = RefCell::new(None);
    let call = |strace: &[&str]| {
        container.replace(Some(bundle.create()));
        bundle
            .runtime()
            .call_through(strace, &["start", bundle.id()])
    };
    killed_everywhere(bundle.runtime(), PLACES, call, |place| {
        let container = container.take().unwrap();
        // Refused if the killed `start` has already started it.
        drop(container.start());
        container.wait_for("ready");
        assert_eq!(container.status(), "running", "{place}");
        container.start().assert_refused("already running");
        container.delete_force().assert_ok();
    });
}

fn after_a_killed_delete_delete_force_removes_everything() {
    sweep(Bundle::new(), "delete", |bundle| {
        let container = bundle.call("create", &[]).run();
        container.assert_ok();
    });
}

fn after_a_killed_run_with_hooks_delete_force_removes_everything() {
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
