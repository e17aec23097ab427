//! `rt pause`: freezes all processes of a container.

use anyhow::{Context, Result};
use clap::{ArgMatches, Command};

use super::{Globals, id};
use crate::container;

pub(super) fn define(command: Command) -> Command {
    command
        .about("Suspend all processes of a container")
        .after_help("Example: rt pause web")
        .arg(id::argument())
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let id = id::from_matches(matches)?;
    container::pause(&globals.root, id).with_context(|| id.to_owned())?;
    Ok(0)
}
