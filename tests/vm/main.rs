//! Tests that the host may be unable to run: cgroup v2 with all controllers, AppArmor, CAP_SYS_RESOURCE, and the
//! engines with their default configuration.
//!
//! `RT_TESTS=all cargo test --test vm` boots two virtual machines, one after the other. In the first, tests of the
//! suite run; in the second, with systemd, the lists of the installed engines (`tests/engines/installed.rs`). Each test
//! is reported as soon as its outcome is known. A run without a filter writes them to docs/engines.md. `boot` describes
//! the virtual machines, and `runs.rs` lists what runs in them.
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
mod runs;

use std::collections::BTreeMap;
use std::env;
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex};

use libtest_mimic::Arguments;

use guest::{Guest, Machine};
use page::Part;
use results::Verdict;
use runner::{Outcome, Test};

/// The outcomes by the names of the tests.
type Outcomes = Arc<Mutex<BTreeMap<String, Outcome>>>;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let lists = match runs::lists(&arguments) {
        Ok(lists) => lists,
        Err(error) => {
            eprintln!("vm: {error}");
            return ExitCode::FAILURE;
        }
    };
    let guests = Machine::ALL.map(|machine| {
        let of_machine = lists.iter().filter(|list| list.machine == machine);
        let calls = of_machine.flat_map(|list| &list.calls);
        Arc::new(Mutex::new(Guest::new(machine, calls)))
    });
    let skip_reasons = Machine::ALL.map(skip_reason);
    let outcomes = Outcomes::default();
    let mut tests = Vec::new();
    for list in &lists {
        let machine = list.machine as usize;
        for name in &list.tests {
            let (guest, outcomes, of) = (guests[machine].clone(), outcomes.clone(), name.clone());
            let run = move || {
                let outcome = guest.lock().unwrap().outcome(&of);
                outcomes.lock().unwrap().insert(of, outcome.clone());
                outcome
            };
            tests.push(Test::new(name.clone(), run).unless(skip_reasons[machine].clone()));
        }
    }
    let status = runner::run("vm", arguments.clone(), tests);
    if record::is_whole(&arguments) {
        for machine in Machine::ALL {
            let guest = guests[machine as usize].lock().unwrap();
            let of_machine = lists.iter().filter(|list| list.machine == machine);
            record(machine, &guest, of_machine, &outcomes);
        }
    }
    status
}

/// Writes the results of one machine to docs/engines.md, if it has run.
fn record<'a>(
    machine: Machine,
    guest: &Guest,
    lists: impl Iterator<Item = &'a runs::List>,
    outcomes: &Outcomes,
) {
    let Some(kernel) = guest.kernel() else {
        return;
    };
    let (part, host, about) = match machine {
        Machine::Plain => (
            Part::VirtualMachine,
            format!("Linux {kernel} with cgroup v2"),
            "A list has the tests of the suite whose names contain its text.",
        ),
        Machine::Systemd => (
            Part::Installed,
            format!("Linux {kernel} with cgroup v2 and systemd"),
            "A list has the tests of one engine, which has Debian's configuration but for the path of the runtime.",
        ),
    };
    let outcomes = outcomes.lock().unwrap();
    let lists: Vec<_> = lists.map(|list| with_outcomes(list, &outcomes)).collect();
    record::write(part, &results::text(&record::facts(host), about, &lists));
}

fn with_outcomes(list: &runs::List, outcomes: &BTreeMap<String, Outcome>) -> results::List {
    let tests = list.tests.iter().map(|name| {
        let verdict = match outcomes.get(name) {
            Some(Outcome::Passed) => Verdict::Passed,
            Some(Outcome::Skipped(reason)) => Verdict::Skipped(reason.clone()),
            Some(Outcome::Failed(_)) | None => Verdict::Failed,
        };
        (name.clone(), verdict)
    });
    results::List {
        runtime: list.runtime.to_owned(),
        filter: list.filter.to_owned(),
        tests: tests.collect(),
    }
}

/// Why the virtual machine cannot be used here, if so.
fn skip_reason(machine: Machine) -> Option<String> {
    if env::var("RT_TESTS").as_deref() != Ok("all") {
        return Some("RT_TESTS=all boots a virtual machine for it".to_owned());
    }
    if !nix::unistd::geteuid().is_root() {
        return Some("only root can give the virtual machine access to all files".to_owned());
    }
    let mut check = Command::new(guest::BOOT);
    let checked = check.args(machine.options()).arg("--check").output();
    let checked = checked.unwrap_or_else(|e| panic!("start {}: {e}", guest::BOOT));
    let reason = String::from_utf8_lossy(&checked.stdout).trim().to_owned();
    (!checked.status.success()).then_some(reason)
}
