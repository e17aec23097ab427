//! The verbs of the command line, one file each: its flags, then a call of
//! [`container`](crate::container), then what is printed.

mod create;
mod delete;
mod features;
mod id;
mod kill;
mod list;
mod new;
mod ps;
mod report;
mod run;
mod spec;
mod start;
mod state;
mod target;

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

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
}

/// A verb of the command line.
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    /// Adds what the verb takes.
    pub(crate) define: fn(Command) -> Command,
    /// Performs it and returns the exit status.
    pub(crate) perform: fn(&Globals, &ArgMatches) -> Result<u8>,
}

/// In the order of the help.
pub(crate) const VERBS: [Verb; 10] = [
    Verb {
        name: "run",
        define: run::define,
        perform: run::perform,
    },
    Verb {
        name: "create",
        define: create::define,
        perform: create::perform,
    },
    Verb {
        name: "start",
        define: start::define,
        perform: start::perform,
    },
    Verb {
        name: "state",
        define: state::define,
        perform: state::perform,
    },
    Verb {
        name: "kill",
        define: kill::define,
        perform: kill::perform,
    },
    Verb {
        name: "delete",
        define: delete::define,
        perform: delete::perform,
    },
    Verb {
        name: "list",
        define: list::define,
        perform: list::perform,
    },
    Verb {
        name: "ps",
        define: ps::define,
        perform: ps::perform,
    },
    Verb {
        name: "spec",
        define: spec::define,
        perform: spec::perform,
    },
    Verb {
        name: "features",
        define: features::define,
        perform: features::perform,
    },
];

/// A flag that is either given or not.
pub(crate) fn flag(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue)
}

/// A flag with a value.
pub(crate) fn option(name: &'static str, kind: &'static str) -> Arg {
    let option = Arg::new(name).long(name).action(ArgAction::Set);
    option.value_name(kind)
}

/// A flag with a path.
pub(crate) fn path_option(name: &'static str, kind: &'static str) -> Arg {
    option(name, kind).value_parser(value_parser!(PathBuf))
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
