//! Tests that the host may be unable to run: cgroup v2 with all controllers, AppArmor, and CAP_SYS_RESOURCE.
//!
//! `RT_TESTS=all cargo test --test vm` boots a virtual machine once, runs some tests of the suite in it, and reports
//! each of them as soon as its outcome is known. A run without a filter writes them to docs/engines.md. `boot`
//! describes the virtual machine.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and asks the environment"
)]

mod guest;
#[path = "../runner/page.rs"]
mod page;
#[path = "../runner/programs.rs"]
mod programs;
#[path = "../runner/record.rs"]
mod record;
mod results;
#[path = "../runner/mod.rs"]
mod runner;

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex};

use libtest_mimic::Arguments;
use serde_json::Value;

use guest::Guest;
use page::Part;
use results::{List, Verdict};
use runner::{Outcome, Test, is_asked_for};

/// A runtime, and a filter that selects tests of the suite.
const RUNS: [(&str, &str); 16] = [
    ("rt", "managers::"),
    ("rt", "cgroups::"),
    ("rt", "pause::"),
    ("rt", "update::"),
    ("rt", "apparmor::"),
    ("rt", "_of_the_caller_needs_cap_sys_resource"),
    // The lifecycle with another kernel and another cgroup version.
    ("rt", "lifecycle::run_"),
    ("rt", "lifecycle::delete_"),
    ("rt", "lifecycle::kill::"),
    // Limits in containers in containers, which need the controllers.
    ("rt", "nested::"),
    ("rt", "exec::cgroups::"),
    // Figures and notices of v2, compared with those of runc.
    ("rt", "events::"),
    ("rt", "stats::"),
    // Configurations that only the virtual machine can run with runc.
    ("runc", "managers::cri_systemd_rich"),
    ("runc", "managers::docker_systemd"),
    ("runc", "managers::podman_systemd"),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let Some(suite) = suite() else {
        eprintln!("vm: the suite is not built");
        return ExitCode::FAILURE;
    };
    let skip_reason = skip_reason();
    let mut calls = Vec::new();
    let mut tests = Vec::new();
    let mut lists = Vec::new();
    for (runtime, filter) in RUNS {
        let names = list(&suite, filter);
        if names.is_empty() {
            eprintln!("vm: the suite has no {filter} any more");
            return ExitCode::FAILURE;
        }
        let tests_of_run = names.iter().map(|name| format!("{runtime}::{name}"));
        let tests_of_run: Vec<String> = tests_of_run.collect();
        let is_wanted = |test: &&String| is_asked_for(&arguments, test);
        let wanted: Vec<&String> = tests_of_run.iter().filter(is_wanted).collect();
        if wanted.len() == tests_of_run.len() {
            calls.push((runtime, filter.to_owned()));
        } else {
            let name = |test: &String| test[runtime.len() + 2..].to_owned();
            let call = |test: &&String| (runtime, format!("--exact {}", name(test)));
            calls.extend(wanted.iter().map(call));
        }
        lists.push((runtime, filter, tests_of_run.clone()));
        tests.extend(tests_of_run);
    }
    let guest = Arc::new(Mutex::new(Guest::new(&suite, calls)));
    let outcomes = Arc::new(Mutex::new(BTreeMap::new()));
    let test = |name: String| {
        let (guest, outcomes, of) = (guest.clone(), outcomes.clone(), name.clone());
        let run = move || {
            let outcome = guest.lock().unwrap().outcome(&of);
            outcomes.lock().unwrap().insert(of, outcome.clone());
            outcome
        };
        Test::new(name, run).unless(skip_reason.clone())
    };
    let tests = tests.into_iter().map(test).collect();
    let status = runner::run("vm", arguments.clone(), tests);
    let guest = guest.lock().unwrap();
    if let Some(kernel) = guest.kernel().filter(|_| record::is_whole(&arguments)) {
        let outcomes = outcomes.lock().unwrap();
        let lists = lists.into_iter().map(|list| with_outcomes(list, &outcomes));
        let facts = record::facts(format!("Linux {kernel} with cgroup v2"));
        let text = results::text(&facts, &lists.collect::<Vec<List>>());
        record::write(Part::VirtualMachine, &text);
    }
    status
}

fn with_outcomes(
    (runtime, filter, names): (&str, &str, Vec<String>),
    outcomes: &BTreeMap<String, Outcome>,
) -> List {
    let tests = names.into_iter().map(|name| {
        let verdict = match outcomes.get(&name) {
            Some(Outcome::Passed) => Verdict::Passed,
            Some(Outcome::Skipped(reason)) => Verdict::Skipped(reason.clone()),
            Some(Outcome::Failed(_)) | None => Verdict::Failed,
        };
        (name, verdict)
    });
    List {
        runtime: runtime.to_owned(),
        filter: filter.to_owned(),
        tests: tests.collect(),
    }
}

/// Why the virtual machine cannot be used here, if so.
fn skip_reason() -> Option<String> {
    if env::var("RT_TESTS").as_deref() != Ok("all") {
        return Some("RT_TESTS=all boots a virtual machine for it".to_owned());
    }
    if !nix::unistd::geteuid().is_root() {
        return Some("only root can give the virtual machine access to all files".to_owned());
    }
    let checked = Command::new(guest::BOOT).arg("--check").output();
    let checked = checked.unwrap_or_else(|e| panic!("start {}: {e}", guest::BOOT));
    let reason = String::from_utf8_lossy(&checked.stdout).trim().to_owned();
    (!checked.status.success()).then_some(reason)
}

/// Builds the suite and returns the path of its binary.
fn suite() -> Option<String> {
    let release = Path::new(env!("CARGO_BIN_EXE_rt"))
        .parent()?
        .ends_with("release");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(cargo);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["test", "--quiet", "--no-run", "--test", "suite"]);
    cargo.args(["--message-format", "json"]);
    cargo.args(release.then_some("--release"));
    let built = cargo.output().ok().filter(|built| built.status.success())?;
    let messages = String::from_utf8_lossy(&built.stdout).into_owned();
    let messages = messages.lines().map(serde_json::from_str::<Value>);
    let mut executables = messages.filter_map(|message| {
        let message = message.ok()?;
        let is_suite = message["target"]["name"] == "suite";
        let path = message["executable"].as_str().filter(|_| is_suite)?;
        Some(path.to_owned())
    });
    executables.next()
}

/// The names of the suite's tests that match a filter.
fn list(suite: &str, filter: &str) -> Vec<String> {
    let listed = Command::new(suite).args(["--list", filter]).output();
    let listed = listed.unwrap_or_else(|e| panic!("start {suite}: {e}"));
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let names = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"));
    names
        .filter(|name| name.contains(filter))
        .map(str::to_owned)
        .collect()
}
