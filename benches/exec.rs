//! The duration of `exec` of `true` in a running container, with `rt`, runc and crun.
//!
//! Usage: `cargo bench --bench exec [-- ROUNDS]`, as root. Each runtime has two containers of the same bundle, without
//! and with Docker's seccomp profile. Each round runs each variant once, so that other load on the host affects all
//! variants alike. The medians are compared. The exit status is 1 if `rt` takes more than half of crun's time.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark fails by panicking, and is there to print"
)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use common::Directory;

const ROUNDS: usize = 300;
/// The largest passing ratio of the time of `rt` to that of crun.
const MAX_RATIO: f64 = 0.5;

fn main() -> ExitCode {
    if !common::is_prepared() {
        return common::reexec_in_namespaces(&[], "");
    }
    let rounds = common::rounds(ROUNDS);
    let directory = Directory::new();
    let bundles = ["without", "with"];
    let bundles = bundles.map(|name| common::bundle(&directory.0, name, &["/bin/sleep", "10000"]));
    let runtimes = common::RUNTIMES.into_iter();
    let mut containers: Vec<Container> = runtimes
        .flat_map(|runtime| bundles.iter().map(move |bundle| (runtime, bundle)))
        .filter_map(|(runtime, bundle)| Container::start(runtime, &directory.0, bundle))
        .collect();
    let count = containers.len();
    for i in common::shuffled_rounds(rounds, count) {
        containers[i].exec();
    }
    println!("{rounds} interleaved rounds of exec, in ms");
    println!("                  median  fastest");
    let medians: Vec<(&str, f64)> = containers.iter_mut().map(Container::report).collect();
    let find = |wanted: &str| medians.iter().find(|(name, _)| *name == wanted);
    match (find("rt without"), find("crun without")) {
        (Some((_, rt)), Some((_, crun))) => {
            println!("{:.2} of crun's time", rt / crun);
            ExitCode::from(u8::from(rt / crun > MAX_RATIO))
        }
        _ => ExitCode::FAILURE,
    }
}

/// A running container. Dropping it deletes it.
struct Container {
    /// For example `crun with`.
    name: String,
    program: &'static str,
    root: PathBuf,
    id: String,
    durations: Vec<Duration>,
}

impl Container {
    /// Starts the container. Prints the reason and returns `None` if the runtime cannot run the bundle here.
    fn start(
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
            durations: Vec::new(),
        };
        let status = container
            .command()
            .args(["run", "--detach", "--bundle"])
            .arg(bundle)
            .arg(&container.id)
            .stdout(Stdio::null())
            .status();
        if !status.is_ok_and(|status| status.success()) {
            assert_ne!(runtime, "rt", "rt must be able to run the bundle");
            println!("{} is left out", container.name);
            return None;
        }
        // The first call warms the caches and is not counted.
        container.exec();
        container.durations.clear();
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
        let start = Instant::now();
        let status = command.status().unwrap();
        self.durations.push(start.elapsed());
        assert!(status.success(), "{}: {status}", self.name);
    }

    fn report(&mut self) -> (&str, f64) {
        self.durations.sort_unstable();
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let median = ms(self.durations[self.durations.len() / 2]);
        println!("{:14}{median:10.2}{:9.2}", self.name, ms(self.durations[0]));
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
