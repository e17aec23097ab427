//! Manual pages, shell completions, `make install`, and the Debian package.
//!
//! `RT_TESTS=all` also installs the package in a new Debian system, which debootstrap downloads.
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
#[path = "../runner/programs.rs"]
mod programs;
#[allow(
    dead_code,
    reason = "tests of the package know only when they run what they lack"
)]
#[path = "../runner/mod.rs"]
mod runner;

use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;

use libtest_mimic::Arguments;

use runner::Outcome;

/// A test. `Err` is the reason why it is skipped.
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
    let tests = tests.into_iter().flatten().map(|(name, test)| {
        runner::Test::new(name.to_owned(), move || {
            match catch_unwind(AssertUnwindSafe(test)) {
                Ok(Ok(())) => Outcome::Passed,
                Ok(Err(reason)) => Outcome::Skipped(reason),
                // The assertion has printed its message.
                Err(_) => Outcome::Failed(String::new()),
            }
        })
    });
    let status = runner::run("package", arguments, tests.collect());
    drop(fs::remove_dir_all(run_directory()));
    status
}

/// The temporary directory of this run.
fn run_directory() -> PathBuf {
    env::temp_dir().join(format!("rt-package-{}", std::process::id()))
}

/// The directory that `make` would fill, with the program of this run.
fn dist() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let program = Path::new(env!("CARGO_BIN_EXE_rt"));
        let destdir = run_directory().join("dist");
        fs::create_dir_all(&destdir).unwrap();
        // Strip the program, as in a release: debug information would make the package large.
        run(Command::new("strip")
            .arg("-o")
            .arg(destdir.join("rt"))
            .arg(program));
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["run", "--quiet", "--example", "pages"]);
        if program.parent().unwrap().ends_with("release") {
            cargo.arg("--release");
        }
        run(cargo
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .arg("--")
            .arg(&destdir));
        destdir
    })
}

/// Runs a command and returns its standard output. Panics unless the command succeeds.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output();
    let output = output.unwrap_or_else(|e| panic!("start {command:?}: {e}"));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stdout}{stderr}");
    stdout
}

#[track_caller]
fn make(args: &[&str]) -> String {
    let mut make = Command::new("make");
    make.current_dir(env!("CARGO_MANIFEST_DIR")).args(args);
    run(make.arg(format!("DIST={}", dist().display())))
}

/// # Errors
/// When the program is not installed.
fn require_program(program: &str) -> Result<(), String> {
    let found = programs::find(program).map(drop);
    found.ok_or_else(|| {
        let package = if program == "man" { "man-db" } else { program };
        format!("{program} is not installed (package {package})")
    })
}

/// The commands that `rt --help` lists.
fn verbs() -> Vec<String> {
    let help = run(Command::new(env!("CARGO_BIN_EXE_rt")).arg("--help"));
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.split_whitespace().next());
    let names: Vec<String> = names.map(str::to_owned).collect();
    assert!(names.len() > 9, "{help}");
    names
}

/// The long flags in the help of a command, or in the help of the program for `None`.
fn flags(verb: Option<&str>) -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rt"));
    let help = run(command.args(verb).arg("--help"));
    let flags = help.lines().filter_map(|line| {
        let line = line.trim_start();
        let flag = line.split_whitespace().find(|word| word.starts_with("--"));
        flag.filter(|_| line.starts_with('-')).map(str::to_owned)
    });
    flags.collect()
}

/// All files and directories below `top` with their modes, as `755 usr/bin/rt`.
fn list_files(top: &Path) -> Vec<String> {
    let output = run(Command::new("find")
        .arg(top)
        .args(["-mindepth", "1", "-printf", "%m %P\n"]));
    let mut all: Vec<String> = output.lines().map(str::to_owned).collect();
    all.sort();
    all
}
