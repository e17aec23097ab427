//! How long each command takes: a container's whole life with `rt`, crun and runc.
//!
//! `cargo bench --bench verbs [-- ROUNDS] [NAME=PROGRAM...] [--plot FILE]`, as root.
//! In each round each runtime runs, creates, starts, enters, queries and deletes one
//! container. The runtimes take turns, so that other load on the host affects them alike.
//! The medians of all rounds are compared. Bundles and states are on a tmpfs.
//!
//! `before=/path/to/rt` adds an earlier build of `rt`: the exit status is 1 when a
//! command takes more than 1.10 times as long as with that build. `--plot FILE` writes
//! the medians to FILE as an SVG and prints them as a Markdown table.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark fails by panicking, and is there to print"
)]

mod common;
mod plot;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use common::Directory;

const ROUNDS: usize = 100;
/// Rounds before the counted ones, which warm the caches.
const WARM_UP: usize = 3;
/// The largest ratio to the time of the earlier build that passes.
const MAX_RATIO: f64 = 1.10;

/// `run` has a container of its own, the others share one.
const COMMANDS: [&str; 6] = ["run", "create", "start", "exec", "state", "delete -f"];

fn main() -> ExitCode {
    if !common::is_prepared() {
        return common::reexec_in_namespaces(&[], "");
    }
    let rounds = common::rounds(ROUNDS);
    let directory = Directory::new();
    let bundles = Bundles {
        short: common::bundle(&directory.0, "short", &["/bin/true"]),
        long: common::bundle(&directory.0, "long", &["/bin/sleep", "10000"]),
    };
    let known = common::RUNTIMES.map(|(name, program)| (name.to_owned(), program.to_owned()));
    let mut runtimes: Vec<Runtime> = known
        .into_iter()
        .chain(common::programs())
        .map(|(name, program)| Runtime::new(name, program, &directory.0))
        .filter_map(|runtime| runtime.if_it_runs(&bundles))
        .collect();
    for i in common::shuffled_rounds(rounds + WARM_UP, runtimes.len()) {
        runtimes[i].run_round(&bundles);
    }
    print!("{rounds} interleaved rounds, medians in ms\n{:10}", "");
    println!("{}", COMMANDS.map(|name| format!("{name:>11}")).concat());
    let reports: Vec<(&str, [f64; COMMANDS.len()])> =
        runtimes.iter_mut().map(Runtime::report).collect();
    if let Some(path) = plot_path() {
        let measured: Vec<plot::Series> = reports
            .iter()
            .map(|(name, medians)| (*name, medians.as_slice()))
            .collect();
        let title = format!("Milliseconds per command, median of {rounds} rounds");
        fs::write(&path, plot::svg(&COMMANDS, &measured, &title)).unwrap();
        println!("{}", plot::table(&COMMANDS, &measured));
    }
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

/// The file that follows `--plot` on the command line.
fn plot_path() -> Option<PathBuf> {
    let mut arguments = std::env::args_os().skip_while(|argument| argument != "--plot");
    arguments.next()?;
    Some(arguments.next().expect("--plot takes a file").into())
}

struct Bundles {
    /// Its process ends at once.
    short: PathBuf,
    /// Its process runs until it is deleted.
    long: PathBuf,
}

struct Runtime {
    name: String,
    program: PathBuf,
    root: PathBuf,
    id: String,
    /// For each command, the time of each round.
    took: [Vec<Duration>; COMMANDS.len()],
}

impl Runtime {
    /// Copies a program that is given by its path: how a file was written decides in what
    /// folios the page cache holds it, which changes the time of a start.
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
            took: Default::default(),
            name,
            program,
        }
    }

    /// Runs the bundle once. Prints a note and returns `None` when the runtime cannot run it.
    fn if_it_runs(self, bundles: &Bundles) -> Option<Runtime> {
        let mut command = self.command();
        let run = command.args(["run", "--bundle"]).arg(&bundles.short);
        let ran = run.arg(&self.id).status();
        if ran.is_ok_and(|status| status.success()) {
            return Some(self);
        }
        assert_ne!(self.name, "rt", "rt has to run");
        println!("{} is left out", self.name);
        None
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Runs one container to its end, and creates, uses and deletes another.
    fn run_round(&mut self, bundles: &Bundles) {
        let id = self.id.clone();
        let (short, long) = (
            bundles.short.to_str().unwrap(),
            bundles.long.to_str().unwrap(),
        );
        let calls: [&[&str]; COMMANDS.len()] = [
            &["run", "--bundle", short, &id],
            &["create", "--bundle", long, &id],
            &["start", &id],
            &["exec", &id, "/bin/true"],
            &["state", &id],
            &["delete", "--force", &id],
        ];
        for (command_index, call) in calls.into_iter().enumerate() {
            let mut command = self.command();
            command.args(call);
            let began = Instant::now();
            let status = command.status().unwrap();
            self.took[command_index].push(began.elapsed());
            assert!(status.success(), "{} {call:?}: {status}", self.name);
        }
    }

    fn report(&mut self) -> (&str, [f64; COMMANDS.len()]) {
        let medians = self.took.each_mut().map(|took| {
            took.drain(..WARM_UP);
            took.sort_unstable();
            took[took.len() / 2].as_secs_f64() * 1000.0
        });
        let columns = medians.map(|median| format!("{median:11.2}"));
        println!("{:10}{}", self.name, columns.concat());
        (&self.name, medians)
    }
}
