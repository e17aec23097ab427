//! Kills a command at one system call after another.

use std::fs;
use std::path::Path;

use super::{Call, Runtime, is_the_matrix, needs_strace, only_rt};

/// Runs what `call` makes once, to see its system calls, and then again for
/// `places` of them, spread evenly over the whole, killed there, or in the whole matrix for
/// all of them. `check` sees what is left each time, with a description of the place.
#[track_caller]
pub(crate) fn killed_everywhere(
    runtime: &Runtime,
    places: usize,
    call: impl Fn(&[&str]) -> Call,
    check: impl Fn(&str),
) {
    only_rt("Go spreads its system calls over threads: no two runs have the same order");
    needs_strace();
    let trace = runtime.home().join("trace");
    let traced = ["strace", "-o", trace.to_str().unwrap()];
    call(&traced).run().assert_ok();
    check("not killed");
    let places = if is_the_matrix() { usize::MAX } else { places };
    for (kill, place) in places_in(&trace, places) {
        drop(call(&["strace", "-o", "/dev/null", "-e", &kill]).run());
        check(&place);
    }
}

/// Up to `most` of the system calls that strace(1) has written to `trace`, spread evenly over the whole: the value of
/// its option `-e` that kills the process there, and a description.
#[track_caller]
pub(crate) fn places_in(trace: &Path, most: usize) -> Vec<(String, String)> {
    let calls = calls(trace);
    assert!(calls.len() > 25, "the trace is too short: {calls:?}");
    let step = calls.len().div_ceil(most).max(1);
    let places = calls.iter().skip(1).step_by(step);
    let places = places.map(|(name, count)| {
        (
            format!("inject={name}:signal=KILL:when={count}"),
            format!("killed at {name} number {count}"),
        )
    });
    places.collect()
}

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
