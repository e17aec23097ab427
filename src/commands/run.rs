//! `rt run`: makes a container, starts it and, unless detached, waits for its end.

use anyhow::{Context, Result};
use clap::{ArgMatches, Command};

use super::{Globals, flag, new};
use crate::container::{self, Attachment};

pub(super) fn define(command: Command) -> Command {
    new::define(command)
        .about("Makes a container from a bundle and runs it")
        .arg(
            flag("detach")
                .short('d')
                .help("Returns as soon as the container runs"),
        )
        .arg(flag("keep").help("Keeps the container when its process has ended"))
        .arg(flag("no-subreaper").help("Leaves orphans of the container to this machine's init"))
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let request = new::request(globals, matches)?;
    // Detached, nobody is there to delete it: `--keep` holds anyway.
    let attachment = match matches.get_flag("detach") {
        true => Attachment::Detached,
        false => Attachment::Foreground {
            keep: matches.get_flag("keep"),
            reaps: !matches.get_flag("no-subreaper"),
        },
    };
    container::run(&globals.root, &request, &attachment).with_context(|| request.id.clone())
}
