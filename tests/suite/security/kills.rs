//! The runtime killed at its system calls: `delete --force` then leaves nothing.

use std::fs;
use std::path::Path;

use libtest_mimic::Trial;
use serde_json::json;

use crate::harness::{Bundle, Traces, only_rt, skip, trials};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        killed_anywhere_in_create_it_leaves_what_delete_force_removes,
        killed_anywhere_in_run_it_leaves_what_delete_force_removes,
        killed_anywhere_in_delete_it_leaves_what_delete_force_removes,
        killed_anywhere_among_hooks_it_leaves_what_delete_force_removes,
    ]
}

/// How many places are tried, spread evenly over the whole command.
const PLACES: usize = 25;

/// The system calls of the runtime's own process in order, each with its count so far.
fn calls(trace: &Path) -> Vec<(String, usize)> {
    let text = fs::read_to_string(trace).unwrap_or_default();
    let mut calls: Vec<(String, usize)> = Vec::new();
    for line in text.lines() {
        let Some((name, _)) = line.split_once('(') else {
            continue;
        };
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            continue;
        }
        let count = 1 + calls.iter().filter(|(seen, _)| seen == name).count();
        calls.push((name.to_owned(), count));
    }
    calls
}

/// Runs `perform` once to see its system calls, then kills it at a sample of them.
pub(crate) fn sweep(bundle: Bundle, verb: &str, prepare: impl Fn(&Bundle)) {
    only_rt("Go spreads its system calls over threads: no two runs have the same order");
    if !Path::new("/usr/bin/strace").exists() {
        skip("no strace here");
    }
    let bundle = bundle.args(&["/bin/true"]);
    let trace = bundle.runtime().home().join("trace");
    let trace_name = trace.to_str().unwrap();
    let call = |strace: &[&str]| match verb {
        "delete" => bundle
            .runtime()
            .call_through(strace, &["delete", "--force", bundle.id()]),
        _ => bundle.call_through(strace, verb, &[]),
    };
    let before = Traces::of(&bundle);
    prepare(&bundle);
    call(&["strace", "-o", trace_name]).run().assert_ok();
    bundle.container().delete_force().assert_ok();
    before.assert_unchanged(&bundle);

    let calls = calls(&trace);
    assert!(calls.len() > PLACES, "the trace is too short: {calls:?}");
    for (name, count) in calls.iter().skip(1).step_by((calls.len() / PLACES).max(1)) {
        prepare(&bundle);
        let kill = format!("inject={name}:signal=KILL:when={count}");
        drop(call(&["strace", "-o", "/dev/null", "-e", &kill]).run());
        let deleted = bundle.container().delete_force();
        assert_eq!(
            deleted.code(),
            0,
            "{verb} killed at {name} number {count}\n{deleted}"
        );
        let left = before.changes_since(&bundle);
        assert!(
            left.is_empty(),
            "{verb} killed at {name} number {count} leaves:\n{left}"
        );
    }
}

fn killed_anywhere_in_create_it_leaves_what_delete_force_removes() {
    sweep(Bundle::new(), "create", |_| ());
}

fn killed_anywhere_in_run_it_leaves_what_delete_force_removes() {
    sweep(Bundle::new(), "run", |_| ());
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
