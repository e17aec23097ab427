//! The validation programs of the OCI runtime-tools, run against the runtime under test.
//!
//! `RT_RUNTIME_TOOLS=DIR cargo test --test oci-validation -- runtime_tools::` takes a built checkout of
//! opencontainers/runtime-tools: `make runtimetest validation-executables` there makes `runtimetest` and
//! `validation/NAME/NAME.t`, and rootfs-amd64.tar.gz lies beside them. As `make localvalidation` does, each program runs
//! with that directory as its working directory, and with `RUNTIME`, and writes TAP. A line for each program says what it
//! has reported.
#![allow(
    clippy::print_stdout,
    reason = "the table of programs goes to the standard output of the tests"
)]

mod exceptions;
mod samples;
mod tap;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{Kind, skip, test};
use crate::runner::Test;
use exceptions::EXCEPTIONS;
use tap::Results;

const VARIABLE: &str = "RT_RUNTIME_TOOLS";

pub(crate) fn tests() -> Vec<Test> {
    let programs = std::env::var_os(VARIABLE).map(|directory| {
        let directory = PathBuf::from(directory);
        (directory.clone(), programs(&directory))
    });
    let Some((directory, programs)) = programs else {
        let unset = || {
            skip("RT_RUNTIME_TOOLS names no directory with the programs of the OCI runtime-tools")
        };
        let mut tests = samples::tests();
        tests.push(test("runtime_tools::programs".to_owned(), unset));
        return tests;
    };
    let known: Vec<String> = programs.iter().map(|path| name_of(path)).collect();
    let of_program = |path: PathBuf| {
        let (name, directory) = (name_of(&path), directory.clone());
        test(format!("runtime_tools::programs::{name}"), move || {
            let exception = exception(EXCEPTIONS, &name);
            let results = run(&directory, &path, Kind::under_test().program());
            println!("{name:40} {}", results.row());
            check(&results, exception);
        })
    };
    let mut tests = samples::tests();
    tests.extend(programs.into_iter().map(of_program));
    tests.push(test(
        "runtime_tools::exceptions_are_of_programs".to_owned(),
        move || {
            for (program, _, _) in EXCEPTIONS {
                assert!(
                    known.iter().any(|name| name == program),
                    "{program}: no such program"
                );
            }
        },
    ));
    tests
}

/// The built programs: `validation/NAME/NAME.t`.
fn programs(directory: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(directory.join("validation"))
        .into_iter()
        .flatten()
        .flatten();
    let files =
        folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten());
    let mut programs: Vec<PathBuf> = files.map(|file| file.path()).collect();
    programs.retain(|path| path.extension().is_some_and(|extension| extension == "t"));
    programs.sort();
    assert!(
        !programs.is_empty(),
        "{VARIABLE}={}: no validation/*/*.t",
        directory.display()
    );
    programs
}

fn name_of(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// A program, the checks that fail by their descriptions (all, if there is none), and why.
type Exception = (&'static str, &'static [&'static str], &'static str);

fn exception(all: &'static [Exception], name: &str) -> Option<&'static Exception> {
    all.iter().find(|(program, _, _)| *program == name)
}

/// Runs a program to its end and reads what it writes.
fn run(directory: &Path, program: &Path, runtime: &str) -> Results {
    let output = Command::new(program)
        .current_dir(directory)
        .env("RUNTIME", runtime)
        .stdin(Stdio::null())
        .output();
    let output = output.unwrap_or_else(|e| panic!("{}: {e}", program.display()));
    let mut results = tap::read(&String::from_utf8_lossy(&output.stdout));
    if !output.status.success() {
        results.problems.push(format!(
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    results
}

/// Fails unless the checks fail that the exception names, and no others.
fn check(results: &Results, exception: Option<&Exception>) {
    let row = results.row();
    let Some((_, checks, reason)) = exception else {
        assert!(
            results.failed.is_empty() && results.problems.is_empty(),
            "{row}\n{}",
            results.reasons()
        );
        if results.passed == 0 {
            skip(&format!(
                "the program of the runtime-tools skips itself: {}",
                results.skipped.join("; ")
            ));
        }
        return;
    };
    if results.failed.is_empty() && results.problems.is_empty() {
        panic!("{row}: it passes, so this is no longer true: {reason}");
    }
    let is_expected =
        |name: &String| checks.is_empty() || checks.iter().any(|check| name.contains(check));
    let others: Vec<&String> = results
        .failed
        .iter()
        .filter(|name| !is_expected(name))
        .collect();
    assert!(
        others.is_empty(),
        "{row}: not among the exceptions: {others:?}"
    );
    for check in *checks {
        let fails = results.failed.iter().any(|name| name.contains(check));
        assert!(
            fails,
            "{row}: it passes, so this is no longer true: {check}: {reason}"
        );
    }
    skip(&format!("a known exception: {reason} ({row})"));
}
