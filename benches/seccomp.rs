//! The cost of a seccomp profile: the same container with and without Docker's profile.
//!
//! Usage: `cargo bench --bench seccomp [-- ROUNDS]`, as root. Each round runs each variant once, so that other load on
//! the host affects all variants alike. The medians are compared. runc and crun are measured too if they are
//! installed. The exit status is 1 if the profile costs `rt` half a millisecond or more.
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

const ROUNDS: usize = 200;
/// The difference must be below this limit.
const LIMIT: Duration = Duration::from_micros(500);

fn main() -> ExitCode {
    if !common::is_prepared() {
        return common::reexec_in_namespaces(&[], "");
    }
    let rounds = common::rounds(ROUNDS);
    let directory = Directory::new();
    let bundles = ["without", "with"];
    let bundles = bundles.map(|name| common::bundle(&directory.0, name, &["/bin/true"]));
    let mut runtimes: Vec<Runtime> = common::RUNTIMES
        .into_iter()
        .filter_map(|(name, program)| Runtime::try_new(name, program, &directory.0, &bundles))
        .collect();
    let variants = 2 * runtimes.len();
    for i in common::shuffled_rounds(rounds, variants) {
        let (runtime, with) = (&mut runtimes[i / 2], i % 2);
        let took = runtime.run(&bundles[with]).expect("it ran before");
        runtime.durations[with].push(took);
    }
    println!("{rounds} interleaved runs without and with Docker's profile, in ms");
    println!("       medians           difference        fastest           difference");
    let differences: Vec<Duration> = runtimes.iter_mut().map(Runtime::report).collect();
    ExitCode::from(u8::from(differences[0] >= LIMIT))
}

struct Runtime {
    name: &'static str,
    program: &'static str,
    root: PathBuf,
    /// The durations without and with a profile.
    durations: [Vec<Duration>; 2],
}

impl Runtime {
    /// Prints the reason and returns `None` if the runtime cannot run both bundles here.
    fn try_new(
        name: &'static str,
        program: &'static str,
        directory: &Path,
        bundles: &[PathBuf; 2],
    ) -> Option<Runtime> {
        let runtime = Runtime {
            name,
            program,
            root: directory.join(name),
            durations: Default::default(),
        };
        // These runs also warm the caches.
        let results = bundles.iter().map(|bundle| runtime.run(bundle));
        match results.collect::<Result<Vec<_>, _>>() {
            Ok(_) => Some(runtime),
            Err(why) if name == "rt" => panic!("rt: {why}"),
            Err(why) => {
                println!("{name} is left out: {}", why.trim_end());
                None
            }
        }
    }

    fn run(&self, bundle: &Path) -> Result<Duration, String> {
        let start = Instant::now();
        let output = Command::new(self.program)
            .arg("--root")
            .arg(&self.root)
            .args(["run", "--bundle"])
            .arg(bundle)
            .arg(format!("bench-{}", std::process::id()))
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        let took = start.elapsed();
        if output.status.success() {
            Ok(took)
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Prints the runtime's line and returns the difference of its medians.
    fn report(&mut self) -> Duration {
        self.durations
            .iter_mut()
            .for_each(|durations| durations.sort_unstable());
        let at = |i: usize| self.durations.each_ref().map(|durations| durations[i]);
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let [without, with] = at(self.durations[0].len() / 2);
        let [fastest_without, fastest_with] = at(0);
        println!(
            "{:6}{:9.2}{:9.2}{:12.2}{:15.2}{:9.2}{:12.2}",
            self.name,
            ms(without),
            ms(with),
            ms(with) - ms(without),
            ms(fastest_without),
            ms(fastest_with),
            ms(fastest_with) - ms(fastest_without),
        );
        with.saturating_sub(without)
    }
}
