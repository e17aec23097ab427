//! One feature of one engine: what it is called, how it is driven, and what of it counts.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, RwLock};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::ground::Runtime;

/// A test. Several run at a time, so each names what it makes after itself.
pub(crate) struct Feature {
    /// `docker::exec_tty`.
    pub(crate) name: String,
    /// Panics where the feature does not work with this runtime.
    pub(crate) drive: Box<dyn Fn(Runtime) + Send>,
    /// Why the engine cannot be had here.
    pub(crate) lacking: Option<String>,
}

/// Engine to the number of features that each runtime passes, all, and those that `rt` passed
/// only when they were driven again.
type Counts = BTreeMap<String, [usize; 4]>;

/// Runs those that are asked for, and closes with the counts.
pub(crate) fn run(arguments: &Arguments, features: Vec<Feature>) -> ExitCode {
    let counts = Arc::new(Mutex::new(Counts::new()));
    let trials = features.into_iter().map(|feature| {
        let counts = counts.clone();
        let name = feature.name.clone();
        Trial::ignorable_test(name, move || match &feature.lacking {
            Some(reason) => Ok(Completion::ignored_with(reason.clone())),
            None => compare(&feature, &counts),
        })
    });
    let conclusion = libtest_mimic::run(arguments, trials.collect());
    for (engine, [rt, runc, all, again]) in counts.lock().unwrap().iter() {
        println!("{engine}: rt passes {rt} of {all} ({again} the second time), runc {runc}");
    }
    conclusion.exit_code()
}

/// Written by who needs the machine for itself.
static MACHINE: RwLock<()> = RwLock::new(());

/// An engine has races of its own, which strike one runtime or the other, on a busy machine more often. So
/// what only `rt` fails is driven with it once more, alone, and said; what it fails twice is its own failure.
fn compare(feature: &Feature, counts: &Mutex<Counts>) -> Result<Completion, Failed> {
    let [mut ours, theirs] = {
        let _shared = MACHINE.read().unwrap();
        Runtime::BOTH.map(|runtime| drive(feature, runtime))
    };
    let mut again = false;
    if let (Err(why), Ok(())) = (&ours, &theirs) {
        eprintln!("{}: rt fails the first time: {why}", feature.name);
        let _alone = MACHINE.write().unwrap();
        ours = drive(feature, Runtime::Rt);
        again = ours.is_ok();
    }
    let engine = feature.name.split("::").next().unwrap_or_default();
    let mut counts = counts.lock().unwrap();
    let [rt, runc, all, second] = counts.entry(engine.to_owned()).or_default();
    *rt += usize::from(ours.is_ok());
    *runc += usize::from(theirs.is_ok());
    *all += 1;
    *second += usize::from(again);
    match (ours, theirs) {
        (Ok(()), Ok(())) => Ok(Completion::Completed),
        (Ok(()), Err(why)) => {
            eprintln!("{}: runc fails: {why}", feature.name);
            Ok(Completion::Completed)
        }
        (Err(why), Ok(())) => Err(Failed::from(why)),
        (Err(ours), Err(why)) => {
            let why = why.lines().next().unwrap_or_default();
            eprintln!("{}: rt fails: {ours}", feature.name);
            Ok(Completion::ignored_with(format!("runc fails too: {why}")))
        }
    }
}

/// Why it fails, if it does.
fn drive(feature: &Feature, runtime: Runtime) -> Result<(), String> {
    let driven = catch_unwind(AssertUnwindSafe(|| (feature.drive)(runtime)));
    driven.map_err(|panic| said(&*panic))
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}

/// Why no engine is tested in this run at all.
pub(crate) fn lacking() -> Option<String> {
    if std::env::var("RT_TESTS").as_deref() != Ok("all") {
        return Some("RT_TESTS=all starts the engines".to_owned());
    }
    let root = nix::unistd::geteuid().is_root();
    (!root).then(|| "only root can start the engines".to_owned())
}

/// Whether one of the features of `engine` is asked for: only then its daemons start.
pub(crate) fn is_wanted(arguments: &Arguments, engine: &str, names: &[&str]) -> bool {
    let fits = |name: &&str| {
        let name = format!("{engine}::{name}");
        let fits = |filter: &String| match arguments.exact {
            true => name == *filter,
            false => name.contains(filter.as_str()),
        };
        !arguments.skip.iter().any(fits) && arguments.filter.as_ref().is_none_or(fits)
    };
    !arguments.list && names.iter().any(fits)
}
