//! What `rt exec` takes: `true` in a container that runs, ours beside those of runc and crun.
//!
//! `cargo bench --bench exec [-- ROUNDS]`, as root. Each runtime has a container
//! of the same bundle, once without and once with Docker's seccomp profile. Each
//! round runs each variant once, one after the other, so that what the machine
//! does meanwhile hits them alike; of all rounds the medians are compared. The exit
//! status is 1 when ours is above half of crun's.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark fails by panicking, and is there to print"
)]

mod ground;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use ground::Directory;

const ROUNDS: usize = 300;
/// What of crun's time is enough.
const SHARE: f64 = 0.5;

fn main() -> ExitCode {
    if !ground::is_prepared() {
        return ground::in_own_view();
    }
    let rounds = ground::rounds(ROUNDS);
    let directory = Directory::new();
    let bundles = ["without", "with"];
    let bundles = bundles.map(|name| ground::bundle(&directory.0, name, &["/bin/sleep", "10000"]));
    let runtimes = ground::RUNTIMES.into_iter();
    let mut containers: Vec<Container> = runtimes
        .flat_map(|runtime| bundles.iter().map(move |bundle| (runtime, bundle)))
        .filter_map(|(runtime, bundle)| Container::run(runtime, &directory.0, bundle))
        .collect();
    let count = containers.len();
    for i in ground::turns(rounds, count) {
        containers[i].exec();
    }
    println!("{rounds} interleaved rounds of exec, in ms");
    println!("                  median  fastest");
    let medians: Vec<(&str, f64)> = containers.iter_mut().map(Container::report).collect();
    let of = |wanted: &str| medians.iter().find(|(name, _)| *name == wanted);
    match (of("rt without"), of("crun without")) {
        (Some((_, ours)), Some((_, theirs))) => {
            println!("{:.2} of crun's time", ours / theirs);
            ExitCode::from(u8::from(ours / theirs > SHARE))
        }
        _ => ExitCode::FAILURE,
    }
}

/// One that runs until it is dropped.
struct Container {
    /// `crun with`
    name: String,
    program: &'static str,
    root: PathBuf,
    id: String,
    took: Vec<Duration>,
}

impl Container {
    /// `None`, and why, where the runtime cannot run the bundle here.
    fn run(
        (runtime, program): (&'static str, &'static str),
        directory: &Path,
        bundle: &Path,
    ) -> Option<Container> {
        let with = bundle.file_name().unwrap().to_string_lossy();
        let mut container = Container {
            name: format!("{runtime} {with}"),
            program,
            root: directory.join(runtime),
            id: format!("bench-{runtime}-{with}-{}", std::process::id()),
            took: Vec::new(),
        };
        let ran = container
            .command()
            .args(["run", "--detach", "--bundle"])
            .arg(bundle)
            .arg(&container.id)
            .stdout(Stdio::null())
            .status();
        if !ran.is_ok_and(|status| status.success()) {
            assert_ne!(runtime, "rt", "ours has to run");
            println!("{} is left out", container.name);
            return None;
        }
        // The first one also warms the caches.
        container.exec();
        container.took.clear();
        Some(container)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.arg("--root").arg(&self.root).stdin(Stdio::null());
        command
    }

    fn exec(&mut self) {
        let mut command = self.command();
        command.args(["exec", &self.id, "/bin/true"]);
        let began = Instant::now();
        let status = command.status().unwrap();
        self.took.push(began.elapsed());
        assert!(status.success(), "{}: {status}", self.name);
    }

    fn report(&mut self) -> (&str, f64) {
        self.took.sort_unstable();
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let median = ms(self.took[self.took.len() / 2]);
        println!("{:14}{median:10.2}{:9.2}", self.name, ms(self.took[0]));
        (&self.name, median)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self
            .command()
            .args(["delete", "--force", &self.id])
            .status();
    }
}
