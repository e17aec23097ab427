//! `exec`: another process in a running container.

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

use crate::runner::Test;
use serde_json::{Value, json};

use crate::harness::{Bundle, Call, Container, Outcome, Report};

pub(crate) use namespaces::LINKS;

pub(crate) fn tests() -> Vec<Test> {
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

/// The bundle with a program that sleeps, so that the container keeps running.
pub(crate) fn waiting(bundle: Bundle) -> Bundle {
    bundle.args(&["/bin/sleep", "1000"])
}

/// A running container that sleeps. It is deleted with its bundle.
#[track_caller]
pub(crate) fn running(bundle: Bundle) -> (Bundle, Container) {
    let bundle = waiting(bundle);
    let container = bundle.run_detached();
    (bundle, container)
}

/// `exec FLAGS.. ID ARGS..`
pub(crate) fn call(bundle: &Bundle, flags: &[&str], args: &[&str]) -> Call {
    through(bundle, &[], flags, args)
}

/// `exec FLAGS.. ID ARGS..`, started by the command `before`.
pub(crate) fn through(bundle: &Bundle, before: &[&str], flags: &[&str], args: &[&str]) -> Call {
    let args = [&["exec"], flags, &[bundle.id()], args].concat();
    bundle.runtime().call_through(before, &args)
}

pub(crate) fn exec(bundle: &Bundle, flags: &[&str], args: &[&str]) -> Outcome {
    call(bundle, flags, args).run()
}

/// Runs a shell script by `exec`, which must succeed, and returns its standard output.
#[track_caller]
pub(crate) fn sh(bundle: &Bundle, flags: &[&str], script: &str) -> String {
    let outcome = exec(bundle, flags, &["/bin/sh", "-c", script]);
    outcome.assert_ok().stdout
}

/// Runs the probe by `exec` and returns its report.
#[track_caller]
pub(crate) fn probe(bundle: &Bundle, flags: &[&str]) -> Report {
    call(bundle, flags, &["/probe", "report"]).assert_report()
}

/// Writes the bundle's `process`, with other arguments and with `changes`, to a file.
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

/// `exec --process FILE ID` with a file of [`process_file`].
pub(crate) fn described(bundle: &Bundle, args: &[&str], changes: &[(&str, Value)]) -> Call {
    let file = process_file(bundle, args, changes);
    call(bundle, &["--process", file.to_str().unwrap()], &[])
}

/// Runs the probe by `exec --process` and returns its report.
#[track_caller]
pub(crate) fn probe_described(bundle: &Bundle, changes: &[(&str, Value)]) -> Report {
    described(bundle, &["/probe", "report"], changes).assert_report()
}
