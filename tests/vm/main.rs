//! Tests that the host may be unable to run: cgroup v2 with all controllers, AppArmor, SELinux, CAP_SYS_RESOURCE, and the
//! engines with their default configuration.
//!
//! `RT_TESTS=all cargo test --test vm` boots four virtual machines, two at a time. In the first and in the last, with
//! SELinux, tests of the suite run; in the others, with systemd, the lists of the installed engines
//! (`tests/engines/installed.rs`), one with rt and one with runc. Each test is reported as soon as its outcome is known. A run without a filter writes them to
//! docs/engines.md. `boot` describes the virtual machines, and `runs.rs` lists what runs in them.
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

use guest::{Machine, VirtualMachine};
use page::Part;
use results::Verdict;
use runner::{Outcome, Test};

/// The outcomes by the names of the tests.
type Outcomes = Arc<Mutex<BTreeMap<String, Outcome>>>;

/// By the numbers of the machines.
type VirtualMachines = [Arc<Mutex<VirtualMachine>>; Machine::ALL.len()];

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
    let guests: VirtualMachines = Machine::ALL.map(|machine| {
        let of_machine = lists.iter().filter(|list| list.machine == machine);
        let calls = of_machine.flat_map(|list| &list.calls);
        Arc::new(Mutex::new(VirtualMachine::new(machine, calls)))
    });
    let skip_reasons = Machine::ALL.map(skip_reason);
    let outcomes = Outcomes::default();
    let mut tests = Vec::new();
    for list in &lists {
        let machine = list.machine as usize;
        for name in &list.tests {
            let (guests, outcomes, of) = (guests.clone(), outcomes.clone(), name.clone());
            let run = move || {
                // Each keeps one processor busy, so the next one runs beside it.
                for guest in guests.iter().skip(machine).take(2) {
                    guest.lock().unwrap().boot();
                }
                let outcome = guests[machine].lock().unwrap().outcome(&of);
                outcomes.lock().unwrap().insert(of, outcome.clone());
                outcome
            };
            tests.push(Test::new(name.clone(), run).unless(skip_reasons[machine].clone()));
        }
    }
    let status = runner::run("vm", arguments.clone(), tests);
    if record::is_whole(&arguments) {
        for part in [Part::VirtualMachine, Part::Installed] {
            record(part, &guests, &lists, &outcomes);
        }
    }
    status
}

/// Writes the results of the machines of one part to docs/engines.md, if the first of them has run.
fn record(part: Part, guests: &VirtualMachines, lists: &[runs::List], outcomes: &Outcomes) {
    let (machines, host, about): (&[Machine], _, _) = match part {
        Part::Installed => (
            &[Machine::Systemd, Machine::SystemdOfRunc],
            "cgroup v2 and systemd",
            "A list has the tests of one engine, which has Debian's configuration but for the path of the runtime.",
        ),
        _ => (
            &[Machine::Plain, Machine::Selinux],
            "cgroup v2",
            "A list has the tests of the suite whose names contain its text. SELinux is on for its own list only.",
        ),
    };
    let guest = guests[machines[0] as usize].lock().unwrap();
    let Some(kernel) = guest.kernel() else {
        return;
    };
    let outcomes = outcomes.lock().unwrap();
    let of_part = lists.iter().filter(|list| machines.contains(&list.machine));
    let lists: Vec<_> = of_part.map(|list| with_outcomes(list, &outcomes)).collect();
    let facts = record::facts(format!("Linux {kernel} with {host}"));
    record::write(part, &results::text(&facts, about, &lists));
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
