//! `rt create`: creates a container, whose process then waits for `rt start`.

use anyhow::{Context, Result};
use clap::{ArgMatches, Command};

use super::{Globals, new_container};
use crate::container;

pub(super) fn define(command: Command) -> Command {
    new_container::define(command)
        .about("Create a container from a bundle without starting it")
        .after_help("Example: rt create -b bundles/web web")
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let request = new_container::request(globals, matches)?;
    container::create(&globals.root, &request).with_context(|| request.id.clone())?;
    Ok(0)
}
