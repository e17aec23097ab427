//! What runs in the virtual machines: lists of tests of the suite and of the engines.

use std::env;
use std::path::Path;
use std::process::Command;

use libtest_mimic::Arguments;
use serde_json::Value;

use crate::guest::{Call, Machine};
use crate::runner::is_asked_for;

/// A test program that runs in a virtual machine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Suite,
    /// With the lists of the installed engines.
    Engines,
}

impl Program {
    const ALL: [Self; 2] = [Self::Suite, Self::Engines];

    fn name(self) -> &'static str {
        match self {
            Self::Suite => "suite",
            Self::Engines => "engines",
        }
    }

    /// The variables and options that its calls have besides those of the runtime and the filter.
    fn settings(self) -> (&'static str, &'static str) {
        match self {
            Self::Suite => ("", "--test-threads 1"),
            Self::Engines => ("RT_TESTS=installed", "--test-threads 2 --format pretty"),
        }
    }
}

/// A machine, a program, a runtime, and a filter that selects tests of the program.
type Run = (Machine, Program, &'static str, &'static str);

const fn suite(runtime: &'static str, filter: &'static str) -> Run {
    (Machine::Plain, Program::Suite, runtime, filter)
}

/// An engine's list with rt, and with runc.
const fn engine(filter: &'static str) -> [Run; 2] {
    [
        (Machine::Systemd, Program::Engines, "rt", filter),
        (Machine::SystemdOfRunc, Program::Engines, "runc", filter),
    ]
}

const RUNS: [Run; 24] = [
    suite("rt", "managers::"),
    suite("rt", "cgroups::"),
    suite("rt", "pause::"),
    suite("rt", "update::"),
    suite("rt", "apparmor::"),
    suite("rt", "_of_the_caller_needs_cap_sys_resource"),
    // cpusets of v2 differ from those of v1.
    suite("rt", "process::caller::cpu_affinity"),
    // The lifecycle with another kernel and another cgroup version.
    suite("rt", "lifecycle::run_"),
    suite("rt", "lifecycle::delete_"),
    suite("rt", "lifecycle::kill::"),
    // Limits in containers in containers, which need the controllers.
    suite("rt", "nested::"),
    // Figures and notices of v2, compared with those of runc.
    suite("rt", "events::"),
    suite("rt", "stats::"),
    // Each limit on cgroup v2, compared with runc's, and the same by systemd.
    suite("rt", "compared::cgroupfs_"),
    (Machine::Systemd, Program::Suite, "rt", "compared::systemd_"),
    // Configurations that only the virtual machine can run with runc.
    suite("runc", "managers::cri_systemd_rich"),
    suite("runc", "managers::docker_systemd"),
    suite("runc", "managers::podman_systemd"),
    // With a CRIU that is not older than the kernel.
    suite("rt", "checkpoint::"),
    suite("runc", "checkpoint::"),
    (
        Machine::Systemd,
        Program::Suite,
        "rt",
        "systemd::restored::",
    ),
    (
        Machine::SystemdOfRunc,
        Program::Suite,
        "runc",
        "systemd::restored::",
    ),
    (Machine::Selinux, Program::Suite, "rt", "selinux::"),
    (Machine::Selinux, Program::Suite, "runc", "selinux::"),
];

const ENGINES: [[Run; 2]; 6] = [
    engine("docker::"),
    engine("cri::"),
    engine("containerd::"),
    engine("podman::"),
    engine("podman-rootless::"),
    engine("buildah::"),
];

/// The tests of one run.
pub(crate) struct List {
    pub(crate) machine: Machine,
    pub(crate) runtime: &'static str,
    pub(crate) filter: &'static str,
    /// The name of the runtime and of the test.
    pub(crate) tests: Vec<String>,
    /// The calls that run those of the tests that the arguments select.
    pub(crate) calls: Vec<Call>,
}

/// All lists. Builds the programs.
///
/// # Errors
/// When a program is not built, or when it has no test for one of the filters.
pub(crate) fn lists(arguments: &Arguments) -> Result<Vec<List>, String> {
    let paths = paths().ok_or("the test programs are not built")?;
    let path = |program| {
        let position = Program::ALL.iter().position(|each| *each == program);
        &paths[position.unwrap_or_default()]
    };
    let list = |run: Run| new(run, path(run.1), arguments);
    // The tests of one machine come after those of another.
    let [ours, theirs] = [0, 1].map(|index| ENGINES.map(|both| both[index]));
    let all = [&RUNS[..], &ours, &theirs].concat();
    all.into_iter().map(list).collect()
}

fn new(
    (machine, program, runtime, filter): Run,
    path: &str,
    arguments: &Arguments,
) -> Result<List, String> {
    let names = list(program, path, filter);
    if names.is_empty() {
        return Err(format!("{path} has no {filter} any more"));
    }
    let full = |name: &String| format!("{runtime}::{name}");
    let is_wanted = |name: &&String| is_asked_for(arguments, &full(name));
    let wanted: Vec<String> = names.iter().filter(is_wanted).cloned().collect();
    let (variables, options) = program.settings();
    let call = |selection: String| Call {
        runtime,
        line: format!("{variables} RT_UNDER_TEST={runtime} {path} {options} {selection}"),
    };
    let asked = arguments.filter.clone().unwrap_or_default();
    let asked = asked
        .strip_prefix(&format!("{runtime}::"))
        .unwrap_or(&asked);
    // Each call of the engines starts a daemon, so select the tests with one filter if there is one.
    let shared = [filter, asked].map(|filter| (filter, list(program, path, filter)));
    let shared = shared.into_iter().find(|(_, names)| *names == wanted);
    let calls = match shared {
        _ if wanted.is_empty() => Vec::new(),
        Some((filter, _)) => vec![call(filter.to_owned())],
        None => {
            let exact = wanted.iter().map(|name| format!("--exact {name}"));
            exact.map(call).collect()
        }
    };
    let tests = names.iter().map(full).collect();
    Ok(List {
        machine,
        runtime,
        filter,
        tests,
        calls,
    })
}

/// Builds the programs and returns their paths.
fn paths() -> Option<[String; 2]> {
    let release = Path::new(env!("CARGO_BIN_EXE_rt"))
        .parent()?
        .ends_with("release");
    let cargo = |arguments: &[&str]| {
        let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut cargo = Command::new(program);
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        cargo.args(arguments).args(release.then_some("--release"));
        cargo
    };
    // The suite runs it in containers. The virtual machine cannot build it: it only reads the host's files.
    let probe = cargo(&["build", "--quiet", "--example", "probe"]).status();
    probe.ok().filter(|built| built.success())?;
    let mut cargo = cargo(&["test", "--quiet", "--no-run", "--message-format", "json"]);
    for program in Program::ALL {
        cargo.args(["--test", program.name()]);
    }
    let built = cargo.output().ok().filter(|built| built.status.success())?;
    let messages = String::from_utf8_lossy(&built.stdout).into_owned();
    let messages: Vec<Value> = messages
        .lines()
        .filter_map(|message| serde_json::from_str(message).ok())
        .collect();
    let path = |program: Program| {
        let is_it = |message: &&Value| message["target"]["name"] == program.name();
        let executables = messages.iter().filter(is_it);
        let mut executables = executables.filter_map(|message| message["executable"].as_str());
        executables.next().map(str::to_owned)
    };
    let [suite, engines] = Program::ALL.map(path);
    Some([suite?, engines?])
}

/// The names of a program's tests that match a filter.
fn list(program: Program, path: &str, filter: &str) -> Vec<String> {
    let mut command = Command::new(path);
    if program == Program::Engines {
        command.env("RT_TESTS", "installed");
    }
    let listed = command.args(["--list", filter]).output();
    let listed = listed.unwrap_or_else(|e| panic!("start {path}: {e}"));
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let names = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"));
    names
        .filter(|name| name.contains(filter))
        .map(str::to_owned)
        .collect()
}
