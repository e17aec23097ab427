//! `rt delete`: takes away what is left of a container.

use anyhow::{Context, Result};
use clap::{ArgMatches, Command};

use super::{Globals, flag, id};
use crate::container;

pub(super) fn define(command: Command) -> Command {
    command
        .about("Deletes a container that has stopped")
        .arg(
            flag("force")
                .short('f')
                .help("Kills it first if it still runs; no error if there is none"),
        )
        .arg(id::argument())
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let id = id::of(matches)?;
    let force = matches.get_flag("force");
    container::delete(&globals.root, id, force).with_context(|| id.to_owned())?;
    Ok(0)
}
