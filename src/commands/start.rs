//! `rt start`: makes the process of a created container execute its program.

use anyhow::{Context, Result};
use clap::{ArgMatches, Command};

use super::{Globals, id};
use crate::container;

pub(super) fn define(command: Command) -> Command {
    command
        .about("Start a created container")
        .after_help("Example: rt start web")
        .arg(id::argument())
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let id = id::from_matches(matches)?;
    container::start(&globals.root, id, globals.notify_socket.as_ref())
        .with_context(|| id.to_owned())?;
    Ok(0)
}
