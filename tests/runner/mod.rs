//! Runs the tests of one program, and says once for each reason how many of them were skipped.
//!
//! libtest-mimic finds, runs and counts them. Tests that cannot run here at all are counted and not handed
//! to it, so a program in which nothing ran never says "ok".
#![allow(
    clippy::print_stdout,
    reason = "the summary of a test program goes to its standard output"
)]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Completion, Failed, FormatSetting, Trial};

/// How a test ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    Passed,
    /// The reason names the package that is missing, if one is.
    Skipped(String),
    Failed(String),
}

/// One test, not run yet.
pub(crate) struct Test {
    name: String,
    /// Why it cannot run here, where that is known before anything runs.
    lacks: Option<String>,
    run: Box<dyn FnOnce() -> Outcome + Send>,
}

impl Test {
    pub(crate) fn new(name: String, run: impl FnOnce() -> Outcome + Send + 'static) -> Self {
        let (lacks, run) = (None, Box::new(run));
        Self { name, lacks, run }
    }

    /// The same, skipped for `reason` if there is one.
    pub(crate) fn unless(mut self, reason: Option<String>) -> Self {
        self.lacks = reason;
        self
    }
}

/// How many tests were skipped, for each reason.
type Skips = Arc<Mutex<BTreeMap<String, usize>>>;

/// Runs the tests that `arguments` ask for and prints what was skipped.
///
/// Without a filter each test is a letter; `--format pretty` gives each a line.
pub(crate) fn run(program: &str, mut arguments: Arguments, tests: Vec<Test>) -> ExitCode {
    let skips = Skips::default();
    if arguments.filter.is_none() {
        arguments.format.get_or_insert(FormatSetting::Terse);
    }
    let is_asked_for = |test: &Test| is_asked_for(&arguments, &test.name);
    let can_run = |test: &Test| arguments.list || test.lacks.is_none();
    let (able, unable): (Vec<Test>, Vec<Test>) = tests.into_iter().partition(can_run);
    for test in unable.iter().filter(|test| is_asked_for(test)) {
        count(&skips, test.lacks.clone().unwrap_or_default());
    }
    if !arguments.list && !able.iter().any(is_asked_for) {
        if skips.lock().unwrap().is_empty() {
            println!("\n{program}: no test has such a name");
        } else {
            println!("\n{program}: nothing was tested");
            print_skips(&skips);
        }
        return ExitCode::SUCCESS;
    }
    let trials = able.into_iter().map(|test| trial(test, skips.clone()));
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    print_skips(&skips);
    conclusion.exit_code()
}

fn trial(test: Test, skips: Skips) -> Trial {
    Trial::ignorable_test(test.name, move || match (test.run)() {
        Outcome::Passed => Ok(Completion::Completed),
        Outcome::Failed(message) => Err(Failed::from(message)),
        Outcome::Skipped(reason) => {
            count(&skips, reason.clone());
            Ok(Completion::ignored_with(reason))
        }
    })
}

fn count(skips: &Skips, reason: String) {
    *skips.lock().unwrap().entry(reason).or_default() += 1;
}

fn print_skips(skips: &Skips) {
    let skips = skips.lock().unwrap();
    for (reason, count) in skips.iter() {
        println!("skipped {count}: {reason}");
    }
}

/// Whether a test is among those that the arguments select, as libtest-mimic decides it.
pub(crate) fn is_asked_for(arguments: &Arguments, name: &str) -> bool {
    let fits = |filter: &String| {
        if arguments.exact {
            name == filter
        } else {
            name.contains(filter.as_str())
        }
    };
    !arguments.skip.iter().any(fits) && arguments.filter.as_ref().is_none_or(fits)
}
