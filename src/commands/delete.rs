//! `rt delete`: removes a container's processes, cgroups and state.

use anyhow::{Context, Result};
use clap::{ArgMatches, Command};

use super::{Globals, flag, id};
use crate::container;

pub(super) fn define(command: Command) -> Command {
    command
        .about("Delete a stopped container")
        .after_help("Example: rt delete web")
        .arg(
            flag("force")
                .short('f')
                .help("Kill a running container first; ignore a container that does not exist"),
        )
        .arg(id::argument())
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let id = id::from_matches(matches)?;
    let force = matches.get_flag("force");
    container::delete(&globals.root, id, force).with_context(|| id.to_owned())?;
    Ok(0)
}
