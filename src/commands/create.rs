//! `rt create`: makes a container and leaves its process waiting for `rt start`.

use anyhow::{Context, Result};
use clap::{ArgMatches, Command};

use super::{Globals, new};
use crate::container;

pub(super) fn define(command: Command) -> Command {
    new::define(command).about("Makes a container from a bundle, to be started later")
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let request = new::request(globals, matches)?;
    container::create(&globals.root, &request).with_context(|| request.id.clone())?;
    Ok(0)
}
