//! The runtime killed at its system calls: the container goes on, and nobody is half way in.

use std::fs;
use std::path::Path;

use libtest_mimic::Trial;

use super::{exec, running, through};
use crate::harness::{Bundle, Runtime, Traces, View, only_rt, skip, trials};

pub(super) fn tests() -> Vec<Trial> {
    trials![
        killed_anywhere_it_leaves_a_process_that_runs_or_none,
        killed_anywhere_in_the_v2_view_it_leaves_a_process_that_runs_or_none,
    ]
}

/// How many places are tried, spread evenly over the whole command.
const PLACES: usize = 40;

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

fn sweep(view: View) {
    only_rt("Go spreads its system calls over threads: no two runs have the same order");
    if !Path::new("/usr/bin/strace").exists() {
        skip("no strace here");
    }
    let (bundle, container) = running(Bundle::with_runtime(&Runtime::new().view(view)));
    let before = Traces::of(&bundle);
    let trace = bundle.runtime().home().join("trace");
    let strace = ["strace", "-o", trace.to_str().unwrap()];
    // In the end it is gone by itself, so that what is left is somebody half way.
    let words = ["/bin/sh", "-c", "sleep 0.1"];
    through(&bundle, &strace, &[], &words).run().assert_ok();
    let calls = calls(&trace);
    assert!(calls.len() > PLACES, "the trace is too short: {calls:?}");
    for (name, count) in calls.iter().skip(1).step_by((calls.len() / PLACES).max(1)) {
        let kill = format!("inject={name}:signal=KILL:when={count}");
        let strace = ["strace", "-o", "/dev/null", "-e", &kill];
        drop(through(&bundle, &strace, &[], &words).run());
        let changes = before.changes_since(&bundle);
        assert_eq!(changes, "", "killed at {name} {count}");
        assert_eq!(container.status(), "running", "{name} {count}");
    }
    exec(&bundle, &[], &["/bin/true"]).assert_ok();
}

fn killed_anywhere_it_leaves_a_process_that_runs_or_none() {
    sweep(View::Machine);
}

fn killed_anywhere_in_the_v2_view_it_leaves_a_process_that_runs_or_none() {
    sweep(View::V2);
}
