//! What people get beside the program: manual pages, completions, `make install`, a Debian package.
//!
//! `RT_TESTS=all` adds the package in a fresh Debian of its own, which has to be fetched.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, and calls what it tests"
)]

mod clean;
mod completions;
mod debian;
mod installed;
mod pages;

use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// Passes, or says why it cannot be tried here.
type Test = fn() -> Result<(), String>;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(1);
    let tests = [
        pages::tests(),
        completions::tests(),
        installed::tests(),
        debian::tests(),
        clean::tests(),
    ];
    let trials = tests.into_iter().flatten().map(|(name, test)| {
        Trial::ignorable_test(name, move || {
            let done = catch_unwind(AssertUnwindSafe(test));
            match done.map_err(|_| Failed::without_message())? {
                Ok(()) => Ok(Completion::Completed),
                Err(reason) => Ok(Completion::ignored_with(reason)),
            }
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    drop(fs::remove_dir_all(top()));
    conclusion.exit_code()
}

/// A directory of this run.
fn top() -> PathBuf {
    env::temp_dir().join(format!("rt-package-{}", std::process::id()))
}

/// What `make` leaves, made with the program and the profile of this run.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let program = Path::new(env!("CARGO_BIN_EXE_rt"));
        let place = top().join("dist");
        fs::create_dir_all(&place).unwrap();
        // As it ships, whatever the profile: what is of use to a debugger makes a large package.
        run(Command::new("strip")
            .arg("-o")
            .arg(place.join("rt"))
            .arg(program));
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["run", "--quiet", "--example", "pages"]);
        if program.parent().unwrap().ends_with("release") {
            cargo.arg("--release");
        }
        run(cargo
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .arg("--")
            .arg(&place));
        place
    })
}

/// Runs to the end, which must be good; what it has said.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output();
    let output = output.unwrap_or_else(|e| panic!("start {command:?}: {e}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}{errors}");
    said
}

#[track_caller]
fn make(words: &[&str]) -> String {
    let mut make = Command::new("make");
    make.current_dir(env!("CARGO_MANIFEST_DIR")).args(words);
    run(make.arg(format!("DIST={}", built().display())))
}

/// # Errors
/// When there is no such program on this machine.
fn need(program: &str) -> Result<(), String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).any(|place| place.join(program).exists());
    found
        .then_some(())
        .ok_or_else(|| format!("no {program} here"))
}

/// The verbs that the help names.
fn verbs() -> Vec<String> {
    let help = run(Command::new(env!("CARGO_BIN_EXE_rt")).arg("--help"));
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.split_whitespace().next());
    let names: Vec<String> = names.map(str::to_owned).collect();
    assert!(names.len() > 9, "{help}");
    names
}

/// The long flags that the help of a verb names; those of the program for none.
fn flags(verb: Option<&str>) -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rt"));
    let help = run(command.args(verb).arg("--help"));
    let words = help.lines().filter_map(|line| {
        let line = line.trim_start();
        let flag = line.split_whitespace().find(|word| word.starts_with("--"));
        flag.filter(|_| line.starts_with('-')).map(str::to_owned)
    });
    words.collect()
}

/// Every file and directory below, with its mode: `755 usr/bin/rt`.
fn tree(top: &Path) -> Vec<String> {
    let said = run(Command::new("find")
        .arg(top)
        .args(["-mindepth", "1", "-printf", "%m %P\n"]));
    let mut all: Vec<String> = said.lines().map(str::to_owned).collect();
    all.sort();
    all
}
