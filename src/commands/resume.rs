//! `rt resume`: lets the processes of a paused container go on.

use anyhow::{Context, Result};
use clap::{ArgMatches, Command};

use super::{Globals, id};
use crate::container;

pub(super) fn define(command: Command) -> Command {
    command
        .about("Lets the processes of a paused container go on")
        .arg(id::argument())
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let id = id::of(matches)?;
    container::resume(&globals.root, id).with_context(|| id.to_owned())?;
    Ok(0)
}
