//! How a test gets its name, and how it says at run time that it does not apply here.

use std::panic::{self, AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use libtest_mimic::{Completion, Failed, Trial};

use super::{Kind, differences, host, worker};

/// Where the last assertion failed.
static WHERE: Mutex<String> = Mutex::new(String::new());

/// Whether tests run in processes of their own, several at a time.
static IN_WORKERS: AtomicBool = AtomicBool::new(false);

/// Has `count` processes run the tests, or this one if it is 1.
pub(crate) fn run_in_workers(count: usize) {
    IN_WORKERS.store(count > 1, Ordering::Relaxed);
}

/// Notes where an assertion failed, for the summary at the end, and prints nothing meanwhile.
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

/// Ends the test here as skipped.
pub(crate) fn skip(reason: &str) -> ! {
    resume_unwind(Box::new(Skipped(reason.to_owned())))
}

/// Ends the test as skipped under another runtime, whose behaviour differs for the reason given.
pub(crate) fn only_rt(reason: &str) {
    if Kind::under_test() != Kind::Rt {
        skip(&format!("only rt: {reason}"));
    }
}

/// Ends the test as skipped under one other runtime, which does something else.
pub(crate) fn differs(kind: Kind, how: &str) {
    if Kind::under_test() == kind {
        skip(&format!("{kind:?} differs: {how}"));
    }
}

/// Ends the test as skipped where there is nothing that watches system calls, or makes them fail.
pub(crate) fn needs_strace() {
    if !Path::new("/usr/bin/strace").exists() {
        skip("no strace here");
    }
}

/// How a test ended.
pub(super) enum Outcome {
    Passed,
    Skipped(String),
    Failed(String),
}

/// A test named after its module and what must hold.
pub(crate) fn trial(module: &str, name: &str, test: fn()) -> Trial {
    let module = module.split_once("::").map_or(module, |(_, rest)| rest);
    let name = format!("{module}::{name}");
    worker::register(&name, test);
    Trial::ignorable_test(name.clone(), move || {
        let outcome = match IN_WORKERS.load(Ordering::Relaxed) {
            true => worker::run(&name),
            false => perform(&name, test),
        };
        match outcome {
            Outcome::Passed => Ok(Completion::Completed),
            Outcome::Skipped(reason) => Ok(Completion::ignored_with(reason)),
            Outcome::Failed(message) => Err(Failed::from(message)),
        }
    })
}

/// Runs a test in this process.
pub(super) fn perform(name: &str, test: fn()) -> Outcome {
    if !host::is_root() {
        return Outcome::Skipped("only root can make containers".to_owned());
    }
    if let Some(how) = differences::of_crun(name).filter(|_| Kind::under_test() == Kind::Crun) {
        return Outcome::Skipped(format!("crun differs: {how}"));
    }
    match catch_unwind(AssertUnwindSafe(test)) {
        Ok(()) => Outcome::Passed,
        Err(payload) => match payload.downcast::<Skipped>() {
            Ok(skipped) => Outcome::Skipped(skipped.0),
            Err(payload) => Outcome::Failed(words(payload.as_ref())),
        },
    }
}

fn words(payload: &(dyn std::any::Any + Send)) -> String {
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
