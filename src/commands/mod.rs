//! The verbs of the command line, one per file: the flags, a call into
//! [`container`](crate::container), and the output.

mod check;
mod checkpoint;
mod choices;
mod create;
mod delete;
mod diff;
mod duration;
mod events;
mod exec;
mod features;
mod figures;
mod id;
mod info;
mod kill;
mod list;
mod network;
mod new_container;
mod new_file;
mod pause;
mod ps;
mod report;
mod restore;
mod resume;
mod run;
mod spec;
mod start;
mod state;
mod stats;
mod table;
mod target;
mod update;

use std::cell::Cell;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};

use crate::cgroups::{BusEnvironment, CgroupMode};
use crate::process::Passed;

pub(crate) use checkpoint::STATUS_FD;
pub(crate) use choices::{meant_or_expected, suggest};

pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version of runc that the flags, outputs and texts are compatible with, for programs that
/// require a version of runc. `rt`'s own version is build metadata, which has no precedence
/// (Semantic Versioning 2.0.0, 10).
pub(crate) const RUNC_VERSION: &str = concat!("1.5.1+rt.", env!("CARGO_PKG_VERSION"));

/// The git commit that this program was built from.
pub(crate) const COMMIT: &str = match option_env!("RT_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// The values of the global flags, and what every verb takes from the caller's environment.
pub(crate) struct Globals {
    /// The directory with the state of all containers. Absolute.
    pub(crate) root: PathBuf,
    /// Whether `--root` was given.
    pub(crate) root_given: bool,
    /// The caller's descriptors that go to the container's process.
    pub(crate) passed: Passed,
    /// The caller's descriptors that this command reads files from.
    pub(crate) input_descriptors: InputDescriptors,
    pub(crate) cgroups: CgroupMode,
    /// Whether systemd makes the cgroups.
    pub(crate) by_systemd: bool,
    /// Where to look for systemd.
    pub(crate) buses: BusEnvironment,
    /// `NOTIFY_SOCKET`: the address of the service manager's socket (sd_notify(3)).
    pub(crate) notify_socket: Option<OsString>,
    /// `PATH`, by which CRIU is found.
    pub(crate) path: Option<OsString>,
}

impl Globals {
    /// Where to look for systemd, if it makes the cgroups.
    fn systemd(&self) -> Option<BusEnvironment> {
        self.by_systemd.then(|| self.buses.clone())
    }
}

/// Flags whose file is opened before any process is created. It may be an inherited descriptor
/// without a path, as in `--process /dev/fd/63`.
pub(crate) const OPENED_IMMEDIATELY: [&str; 3] = ["log", "process", "resources"];

/// Inherited descriptors that stay open for the flags of [`OPENED_IMMEDIATELY`].
#[derive(Default)]
pub(crate) struct InputDescriptors(Cell<Vec<OwnedFd>>);

impl InputDescriptors {
    pub(crate) fn new(descriptors: Vec<OwnedFd>) -> InputDescriptors {
        InputDescriptors(Cell::new(descriptors))
    }

    /// The descriptor with this number, if it is one of them.
    fn take(&self, number: u32) -> Option<OwnedFd> {
        let mut all = self.0.take();
        let found = all
            .iter()
            .position(|fd| fd.as_raw_fd().cast_unsigned() == number);
        let found = found.map(|index| all.remove(index));
        self.0.set(all);
        found
    }

    /// Has to be called before any process is created, which would inherit the descriptors.
    fn close(&self) {
        drop(self.0.take());
    }
}

/// A verb of the command line.
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    /// Adds the verb's flags and arguments.
    pub(crate) define: fn(Command) -> Command,
    /// Executes the verb and returns the exit status.
    pub(crate) perform: fn(&Globals, &ArgMatches) -> Result<u8>,
    /// The exit status when `perform` returns an error.
    pub(crate) error_status: u8,
}

impl Verb {
    const fn new(
        name: &'static str,
        define: fn(Command) -> Command,
        perform: fn(&Globals, &ArgMatches) -> Result<u8>,
    ) -> Verb {
        Verb {
            name,
            define,
            perform,
            error_status: 1,
        }
    }
}

/// In the order in which the help lists them.
pub(crate) const VERBS: &[Verb] = &[
    Verb::new("run", run::define, run::perform),
    Verb::new("create", create::define, create::perform),
    Verb {
        // runc's status. A shell uses 126, 127 and 128 + n for its own errors.
        error_status: 255,
        ..Verb::new("exec", exec::define, exec::perform)
    },
    Verb::new("start", start::define, start::perform),
    Verb::new("state", state::define, state::perform),
    Verb::new("kill", kill::define, kill::perform),
    Verb::new("pause", pause::define, pause::perform),
    Verb::new("resume", resume::define, resume::perform),
    Verb::new("checkpoint", checkpoint::define, checkpoint::perform),
    Verb::new("restore", restore::define, restore::perform),
    Verb::new("update", update::define, update::perform),
    Verb::new("delete", delete::define, delete::perform),
    Verb::new("list", list::define, list::perform),
    Verb::new("ps", ps::define, ps::perform),
    Verb::new("stats", stats::define, stats::perform),
    Verb::new("events", events::define, events::perform),
    Verb::new("diff", diff::define, diff::perform),
    Verb::new("network", network::define, network::perform),
    Verb::new("spec", spec::define, spec::perform),
    Verb::new("features", features::define, features::perform),
    Verb::new("check", check::define, check::perform),
    Verb::new("info", info::define, info::perform),
];

/// The name of the flag [`preserve_fds`].
pub(crate) const PRESERVE_FDS: &str = "preserve-fds";

/// A flag without a value.
pub(crate) fn flag(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue)
}

/// A flag with a value. Completions offer nothing for it.
pub(crate) fn option(name: &'static str, value_name: &'static str) -> Arg {
    let option = Arg::new(name).long(name).action(ArgAction::Set);
    option.value_name(value_name).value_hint(ValueHint::Other)
}

/// A flag with a value that may be given several times.
pub(crate) fn options(name: &'static str, value_name: &'static str) -> Arg {
    option(name, value_name).action(ArgAction::Append)
}

/// A flag whose value is a path. Completions offer files.
pub(crate) fn path_option(name: &'static str, value_name: &'static str) -> Arg {
    let option = option(name, value_name).value_parser(value_parser!(PathBuf));
    option.value_hint(ValueHint::FilePath)
}

/// `--preserve-fds`: the number of descriptors that go to the container's process. They start
/// at 3, or after the sockets of socket activation. `cli` reads the value, before this program
/// opens any descriptor.
pub(crate) fn preserve_fds() -> Arg {
    let preserve_fds = option(PRESERVE_FDS, "N").value_parser(value_parser!(u32));
    preserve_fds
        .help("Pass N more file descriptors to the process, after standard input, output and error [default: 0]")
}

/// `--pidfd-socket` of `create`, `run` and `exec`.
pub(crate) fn pidfd_socket() -> Arg {
    let socket = path_option("pidfd-socket", "SOCKET");
    socket.help("Send a pidfd of the process to this Unix socket")
}

/// Writes `text` to standard output and flushes it: Rust's own runtime, which flushes at exit, is
/// not used (`sys/entry.rs`).
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.context("standard output")
}
