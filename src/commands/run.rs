//! `rt run`: creates and starts a container and, unless detached, waits for it and deletes it.

use anyhow::{Context, Result};
use clap::{ArgMatches, Command};

use super::{Globals, flag, new_container};
use crate::container::{self, Attachment};

pub(super) fn define(command: Command) -> Command {
    new_container::define(command)
        .about("Create and start a container from a bundle")
        .after_help("Example: rt run -b bundles/web web")
        .arg(
            flag("detach")
                .short('d')
                .help("Return as soon as the container runs"),
        )
        .arg(flag("keep").help("Do not delete the container when its process exits"))
        .arg(
            flag("no-subreaper")
                .help("Do not become a subreaper: orphaned processes go to the host's init"),
        )
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let request = new_container::request(globals, matches)?;
    // A detached `run` does not wait for the container, so it never deletes it.
    let attachment = if matches.get_flag("detach") {
        Attachment::Detached
    } else {
        Attachment::Foreground {
            keep: matches.get_flag("keep"),
            reaps: !matches.get_flag("no-subreaper"),
        }
    };
    container::run(&globals.root, &request, &attachment).with_context(|| request.id.clone())
}
