//! The names of the tests, and the reasons for which they skip themselves.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::panic::{self, AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::available_parallelism;

use crate::programs;
use crate::runner::{Outcome, Test};

use super::{Kind, differences, host, worker};

/// The source line of the last assertion that failed.
static WHERE: Mutex<String> = Mutex::new(String::new());

/// How each test that has run has ended.
static OUTCOMES: Mutex<BTreeMap<String, Outcome>> = Mutex::new(BTreeMap::new());

/// Whether tests run in processes of their own, several at a time.
static IN_WORKERS: AtomicBool = AtomicBool::new(false);

/// More would wait for each other in the kernel, and for what a host has once.
const MOST_WORKERS: usize = 4;

/// Has as many processes run the tests as the arguments, or the host's processors, say. One is this process.
pub(crate) fn set_workers(arguments: &mut libtest_mimic::Arguments) {
    let processors = available_parallelism().map_or(1, NonZero::get);
    // One more than processors: a test waits for processes a quarter of its time.
    let count = (processors + 1).min(MOST_WORKERS);
    let count = *arguments.test_threads.get_or_insert(count);
    IN_WORKERS.store(count > 1, Ordering::Relaxed);
}

/// Records where an assertion failed, for the summary at the end, instead of printing it.
pub(crate) fn note_failures() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        if let Ok(mut noted) = WHERE.lock() {
            *noted = place;
        }
    }));
}

/// Thrown by `skip`, caught by `trial`.
struct Skipped(String);

/// Skips the rest of the test.
pub(crate) fn skip(reason: &str) -> ! {
    resume_unwind(Box::new(Skipped(reason.to_owned())))
}

/// Skips the test under other runtimes, which behave differently for the reason given.
pub(crate) fn only_rt(reason: &str) {
    if Kind::under_test() != Kind::Rt {
        skip(&format!("only rt: {reason}"));
    }
}

/// Skips the test under one other runtime, which does something else.
pub(crate) fn differs(kind: Kind, how: &str) {
    if Kind::under_test() == kind {
        skip(&format!("{kind:?} differs: {how}"));
    }
}

thread_local! {
    /// Why the test that runs in this thread fails with the runtime under test, if that is known.
    static KNOWN_FAILURE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Expects the test to fail under one runtime, which does not what the test requires. Then it counts as skipped. If
/// it passes all the same, it counts as failed, so that what is said of the runtime stays true.
#[allow(dead_code, reason = "only the conformance tests call it")]
pub(crate) fn violates(kind: Kind, how: &str) {
    if Kind::under_test() == kind {
        KNOWN_FAILURE.set(Some(format!("{kind:?} fails: {how}")));
    }
}

/// Skips the test where a program of Debian's package `package` is not installed.
pub(crate) fn needs(program: &str, package: &str) {
    if programs::find(program).is_none() {
        skip(&format!("{program} is not installed (package {package})"));
    }
}

/// Whether the whole matrix is asked for.
pub(crate) fn is_the_matrix() -> bool {
    std::env::var("RT_TESTS").as_deref() == Ok("all")
}

/// Skips the test, which takes long, unless the whole matrix is asked for.
pub(crate) fn only_in_the_matrix() {
    if !is_the_matrix() {
        skip("RT_TESTS=all runs what takes long");
    }
}

/// Skips the test where strace(1) is not installed.
pub(crate) fn needs_strace() {
    needs("strace", "strace");
}

/// What a test does. It panics where something does not hold.
pub(super) type Body = Arc<dyn Fn() + Send + Sync>;

/// How each test that has run has ended, by its name.
#[allow(dead_code, reason = "only the conformance tests call it")]
pub(crate) fn outcomes() -> BTreeMap<String, Outcome> {
    OUTCOMES.lock().unwrap().clone()
}

/// A test named after its module and what must hold.
pub(crate) fn trial(module: &str, name: &str, body: fn()) -> Test {
    let module = module.split_once("::").map_or(module, |(_, rest)| rest);
    test(format!("{module}::{name}"), body)
}

/// A test by its whole name.
pub(crate) fn test(name: String, body: impl Fn() + Send + Sync + 'static) -> Test {
    let body: Body = Arc::new(body);
    worker::register(&name, body.clone());
    let own_name = name.clone();
    let run = move || {
        let outcome = if IN_WORKERS.load(Ordering::Relaxed) {
            worker::run(&own_name)
        } else {
            perform(&own_name, &body)
        };
        OUTCOMES.lock().unwrap().insert(own_name, outcome.clone());
        outcome
    };
    Test::new(name, run).unless(lacks())
}

/// Why no test of containers can run here.
fn lacks() -> Option<String> {
    let is_root = host::is_root();
    (!is_root).then(|| "only root can make the containers of these tests".to_owned())
}

/// Runs a test in this process.
pub(super) fn perform(name: &str, body: &Body) -> Outcome {
    if let Some(how) = differences::of_crun(name).filter(|_| Kind::under_test() == Kind::Crun) {
        return Outcome::Skipped(format!("crun differs: {how}"));
    }
    KNOWN_FAILURE.set(None);
    let outcome = match catch_unwind(AssertUnwindSafe(|| body())) {
        Ok(()) => Outcome::Passed,
        Err(payload) => match payload.downcast::<Skipped>() {
            Ok(skipped) => Outcome::Skipped(skipped.0),
            Err(payload) => Outcome::Failed(message(payload.as_ref())),
        },
    };
    match KNOWN_FAILURE.take() {
        Some(how) => expecting(how, outcome),
        None => outcome,
    }
}

/// The outcome of a test that is known to fail.
fn expecting(how: String, outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Passed => Outcome::Failed(format!("it passes, so this is no longer true: {how}")),
        Outcome::Failed(_) => Outcome::Skipped(how),
        Outcome::Skipped(reason) => Outcome::Skipped(reason),
    }
}

fn message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    let text = text.or_else(|| {
        payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
    });
    let place = WHERE.lock().map(|place| place.clone()).unwrap_or_default();
    format!("{place}: {}", text.unwrap_or_else(|| "panicked".to_owned()))
}

/// The tests of a module, in the order written: `trials![first, second]`.
macro_rules! trials {
    ($($name:ident),* $(,)?) => {
        vec![$($crate::harness::trial(module_path!(), stringify!($name), $name)),*]
    };
}
pub(crate) use trials;
