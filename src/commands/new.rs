//! What `create` and `run` have in common: a new container from a bundle.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Arg, ArgMatches, Command, value_parser};

use super::target::{self, Target};
use super::{Globals, flag, path_option, pidfd_socket, preserved};
use crate::bundle;
use crate::container::Request;
use crate::log;

/// Adds the arguments that both take.
pub(super) fn define(command: Command) -> Command {
    command
        .arg(
            path_option("bundle", "DIR")
                .short('b')
                .help("The bundle [default: .]"),
        )
        .arg(path_option("pid-file", "FILE").help("Writes the process id to this file"))
        .arg(flag("no-pivot").help("For a root on a ramdisk, where pivot_root(2) cannot work"))
        .arg(flag("no-new-keyring").help("Keeps the session keyring of the caller"))
        .arg(
            path_option("console-socket", "SOCKET")
                .help("Sends the container's terminal to whoever listens on this socket"),
        )
        .arg(pidfd_socket())
        .arg(preserved())
        .arg(argument())
}

fn argument() -> Arg {
    Arg::new("id")
        .value_name("container-id")
        .required(true)
        .value_parser(value_parser!(OsString))
        .help("Its name; or the directory of a bundle, which is called like it")
}

/// The container that the arguments describe.
///
/// # Errors
/// When there is no such bundle, or it asks for something that cannot be.
pub(super) fn request(globals: &Globals, matches: &ArgMatches) -> Result<Request> {
    let path = |name| target::absolute(matches.get_one::<PathBuf>(name));
    let argument = matches
        .get_one::<OsString>("id")
        .map(OsString::as_os_str)
        .unwrap_or_default();
    let Target { bundle, id } = target::find(argument, path("bundle")?.as_deref(), target::here)?;
    log::debug(&format!("{id}: bundle {}", bundle.display()));
    Ok(Request {
        bundle: bundle::open(&bundle).with_context(|| id.clone())?,
        pid_file: path("pid-file")?,
        console_socket: path("console-socket")?,
        pidfd_socket: path("pidfd-socket")?,
        no_pivot: matches.get_flag("no-pivot"),
        new_keyring: !matches.get_flag("no-new-keyring"),
        passed: globals.passed,
        cgroups: globals.cgroups,
        notify_socket: globals.notify_socket.clone(),
        id,
    })
}
