//! How long `rt run` takes without and with a network, beside the kernel's part of it.
//!
//! `cargo bench --bench network [-- ROUNDS] [NAME=PROGRAM...]`, as root.
//! Each round runs `true` in a container with `rt` and with the [`floor`], each without a network
//! and connected to a bridge with a subnet of each family. The runs take turns, so that other load
//! on the host affects them alike. Another container keeps the bridge. Everything is in a
//! network namespace of its own; bundles, states and leases are on a tmpfs.
//!
//! `before=/path/to/rt` adds another build of `rt`. The exit status is 1 when `rt` with a network
//! takes more than 1.3 times as long as the floor.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark fails by panicking, and is there to print"
)]

mod common;
mod floor;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use common::Directory;

const ROUNDS: usize = 300;
/// Rounds before the counted ones, which warm the caches.
const WARM_UP: usize = 3;
/// The largest ratio of the time of `rt` with a network to that of the floor that passes.
const MAX_RATIO: f64 = 1.3;

/// Leases are below /run/rt.
const PREPARE: &str = "mount -t tmpfs -o mode=755 none /run";
const BRIDGE: &str = "rtbench0";
const SUBNETS: &str = "10.88.0.0/16,fd00:88::/64";

/// The program that is measured.
const TRUE: &[&str] = &["/bin/true"];
/// A program that prints what the container consists of.
const LOOK: &[&str] = &["/bin/busybox", "sh", "-c", LOOK_SCRIPT];
const LOOK_SCRIPT: &str = "alias b=/bin/busybox
    b cut -d ' ' -f 5- /proc/self/mountinfo | b sort
    b stat -c '%A %t %T %N' /dev/*
    b grep -E '^(Cap|NoNewPrivs|Seccomp|Max open files)' /proc/self/status /proc/self/limits
    b hostname; umask; b env | b sort
    b ip -o address | b grep -v fe80; b ip route; b ip -6 route | b grep default; exit 0";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == floor::FLAG) {
        return floor::run(&arguments[1..]);
    }
    if !common::is_prepared() {
        return common::reexec_in_namespaces(&["--net"], PREPARE);
    }
    let rounds = common::rounds(ROUNDS);
    let directory = Directory::new();
    let keeper = Keeper::start(&directory.0);
    let mut runners = runners(&directory.0, &keeper);
    let works = [false, true].map(|network| Work::new(&directory.0, "true", TRUE, network));
    let looks = [false, true].map(|network| Work::new(&directory.0, "look", LOOK, network));
    let variants = variants(&runners, &looks);
    for i in common::shuffled_rounds(rounds + WARM_UP, variants.len()) {
        let (runner, network) = variants[i];
        runners[runner].run(&works[usize::from(network)]);
    }
    println!("{rounds} interleaved rounds of run, in ms");
    println!("{:12}{:>20}{:>20}", "", "without network", "with network");
    println!("{:12}{}", "", "    median   fastest".repeat(2));
    let medians: Vec<[f64; 2]> = runners.iter_mut().map(Runner::report).collect();
    let mut of_floor = f64::NAN;
    for (runner, theirs) in runners.iter().zip(&medians).skip(1) {
        let ratios = [0, 1].map(|network| medians[0][network] / theirs[network]);
        let columns = ratios.map(|ratio| format!("{}{:10}", column(ratio), ""));
        println!("{:12}{}", format!("rt/{}", runner.name), columns.concat());
        if matches!(runner.program, Program::Floor { .. }) {
            of_floor = ratios[1];
        }
    }
    ExitCode::from(u8::from(of_floor > MAX_RATIO))
}

/// This build of `rt`, those of the command line, and the floor.
fn runners(directory: &Path, keeper: &Keeper) -> Vec<Runner> {
    let [(name, program), ..] = common::RUNTIMES;
    let ours = (name.to_owned(), program.to_owned());
    let mut runners: Vec<Runner> = [ours]
        .into_iter()
        .chain(common::programs())
        .map(|(name, program)| Runner::of_rt(name, Path::new(&program), directory))
        .collect();
    runners.push(Runner::of_floor(directory, keeper));
    runners
}

/// Each runner without and with a network. An earlier build of `rt` may know no networks: then it
/// runs only without.
fn variants(runners: &[Runner], looks: &[Work; 2]) -> Vec<(usize, bool)> {
    let mut variants = Vec::new();
    for look in looks {
        let expected = runners[0].look(look);
        for (i, runner) in runners.iter().enumerate() {
            let seen = runner.look(look);
            let is_equal = seen == expected;
            match runner.program {
                Program::Floor { .. } => {
                    assert!(is_equal, "rt makes\n{expected}\nand the floor\n{seen}");
                }
                Program::Rt { .. } if look.network && !is_equal => {
                    println!("{} has no network like that of rt", runner.name);
                    continue;
                }
                Program::Rt { .. } => {}
            }
            variants.push((i, look.network));
        }
    }
    variants
}

/// A container to run to its end.
struct Work {
    bundle: PathBuf,
    words: &'static [&'static str],
    network: bool,
}

impl Work {
    fn new(directory: &Path, name: &str, words: &'static [&'static str], network: bool) -> Work {
        let bundle = common::bundle(directory, &format!("{name}-{network}"), words);
        // The floor does not make them.
        let root = bundle.join("rootfs");
        for directory in ["proc", "dev", "sys", "etc"] {
            fs::create_dir(root.join(directory)).unwrap();
        }
        for file in ["etc/hosts", "etc/resolv.conf"] {
            fs::write(root.join(file), "").unwrap();
        }
        if network {
            let file = bundle.join("config.json");
            let mut config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            let keys = [("bridge", BRIDGE), ("subnet", SUBNETS)];
            for (key, value) in keys {
                config["annotations"][format!("rt.network.{key}")] = json!(value);
            }
            fs::write(&file, config.to_string()).unwrap();
        }
        Work {
            bundle,
            words,
            network,
        }
    }
}

/// What runs containers.
struct Runner {
    name: String,
    file: PathBuf,
    program: Program,
    /// The times without and with a network.
    took: [Vec<Duration>; 2],
}

enum Program {
    Rt {
        root: PathBuf,
        id: String,
    },
    Floor {
        unified: Option<PathBuf>,
        hierarchies: Vec<PathBuf>,
    },
}

impl Runner {
    fn of_rt(name: String, file: &Path, directory: &Path) -> Runner {
        let program = Program::Rt {
            root: directory.join(format!("state-{name}")),
            id: format!("bench-{name}-{}", std::process::id()),
        };
        Runner::new(name, file, directory, program)
    }

    fn of_floor(directory: &Path, keeper: &Keeper) -> Runner {
        let file = std::env::current_exe().unwrap();
        Runner::new("floor".to_owned(), &file, directory, keeper.floor())
    }

    /// Copies the program: how a file was written decides in what folios the page cache holds
    /// it, which changes the time of a start.
    fn new(name: String, file: &Path, directory: &Path, program: Program) -> Runner {
        let copy = directory.join(&name);
        fs::copy(file, &copy).unwrap();
        Runner {
            name,
            file: copy,
            program,
            took: Default::default(),
        }
    }

    fn command(&self, work: &Work) -> Command {
        let mut command = Command::new(&self.file);
        match &self.program {
            Program::Rt { root, id } => {
                command.arg("--root").arg(root).args(["run", "--bundle"]);
                command.arg(&work.bundle).arg(id);
            }
            Program::Floor {
                unified,
                hierarchies,
            } => {
                let place = floor::Place {
                    root: &work.bundle.join("rootfs"),
                    bridge: work.network.then_some(BRIDGE),
                    unified: unified.as_deref(),
                    hierarchies,
                };
                command.args(floor::arguments(&place, work.words));
            }
        }
        command.stdin(Stdio::null());
        command
    }

    /// What the container consists of, as the program in it prints it.
    fn look(&self, work: &Work) -> String {
        let output = self.command(work).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {errors}", self.name);
        String::from_utf8(output.stdout).unwrap() + &errors
    }

    fn run(&mut self, work: &Work) {
        let mut command = self.command(work);
        command.stdout(Stdio::null());
        let began = Instant::now();
        let status = command.status().unwrap();
        self.took[usize::from(work.network)].push(began.elapsed());
        assert!(status.success(), "{}: {status}", self.name);
    }

    /// Prints a line and returns the medians.
    fn report(&mut self) -> [f64; 2] {
        let mut line = format!("{:12}", self.name);
        let medians = self.took.each_mut().map(|took| {
            took.drain(..WARM_UP.min(took.len()));
            took.sort_unstable();
            let ms =
                |took: Option<&Duration>| took.map_or(f64::NAN, |took| took.as_secs_f64() * 1e3);
            let (median, fastest) = (ms(took.get(took.len() / 2)), ms(took.first()));
            line += &[median, fastest].map(column).concat();
            median
        });
        println!("{line}");
        medians
    }
}

/// A number of the table; NaN stands for what was not measured.
fn column(number: f64) -> String {
    if number.is_nan() {
        format!("{:>10}", "-")
    } else {
        format!("{number:10.2}")
    }
}

/// A container that keeps the bridge. Dropping it deletes it.
struct Keeper {
    root: PathBuf,
    id: String,
}

impl Keeper {
    fn start(directory: &Path) -> Keeper {
        let work = Work::new(directory, "keeper", &["/bin/sleep", "10000"], true);
        let keeper = Keeper {
            root: directory.join("state-keeper"),
            id: format!("bench-keeper-{}", std::process::id()),
        };
        let bundle = work.bundle.to_str().unwrap();
        keeper.call(&["run", "--detach", "--bundle", bundle, &keeper.id]);
        keeper
    }

    fn call(&self, arguments: &[&str]) {
        let mut command = Command::new(common::RUNTIMES[0].1);
        command.arg("--root").arg(&self.root).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        assert!(command.status().unwrap().success(), "rt {arguments:?}");
    }

    /// The floor, in cgroups beside those that `rt` has made for this container.
    fn floor(&self) -> Program {
        let file = self.root.join(&self.id).join("state.json");
        let state: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        let name = format!("bench-floor-{}", std::process::id());
        let beside = |path: &str| Path::new(path).with_file_name(&name);
        let unified = state["cgroup_paths"][""].as_str().map(beside);
        // They are listed in the order in which they are removed.
        let made = state["cgroups_created"].as_array().unwrap().iter().rev();
        let made = made.map(|path| beside(path.as_str().unwrap()));
        Program::Floor {
            hierarchies: made.filter(|path| Some(path) != unified.as_ref()).collect(),
            unified,
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.call(&["delete", "--force", &self.id]);
    }
}
