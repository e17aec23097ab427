//! `rt pause`: holds all processes of a container still.

use anyhow::{Context, Result};
use clap::{ArgMatches, Command};

use super::{Globals, id};
use crate::container;

pub(super) fn define(command: Command) -> Command {
    command
        .about("Holds all processes of a container still")
        .arg(id::argument())
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let id = id::of(matches)?;
    container::pause(&globals.root, id).with_context(|| id.to_owned())?;
    Ok(0)
}
