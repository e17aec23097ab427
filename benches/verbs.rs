//! The duration of each command in the lifecycle of a container, with `rt`, runc and crun.
//!
//! Usage: `cargo bench --bench verbs [-- ROUNDS] [NAME=PROGRAM...]`, as root. Each round calls each command once with
//! each runtime, so that other load on the host affects all runtimes alike. The medians are compared. Bundles and
//! state directories are on a tmpfs. `before=/path/to/rt` adds the program as it was before a change; the exit status
//! is 1 if a command takes more than 1.10 times as long as with that program.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark fails by panicking, and is there to print"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use common::Directory;

const ROUNDS: usize = 100;
/// Rounds that warm the caches and are not counted.
const WARM_UP_ROUNDS: usize = 3;
/// The largest passing ratio of the time of `rt` to that of `before`.
const MAX_RATIO: f64 = 1.10;

/// `run` has a container of its own; the other commands share one.
const VERBS: [&str; 6] = ["run", "create", "start", "exec", "state", "delete -f"];

fn main() -> ExitCode {
    if !common::is_prepared() {
        return common::reexec_in_mount_namespace();
    }
    let rounds = common::rounds(ROUNDS);
    let directory = Directory::new();
    let bundles = Bundles {
        short: common::bundle(&directory.0, "short", &["/bin/true"]),
        long: common::bundle(&directory.0, "long", &["/bin/sleep", "10000"]),
    };
    let installed = common::RUNTIMES.map(|(name, program)| (name.to_owned(), program.to_owned()));
    let mut runtimes: Vec<Runtime> = installed
        .into_iter()
        .chain(common::programs())
        .map(|(name, program)| Runtime::new(name, program, &directory.0))
        .filter_map(|runtime| runtime.check(&bundles))
        .collect();
    for i in common::shuffled_rounds(rounds + WARM_UP_ROUNDS, runtimes.len()) {
        runtimes[i].run_lifecycle(&bundles);
    }
    print!("{rounds} interleaved rounds, medians in ms\n{:10}", "");
    println!("{}", VERBS.map(|verb| format!("{verb:>11}")).concat());
    let reports: Vec<(&str, [f64; VERBS.len()])> =
        runtimes.iter_mut().map(Runtime::report).collect();
    let ours = reports[0].1;
    let mut is_slower = false;
    for (name, theirs) in &reports[1..] {
        let ratios: Vec<f64> = ours
            .iter()
            .zip(theirs)
            .map(|(our, their)| our / their)
            .collect();
        print!("rt/{name:7}");
        println!(
            "{}",
            ratios
                .iter()
                .map(|ratio| format!("{ratio:11.2}"))
                .collect::<String>()
        );
        is_slower |= *name == "before" && ratios.iter().any(|ratio| *ratio > MAX_RATIO);
    }
    ExitCode::from(u8::from(is_slower))
}

struct Bundles {
    /// Its process exits at once.
    short: PathBuf,
    /// Its process runs until the container is deleted.
    long: PathBuf,
}

struct Runtime {
    name: String,
    program: PathBuf,
    root: PathBuf,
    id: String,
    /// The durations of each command.
    durations: [Vec<Duration>; VERBS.len()],
}

impl Runtime {
    /// Copies a program that is given by its path, so that all copies are written alike: how a file was written decides
    /// the size of its folios in the page cache, and so the time of execve(2).
    fn new(name: String, program: String, directory: &Path) -> Runtime {
        let mut program = PathBuf::from(program);
        if program.is_absolute() {
            let copy = directory.join(&name);
            fs::copy(&program, &copy).unwrap();
            program = copy;
        }
        Runtime {
            root: directory.join(format!("state-{name}")),
            id: format!("bench-{name}-{}", std::process::id()),
            durations: Default::default(),
            name,
            program,
        }
    }

    /// Prints a message and returns `None` if the runtime cannot run the bundle here.
    fn check(self, bundles: &Bundles) -> Option<Runtime> {
        let mut command = self.command();
        let run = command.args(["run", "--bundle"]).arg(&bundles.short);
        let status = run.arg(&self.id).status();
        if status.is_ok_and(|status| status.success()) {
            return Some(self);
        }
        assert_ne!(self.name, "rt", "rt must be able to run the bundle");
        println!("{} is left out", self.name);
        None
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Calls each command once and records its duration.
    fn run_lifecycle(&mut self, bundles: &Bundles) {
        let id = self.id.clone();
        let (short, long) = (
            bundles.short.to_str().unwrap(),
            bundles.long.to_str().unwrap(),
        );
        let calls: [&[&str]; VERBS.len()] = [
            &["run", "--bundle", short, &id],
            &["create", "--bundle", long, &id],
            &["start", &id],
            &["exec", &id, "/bin/true"],
            &["state", &id],
            &["delete", "--force", &id],
        ];
        for (verb, call) in calls.into_iter().enumerate() {
            let mut command = self.command();
            command.args(call);
            let start = Instant::now();
            let status = command.status().unwrap();
            self.durations[verb].push(start.elapsed());
            assert!(status.success(), "{} {call:?}: {status}", self.name);
        }
    }

    fn report(&mut self) -> (&str, [f64; VERBS.len()]) {
        let medians = self.durations.each_mut().map(|durations| {
            durations.drain(..WARM_UP_ROUNDS);
            durations.sort_unstable();
            durations[durations.len() / 2].as_secs_f64() * 1000.0
        });
        let columns = medians.map(|median| format!("{median:11.2}"));
        println!("{:10}{}", self.name, columns.concat());
        (&self.name, medians)
    }
}
