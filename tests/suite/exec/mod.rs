//! `exec`: another process in a container that runs.

mod attacks;
mod cgroups;
mod detached;
mod filter;
mod flags;
mod foreground;
mod kills;
mod namespaces;
mod process_file;
mod races;
mod refusals;
mod terminal;

use std::path::PathBuf;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::harness::{Bundle, Call, Container, Outcome, Report};

pub(crate) use namespaces::LINKS;

pub(crate) fn tests() -> Vec<Trial> {
    [
        flags::tests(),
        process_file::tests(),
        refusals::tests(),
        foreground::tests(),
        detached::tests(),
        terminal::tests(),
        filter::tests(),
        namespaces::tests(),
        cgroups::tests(),
        attacks::tests(),
        races::tests(),
        kills::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The bundle with a program that waits to be joined.
pub(crate) fn waiting(bundle: Bundle) -> Bundle {
    bundle.args(&["/bin/sleep", "1000"])
}

/// A container that waits to be joined. It ends with its bundle.
#[track_caller]
pub(crate) fn running(bundle: Bundle) -> (Bundle, Container) {
    let bundle = waiting(bundle);
    let container = bundle.run_detached();
    (bundle, container)
}

/// `exec FLAGS.. ID WORDS..`
pub(crate) fn call(bundle: &Bundle, flags: &[&str], words: &[&str]) -> Call {
    through(bundle, &[], flags, words)
}

/// The same behind a program that starts the runtime.
pub(crate) fn through(bundle: &Bundle, before: &[&str], flags: &[&str], words: &[&str]) -> Call {
    let args = [&["exec"], flags, &[bundle.id()], words].concat();
    bundle.runtime().call_through(before, &args)
}

pub(crate) fn exec(bundle: &Bundle, flags: &[&str], words: &[&str]) -> Outcome {
    call(bundle, flags, words).run()
}

/// What a shell that joins says; it must end well.
#[track_caller]
pub(crate) fn sh(bundle: &Bundle, flags: &[&str], script: &str) -> String {
    let outcome = exec(bundle, flags, &["/bin/sh", "-c", script]);
    outcome.assert_ok().stdout
}

/// What the probe sees that joins.
#[track_caller]
pub(crate) fn probe(bundle: &Bundle, flags: &[&str]) -> Report {
    call(bundle, flags, &["/probe", "report"]).assert_report()
}

/// The bundle's own `process` with other arguments and these changes, in a file.
fn process_file(bundle: &Bundle, args: &[&str], changes: &[(&str, Value)]) -> PathBuf {
    let mut config = bundle.config().clone();
    config.set("/process/args", json!(args));
    for (pointer, value) in changes {
        config.set(&format!("/process{pointer}"), value.clone());
    }
    let file = bundle.runtime().home().join("process.json");
    std::fs::write(&file, config.get("/process").to_string()).unwrap();
    file
}

/// `exec --process FILE ID` with the bundle's own `process`, changed.
fn described(bundle: &Bundle, args: &[&str], changes: &[(&str, Value)]) -> Call {
    let file = process_file(bundle, args, changes);
    call(bundle, &["--process", file.to_str().unwrap()], &[])
}

/// What the probe sees that such a process is.
#[track_caller]
pub(crate) fn probe_described(bundle: &Bundle, changes: &[(&str, Value)]) -> Report {
    described(bundle, &["/probe", "report"], changes).assert_report()
}
