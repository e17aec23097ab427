//! `rt start`: lets the process of a created container run its program.

use anyhow::{Context, Result};
use clap::{ArgMatches, Command};

use super::{Globals, id};
use crate::container;

pub(super) fn define(command: Command) -> Command {
    command
        .about("Starts the program of a created container")
        .arg(id::argument())
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let id = id::of(matches)?;
    container::start(&globals.root, id, globals.notify_socket.as_ref())
        .with_context(|| id.to_owned())?;
    Ok(0)
}
