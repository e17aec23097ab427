//! What each verb takes: a container's whole life, ours beside that of runc and crun.
//!
//! `cargo bench --bench verbs [-- ROUNDS] [NAME=PROGRAM...]`, as root. Each round
//! runs, creates, starts, enters, asks and deletes one container with each runtime,
//! one runtime after the other, so that what the machine does meanwhile hits them
//! alike; of all rounds the medians are compared. Bundles and states lie on a
//! tmpfs. `before=/path/to/rt` adds the program of before a change: the exit
//! status is 1 when a verb takes more than 1.10 times as long as with that one.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark fails by panicking, and is there to print"
)]

mod ground;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use ground::Directory;

const ROUNDS: usize = 100;
/// Rounds that are not counted: they warm the caches.
const WARMING: usize = 3;
/// What of the time of before is allowed.
const SHARE: f64 = 1.10;

/// The first one has a container of its own, the others share one.
const VERBS: [&str; 6] = ["run", "create", "start", "exec", "state", "delete -f"];

fn main() -> ExitCode {
    if !ground::is_prepared() {
        return ground::in_own_view();
    }
    let rounds = ground::rounds(ROUNDS);
    let directory = Directory::new();
    let bundles = Bundles {
        short: ground::bundle(&directory.0, "short", &["/bin/true"]),
        long: ground::bundle(&directory.0, "long", &["/bin/sleep", "10000"]),
    };
    let known = ground::RUNTIMES.map(|(name, program)| (name.to_owned(), program.to_owned()));
    let mut runtimes: Vec<Runtime> = known
        .into_iter()
        .chain(ground::programs())
        .map(|(name, program)| Runtime::new(name, program, &directory.0))
        .filter_map(|runtime| runtime.tried(&bundles))
        .collect();
    for i in ground::turns(rounds + WARMING, runtimes.len()) {
        runtimes[i].live(&bundles);
    }
    print!("{rounds} interleaved rounds, medians in ms\n{:10}", "");
    println!("{}", VERBS.map(|verb| format!("{verb:>11}")).concat());
    let reports: Vec<(&str, [f64; VERBS.len()])> =
        runtimes.iter_mut().map(Runtime::report).collect();
    let ours = reports[0].1;
    let mut is_slower = false;
    for (name, theirs) in &reports[1..] {
        let shares: Vec<f64> = ours
            .iter()
            .zip(theirs)
            .map(|(our, their)| our / their)
            .collect();
        print!("rt/{name:7}");
        println!(
            "{}",
            shares
                .iter()
                .map(|share| format!("{share:11.2}"))
                .collect::<String>()
        );
        is_slower |= *name == "before" && shares.iter().any(|share| *share > SHARE);
    }
    ExitCode::from(u8::from(is_slower))
}

struct Bundles {
    /// Ends at once.
    short: PathBuf,
    /// Runs until it is deleted.
    long: PathBuf,
}

struct Runtime {
    name: String,
    program: PathBuf,
    root: PathBuf,
    id: String,
    /// For each verb.
    took: [Vec<Duration>; VERBS.len()],
}

impl Runtime {
    /// A program that is named by its path is copied: how a file came to be decides
    /// in what pieces the kernel holds it, and so what a start takes.
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

    /// `None`, and why, where it cannot run the bundle here.
    fn tried(self, bundles: &Bundles) -> Option<Runtime> {
        let mut command = self.command();
        let run = command.args(["run", "--bundle"]).arg(&bundles.short);
        let ran = run.arg(&self.id).status();
        if ran.is_ok_and(|status| status.success()) {
            return Some(self);
        }
        assert_ne!(self.name, "rt", "ours has to run");
        println!("{} is left out", self.name);
        None
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// One container that ends at once, and one that is deleted.
    fn live(&mut self, bundles: &Bundles) {
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
            let began = Instant::now();
            let status = command.status().unwrap();
            self.took[verb].push(began.elapsed());
            assert!(status.success(), "{} {call:?}: {status}", self.name);
        }
    }

    fn report(&mut self) -> (&str, [f64; VERBS.len()]) {
        let medians = self.took.each_mut().map(|took| {
            took.drain(..WARMING);
            took.sort_unstable();
            took[took.len() / 2].as_secs_f64() * 1000.0
        });
        let words = medians.map(|median| format!("{median:11.2}"));
        println!("{:10}{}", self.name, words.concat());
        (&self.name, medians)
    }
}
