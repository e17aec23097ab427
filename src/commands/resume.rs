//! `rt resume`: thaws the processes of a paused container.

use anyhow::{Context, Result};
use clap::{ArgMatches, Command};

use super::{Globals, id};
use crate::container;

pub(super) fn define(command: Command) -> Command {
    command
        .about("Resume all processes of a paused container")
        .after_help("Example: rt resume web")
        .arg(id::argument())
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let id = id::from_matches(matches)?;
    container::resume(&globals.root, id).with_context(|| id.to_owned())?;
    Ok(0)
}
