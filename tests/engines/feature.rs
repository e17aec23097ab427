//! A test of one feature of an engine, and the comparison of `rt` with runc.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, RwLock};

use libtest_mimic::Arguments;

use crate::environment::Runtime;
use crate::page::Part;
use crate::results::{self, Line, Lines, Verdict};
use crate::runner::{self, Outcome, Test, is_asked_for};
use crate::{checkpoint, elsewhere, installed, record, versions};

/// A test that runs once with each runtime. Several tests run concurrently, so each derives the names of its
/// containers from its own name.
pub(crate) struct Feature {
    /// For example `docker::exec_tty`.
    pub(crate) name: String,
    /// The test body. Panics if the feature does not work with this runtime.
    pub(crate) run: Box<dyn Fn(Runtime) + Send>,
    /// Why the test cannot run here, if so.
    pub(crate) skip_reason: Option<String>,
}

/// Runs the tests that the arguments select, and prints the counts at the end. A whole run writes its part of
/// docs/engines.md.
pub(crate) fn run(arguments: &Arguments, features: Vec<Feature>) -> ExitCode {
    let is_known = |name: &str| features.iter().any(|feature| feature.name == name);
    let mut listed = listed_names().filter(|_| !installed::is_asked_for());
    if let Some((list, name)) = listed.find(|(_, name)| !is_known(name)) {
        eprintln!("{list}: {name}: there is no such test");
        return ExitCode::FAILURE;
    }
    let lines = Arc::new(Mutex::new(Lines::new()));
    let tests = features.into_iter().map(|feature| {
        let lines = lines.clone();
        let name = feature.name.clone();
        let skip_reason = left_out(&name)
            .or_else(|| feature.skip_reason.clone())
            .or_else(|| checkpoint::skip_reason(&name));
        if let Some(reason) = &skip_reason {
            let line = Line::Skipped(reason.clone());
            lines.lock().unwrap().insert(name.clone(), line);
        }
        Test::new(name, move || compare(&feature, &lines)).unless(skip_reason)
    });
    let status = runner::run("engines", arguments.clone(), tests.collect());
    let lines = lines.lock().unwrap();
    let has_run = |line: &Line| matches!(line, Line::Ran { .. });
    if installed::is_asked_for() {
        return status;
    }
    print_counts(
        &lines
            .clone()
            .into_iter()
            .filter(|(_, line)| has_run(line))
            .collect(),
    );
    if record::is_whole(arguments) && lines.values().any(has_run) {
        let (part, kernel) = if elsewhere::is_entered() {
            let distribution = elsewhere::distribution();
            let kernel = format!("{}, in {distribution}", versions::of_kernel());
            (Part::OtherEngines, kernel)
        } else {
            (Part::Engines, versions::of_kernel())
        };
        let text = results::text(&record::facts(kernel), &lines, versions::of, known_reason);
        record::write(part, &text);
    }
    status
}

fn print_counts(lines: &Lines) {
    for (engine, summary) in results::summaries(lines) {
        let (rt, again) = (summary.rt, summary.again);
        let all = rt.passed + rt.failed;
        print!(
            "{engine}: rt passes {} of {all} ({again} the second time)",
            rt.passed
        );
        if is_smoke_run() {
            println!();
        } else {
            println!(", runc {}", summary.runc.passed);
        }
    }
}

/// Held for reading by each test, and for writing by a test that runs alone.
static EXCLUSIVE: RwLock<()> = RwLock::new(());

/// The runtime under test, and the one that it is compared with.
fn runtimes() -> (Runtime, Option<Runtime>) {
    if installed::is_asked_for() {
        (installed::runtime(), None)
    } else if is_smoke_run() {
        // The tests of the smoke run are known to pass with runc.
        (Runtime::Rt, None)
    } else {
        (Runtime::Rt, Some(Runtime::Runc))
    }
}

/// Runs a test with the runtimes. Engines have races of their own, which show more often on a busy host. A test
/// that fails with `rt` alone is therefore printed and repeated, with no other test running; it fails if `rt`
/// fails again.
fn compare(feature: &Feature, lines: &Mutex<Lines>) -> Outcome {
    let (runtime, other) = runtimes();
    let (mut ours, theirs) = {
        let _shared = EXCLUSIVE.read().unwrap();
        let ours = attempt(feature, runtime);
        let theirs = other.map(|other| attempt(feature, other));
        (ours, theirs.unwrap_or(Ok(())))
    };
    let mut again = false;
    if let (Err(why), Ok(())) = (&ours, &theirs) {
        let name = runtime.name();
        eprintln!("{}: {name} fails the first time: {why}", feature.name);
        let _alone = EXCLUSIVE.write().unwrap();
        ours = attempt(feature, runtime);
        again = ours.is_ok();
    }
    let verdict = |result: &Result<(), String>, again| match result {
        Ok(()) if again => Verdict::PassedAgain,
        Ok(()) => Verdict::Passed,
        Err(_) => Verdict::Failed,
    };
    let (rt, runc) = (verdict(&ours, again), verdict(&theirs, false));
    let line = Line::Ran { rt, runc };
    lines.lock().unwrap().insert(feature.name.clone(), line);
    match (ours, theirs) {
        (Ok(()), Ok(())) => Outcome::Passed,
        (Ok(()), Err(why)) => {
            eprintln!("{}: runc fails: {why}", feature.name);
            Outcome::Passed
        }
        (Err(why), Ok(())) => Outcome::Failed(why),
        (Err(ours), Err(why)) => {
            let why = why.lines().next().unwrap_or_default();
            eprintln!("{}: rt fails: {ours}", feature.name);
            Outcome::Skipped(format!("runc fails too: {why}"))
        }
    }
}

/// Runs the test with one runtime. The error is the message of the panic.
fn attempt(feature: &Feature, runtime: Runtime) -> Result<(), String> {
    let result = catch_unwind(AssertUnwindSafe(|| (feature.run)(runtime)));
    result.map_err(|panic| message(&*panic))
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}

/// The tests of `RT_TESTS=smoke`, one a line: those that have found the most, and are not flaky.
const SMOKE: &str = include_str!("smoke");

/// Why a test is known to fail with one of the runtimes or with both: its name, a colon and the reason, one a line.
const REASONS: &str = include_str!("reasons");

fn reasons() -> impl Iterator<Item = (&'static str, &'static str)> {
    REASONS.lines().filter_map(|line| line.split_once(": "))
}

fn known_reason(name: &str) -> String {
    let reason = reasons().find(|(known, _)| *known == name);
    reason.map_or_else(String::new, |(_, reason)| reason.to_owned())
}

/// The names in the two lists, with the file of the list.
fn listed_names() -> impl Iterator<Item = (&'static str, &'static str)> {
    let smoke = SMOKE.lines().map(|name| ("tests/engines/smoke", name));
    smoke.chain(reasons().map(|(name, _)| ("tests/engines/reasons", name)))
}

fn is_smoke_run() -> bool {
    std::env::var("RT_TESTS").as_deref() == Ok("smoke")
}

/// Whether `RT_TESTS` asks for a test, and why not.
fn left_out(name: &str) -> Option<String> {
    let is_smoke = || SMOKE.lines().any(|line| line == name);
    match std::env::var("RT_TESTS").as_deref() {
        Ok("all" | "installed") => None,
        Ok("smoke") if is_smoke() => None,
        Ok("smoke") => Some("RT_TESTS=all runs all tests of the engines".to_owned()),
        _ => Some("RT_TESTS=all runs the tests of the engines, RT_TESTS=smoke a few".to_owned()),
    }
}

/// Why this run skips all engines, if it does.
pub(crate) fn skip_reason() -> Option<String> {
    let root = nix::unistd::geteuid().is_root();
    (!root).then(|| "only root can start the engines".to_owned())
}

/// Whether the arguments and `RT_TESTS` select a test of `engine`. Its daemons start only then.
pub(crate) fn is_wanted(arguments: &Arguments, engine: &str, names: &[&str]) -> bool {
    let is_selected = |name: &&str| {
        let name = format!("{engine}::{name}");
        left_out(&name).is_none() && is_asked_for(arguments, &name)
    };
    !arguments.list && names.iter().any(is_selected)
}
