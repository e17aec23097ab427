//! What only another machine can show: cgroup v2 with all its controllers, AppArmor, limits that root may raise.
//!
//! `RT_TESTS=all cargo test --test vm` boots a virtual machine once, runs the suite's binary in it with some
//! filters, and gives each of its tests a line here, in its order and as soon as it is known. See `boot` for
//! the machine.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and asks the environment"
)]

mod guest;

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde_json::Value;

use guest::{Guest, Outcome};

/// A runtime and which of the suite's tests it goes through.
const RUNS: [(&str, &str); 12] = [
    ("rt", "managers::"),
    ("rt", "cgroups::"),
    ("rt", "pause::"),
    ("rt", "update::"),
    ("rt", "apparmor::"),
    ("rt", "takes_cap_sys_resource"),
    // That nothing else is different: an older kernel, another version of cgroups.
    ("rt", "lifecycle::run_"),
    ("rt", "lifecycle::delete_"),
    ("rt", "lifecycle::kill::"),
    // What no other machine shows of runc.
    ("runc", "managers::cri_systemd_rich"),
    ("runc", "managers::docker_systemd"),
    ("runc", "managers::podman_systemd"),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let Some(suite) = suite() else {
        eprintln!("vm: the suite is not built");
        return ExitCode::FAILURE;
    };
    let lacking = lacking();
    let mut calls = Vec::new();
    let mut tests = Vec::new();
    for (runtime, filter) in RUNS {
        let names = list(&suite, filter);
        if names.is_empty() {
            eprintln!("vm: the suite has no {filter} any more");
            return ExitCode::FAILURE;
        }
        let of_run = names.iter().map(|name| format!("{runtime}::{name}"));
        let of_run: Vec<String> = of_run.collect();
        let is_wanted = |test: &&String| is_wanted(&arguments, test);
        let wanted: Vec<&String> = of_run.iter().filter(is_wanted).collect();
        if wanted.len() == of_run.len() {
            calls.push((runtime, filter.to_owned()));
        } else {
            let name = |test: &String| test[runtime.len() + 2..].to_owned();
            let call = |test: &&String| (runtime, format!("--exact {}", name(test)));
            calls.extend(wanted.iter().map(call));
        }
        tests.extend(of_run);
    }
    let guest = Arc::new(Mutex::new(Guest::new(&suite, calls)));
    let trial = |name: String| {
        let (guest, lacking) = (guest.clone(), lacking.clone());
        Trial::ignorable_test(name.clone(), move || match lacking {
            Some(reason) => Ok(Completion::ignored_with(reason)),
            None => ended(guest.lock().unwrap().outcome(&name)),
        })
    };
    let trials = tests.into_iter().map(trial).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn ended(outcome: Outcome) -> Result<Completion, Failed> {
    match outcome {
        Outcome::Passed => Ok(Completion::Completed),
        Outcome::Skipped(reason) => Ok(Completion::ignored_with(reason)),
        Outcome::Failed(message) => Err(Failed::from(message)),
    }
}

/// As libtest-mimic will decide.
fn is_wanted(arguments: &Arguments, test: &str) -> bool {
    let fits = |filter: &String| match arguments.exact {
        true => test == filter,
        false => test.contains(filter),
    };
    let skipped = arguments.skip.iter().any(fits);
    !skipped && arguments.filter.as_ref().is_none_or(fits)
}

/// Why there will be no virtual machine.
fn lacking() -> Option<String> {
    if env::var("RT_TESTS").as_deref() != Ok("all") {
        return Some("RT_TESTS=all boots a virtual machine for it".to_owned());
    }
    if !nix::unistd::geteuid().is_root() {
        return Some("only root can show the machine all files".to_owned());
    }
    let checked = Command::new(guest::BOOT).arg("--check").output();
    let checked = checked.unwrap_or_else(|e| panic!("start {}: {e}", guest::BOOT));
    let reason = String::from_utf8_lossy(&checked.stdout).trim().to_owned();
    (!checked.status.success()).then_some(reason)
}

/// The suite's binary, as cargo has built it for this run.
fn suite() -> Option<String> {
    let release = Path::new(env!("CARGO_BIN_EXE_rt"))
        .parent()?
        .ends_with("release");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(cargo);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["test", "--quiet", "--no-run", "--test", "suite"]);
    cargo.args(["--message-format", "json"]);
    cargo.args(release.then_some("--release"));
    let built = cargo.output().ok().filter(|built| built.status.success())?;
    let messages = String::from_utf8_lossy(&built.stdout).into_owned();
    let messages = messages.lines().map(serde_json::from_str::<Value>);
    let mut executables = messages.filter_map(|message| {
        let message = message.ok()?;
        let is_suite = message["target"]["name"] == "suite";
        let path = message["executable"].as_str().filter(|_| is_suite)?;
        Some(path.to_owned())
    });
    executables.next()
}

/// The names of the suite's tests that a filter lets through.
fn list(suite: &str, filter: &str) -> Vec<String> {
    let listed = Command::new(suite).args(["--list", filter]).output();
    let listed = listed.unwrap_or_else(|e| panic!("start {suite}: {e}"));
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let names = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"));
    names
        .filter(|name| name.contains(filter))
        .map(str::to_owned)
        .collect()
}
