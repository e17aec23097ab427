//! `rt events`: what a container uses and when its memory has run out, as runc's JSON.

use std::time::Instant;

use anyhow::{Context, Result};
use clap::{ArgMatches, Command};

use super::{Globals, duration, flag, id, print};
use crate::container::{Event, Observed};

pub(super) fn define(command: Command) -> Command {
    command
        .about("Print what a container uses, and when it runs out of memory, as JSON")
        .after_help("Example: rt events --interval 10s web")
        .arg(duration::interval(
            "5s",
            "Time between two lines of statistics",
        ))
        .arg(flag("stats").help("Print the statistics once and exit"))
        .arg(id::argument())
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let id = id::from_matches(matches)?;
    let interval = duration::from_matches(matches)?;
    let once = matches.get_flag("stats");
    let mut observed = Observed::find(&globals.root, id, !once)?;
    let print_stats = |observed: &Observed| {
        let stats = observed.stats().with_context(|| id.to_owned())?;
        print(&format!(
            "{{\"type\":\"stats\",\"id\":\"{id}\",\"data\":{stats}}}\n"
        ))
    };
    if once {
        print_stats(&observed)?;
        return Ok(0);
    }
    let mut next = Instant::now().checked_add(interval);
    loop {
        match observed.wait(next).with_context(|| id.to_owned())? {
            Event::Ended => return Ok(0),
            Event::OutOfMemory => print(&format!("{{\"type\":\"oom\",\"id\":\"{id}\"}}\n"))?,
            Event::Time => {
                print_stats(&observed)?;
                next = Instant::now().checked_add(interval);
            }
        }
    }
}
