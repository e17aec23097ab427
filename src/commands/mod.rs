//! The verbs of the command line, one file each: its flags, then a call of
//! [`container`](crate::container), then what is printed.

mod create;
mod delete;
mod exec;
mod features;
mod id;
mod kill;
mod list;
mod new;
mod pause;
mod ps;
mod report;
mod resume;
mod run;
mod spec;
mod start;
mod state;
mod target;
mod update;

use std::cell::Cell;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::cgroups::CgroupMode;
use crate::process::Passed;

pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The runc whose flags, outputs and texts these are, for those who ask for one.
/// Ours is build metadata, which orders nothing (Semantic Versioning 2.0, 10).
pub(crate) const AS_RUNC: &str = concat!("1.5.1+rt.", env!("CARGO_PKG_VERSION"));

/// What this program was built from.
pub(crate) const COMMIT: &str = match option_env!("RT_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// What the flags before the verb say.
pub(crate) struct Globals {
    /// Where the state of containers is kept. Absolute.
    pub(crate) root: PathBuf,
    /// Whether `--root` was given.
    pub(crate) root_given: bool,
    /// What the caller hands on to the container's process, seen to be there.
    pub(crate) passed: Passed,
    /// What the caller has open, and this command reads from.
    pub(crate) kept: Kept,
    pub(crate) cgroups: CgroupMode,
    /// Where a service manager waits to hear that the container is ready.
    pub(crate) notify_socket: Option<OsString>,
}

/// Flags whose file is opened before anything else happens, and need not have a name.
pub(crate) const READ_AT_ONCE: [&str; 3] = ["log", "process", "resources"];

/// Descriptors of the caller that files of [`READ_AT_ONCE`] are named through.
#[derive(Default)]
pub(crate) struct Kept(Cell<Vec<OwnedFd>>);

impl Kept {
    pub(crate) fn new(descriptors: Vec<OwnedFd>) -> Kept {
        Kept(Cell::new(descriptors))
    }

    /// Before there is any other process: none is to have them.
    fn close(&self) {
        drop(self.0.take());
    }
}

/// A verb of the command line.
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    /// Adds what the verb takes.
    pub(crate) define: fn(Command) -> Command,
    /// Performs it and returns the exit status.
    pub(crate) perform: fn(&Globals, &ArgMatches) -> Result<u8>,
    /// The exit status of one that could not be performed.
    pub(crate) failed: u8,
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
            failed: 1,
        }
    }
}

/// In the order of the help.
pub(crate) const VERBS: &[Verb] = &[
    Verb::new("run", run::define, run::perform),
    Verb::new("create", create::define, create::perform),
    Verb {
        // Other than every status that a shell gives a process.
        failed: 255,
        ..Verb::new("exec", exec::define, exec::perform)
    },
    Verb::new("start", start::define, start::perform),
    Verb::new("state", state::define, state::perform),
    Verb::new("kill", kill::define, kill::perform),
    Verb::new("pause", pause::define, pause::perform),
    Verb::new("resume", resume::define, resume::perform),
    Verb::new("update", update::define, update::perform),
    Verb::new("delete", delete::define, delete::perform),
    Verb::new("list", list::define, list::perform),
    Verb::new("ps", ps::define, ps::perform),
    Verb::new("spec", spec::define, spec::perform),
    Verb::new("features", features::define, features::perform),
];

/// The flag of [`preserved`].
pub(crate) const PRESERVED: &str = "preserve-fds";

/// A flag that is either given or not.
pub(crate) fn flag(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue)
}

/// A flag with a value.
pub(crate) fn option(name: &'static str, kind: &'static str) -> Arg {
    let option = Arg::new(name).long(name).action(ArgAction::Set);
    option.value_name(kind)
}

/// A flag with a value, which may come several times.
pub(crate) fn options(name: &'static str, kind: &'static str) -> Arg {
    option(name, kind).action(ArgAction::Append)
}

/// A flag with a path.
pub(crate) fn path_option(name: &'static str, kind: &'static str) -> Arg {
    option(name, kind).value_parser(value_parser!(PathBuf))
}

/// `--preserve-fds`: how many descriptors from 3 on, or behind the sockets of
/// socket activation, go to the container's process. Read by `cli`, before this
/// program opens any of its own.
pub(crate) fn preserved() -> Arg {
    let preserved = option(PRESERVED, "N").value_parser(value_parser!(u32));
    preserved.help("Hands on so many descriptors beside standard input, output and error")
}

/// `--pidfd-socket`, the same wherever a process is made.
pub(crate) fn pidfd_socket() -> Arg {
    let socket = path_option("pidfd-socket", "SOCKET");
    socket.help("Sends a pidfd of the process to whoever listens on this socket")
}

/// A flag of runc that a later version brings. Hidden means refused by name.
pub(crate) fn refused_flag(name: &'static str) -> Arg {
    flag(name).hide(true)
}

/// The same for a flag with a value.
pub(crate) fn refused_option(name: &'static str) -> Arg {
    option(name, "VALUE").hide(true)
}

/// Flushed here: nothing does it when the process ends (`sys/entry.rs`).
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.context("standard output")
}
