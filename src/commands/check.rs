//! `rt check`: says whether `rt create` would make a container from a bundle, and makes none.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{ArgMatches, Command, ValueHint};

use super::new_container::with_remedy;
use super::{Globals, flag, path_option, print, target};
use crate::bundle::{self, Inspection};
use crate::container::{Check, Request};
use crate::log;

/// The beginning of each line about a refusal: that of an error of this command.
const PREFIX: &str = "rt check";

pub(super) fn define(command: Command) -> Command {
    command
        .about("Say what create would refuse or warn of, without making a container")
        .arg(
            path_option("bundle", "DIR")
                .short('b')
                .value_hint(ValueHint::DirPath)
                .help("Directory of the bundle [default: .]"),
        )
        .arg(flag("plan").help("Print what create would do, one decision a line"))
        .after_help("Example: rt check -b bundles/web")
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let directory = match target::absolute(matches.get_one::<PathBuf>("bundle"))? {
        Some(directory) => target::without_parent_components(&directory),
        None => target::working_directory()?,
    };
    let Inspection { unknown, bundle } =
        bundle::inspect(&directory).map_err(|error| with_remedy(error, &directory))?;
    let check = bundle.and_then(|bundle| {
        let notify_socket = globals.notify_socket.clone();
        let cgroups = (globals.cgroups, globals.systemd());
        let request = Request::for_check(bundle, cgroups, notify_socket);
        Check::plan(&globals.root, &request)
    });
    let (plan, refusals) = match check {
        Ok(check) if matches.get_flag("plan") => (check.decisions(), check.refusals()),
        Ok(check) => (String::new(), check.refusals()),
        Err(error) => (String::new(), vec![error]),
    };
    let warnings = [unknown, log::take_deferred_warnings()].concat();
    print(&(plan + &report(&directory, &warnings, refusals.is_empty())))?;
    for refusal in &refusals {
        log::error(refusal, PREFIX);
    }
    Ok(u8::from(!refusals.is_empty()))
}

/// The lines on standard output. The last one says that the bundle is accepted, if it is.
fn report(directory: &Path, warnings: &[String], accepted: bool) -> String {
    let mut lines: Vec<String> = warnings
        .iter()
        .map(|warning| format!("warning: {warning}"))
        .collect();
    if accepted {
        let config = directory.join("config.json");
        let count = match warnings.len() {
            0 => String::new(),
            1 => " (1 warning)".to_owned(),
            count => format!(" ({count} warnings)"),
        };
        lines.push(format!("{}: ok{count}", config.display()));
    }
    let lines = lines.iter().map(|line| log::one_line(line) + "\n");
    lines.collect()
}
