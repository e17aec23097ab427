//! What a seccomp profile costs: the same container with and without Docker's.
//!
//! `cargo bench --bench seccomp [-- ROUNDS]`, as root. Each round runs each
//! variant once, one after the other, so that what the machine does meanwhile
//! hits them alike; of all rounds the medians are compared. runc and crun are measured
//! beside ours where they are installed. The exit status is 1 when our
//! difference is a millisecond or more.
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

const ROUNDS: usize = 200;
/// What the difference must stay below.
const LIMIT: Duration = Duration::from_millis(1);

fn main() -> ExitCode {
    if !ground::is_prepared() {
        return ground::in_own_view();
    }
    let rounds = ground::rounds(ROUNDS);
    let directory = Directory::new();
    let bundles = ["without", "with"];
    let bundles = bundles.map(|name| ground::bundle(&directory.0, name, &["/bin/true"]));
    let mut runtimes: Vec<Runtime> = ground::RUNTIMES
        .into_iter()
        .filter_map(|(name, program)| Runtime::tried(name, program, &directory.0, &bundles))
        .collect();
    let variants = 2 * runtimes.len();
    for i in ground::turns(rounds, variants) {
        let (runtime, with) = (&mut runtimes[i / 2], i % 2);
        let took = runtime.run(&bundles[with]).expect("it ran before");
        runtime.took[with].push(took);
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
    /// Without a profile, and with one.
    took: [Vec<Duration>; 2],
}

impl Runtime {
    /// `None`, and why, if it cannot run both bundles here.
    fn tried(
        name: &'static str,
        program: &'static str,
        directory: &Path,
        bundles: &[PathBuf; 2],
    ) -> Option<Runtime> {
        let runtime = Runtime {
            name,
            program,
            root: directory.join(name),
            took: Default::default(),
        };
        // The first runs also warm the caches.
        let tried = bundles.iter().map(|bundle| runtime.run(bundle));
        match tried.collect::<Result<Vec<_>, _>>() {
            Ok(_) => Some(runtime),
            Err(why) if name == "rt" => panic!("rt: {why}"),
            Err(why) => {
                println!("{name} is left out: {}", why.trim_end());
                None
            }
        }
    }

    fn run(&self, bundle: &Path) -> Result<Duration, String> {
        let began = Instant::now();
        let output = Command::new(self.program)
            .arg("--root")
            .arg(&self.root)
            .args(["run", "--bundle"])
            .arg(bundle)
            .arg(format!("bench-{}", std::process::id()))
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        let took = began.elapsed();
        match output.status.success() {
            true => Ok(took),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Prints a line, and returns the difference of the medians.
    fn report(&mut self) -> Duration {
        self.took.iter_mut().for_each(|took| took.sort_unstable());
        let at = |i: usize| self.took.each_ref().map(|took| took[i]);
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let [without, with] = at(self.took[0].len() / 2);
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
