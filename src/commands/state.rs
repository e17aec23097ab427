//! `rt state`: a container's state as JSON.

use anyhow::{Context, Result};
use clap::{ArgMatches, Command};

use super::report::{Entry, go_json};
use super::{Globals, id, print};
use crate::container;

pub(super) fn define(command: Command) -> Command {
    command
        .about("Print the state of a container as JSON")
        .after_help("Example: rt state web")
        .arg(id::argument())
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let id = id::from_matches(matches)?;
    let report = container::state(&globals.root, id).with_context(|| id.to_owned())?;
    // As in runc, only `list` fills in the owner, and the output has no newline at the end.
    let entry = Entry::new(&report, String::new());
    print(&go_json(&serde_json::to_string_pretty(&entry)?))?;
    Ok(0)
}
