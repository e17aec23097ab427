//! The arguments that `create` and `run` share, and the request for a new container.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow};
use clap::{Arg, ArgMatches, Command, ValueHint, value_parser};

use super::target::{self, Target};
use super::{Globals, flag, path_option, pidfd_socket, preserve_fds};
use crate::bundle;
use crate::container::Request;
use crate::log;

/// Adds the arguments that both verbs take.
pub(super) fn define(command: Command) -> Command {
    command
        .arg(
            path_option("bundle", "DIR")
                .short('b')
                .value_hint(ValueHint::DirPath)
                .help("Directory of the bundle [default: .]"),
        )
        .arg(
            path_option("pid-file", "FILE")
                .help("Write the pid of the container's process to this file"),
        )
        .arg(
            flag("no-pivot")
                .help("Do not use pivot_root(2), which does not work with a root on a ramdisk"),
        )
        .arg(flag("no-new-keyring").help("Keep the caller's session keyring"))
        .arg(
            path_option("console-socket", "SOCKET")
                .help("Send the terminal's master to this Unix socket"),
        )
        .arg(pidfd_socket())
        .arg(preserve_fds())
        .arg(target_argument())
}

fn target_argument() -> Arg {
    Arg::new("id")
        .value_name("container-id")
        .required(true)
        .value_parser(value_parser!(OsString))
        .value_hint(ValueHint::DirPath)
        .help("Id of the container, or a bundle directory whose name becomes the id")
}

/// The request for the container that the arguments describe.
///
/// # Errors
/// When the bundle does not exist, its config.json is invalid, or the id is invalid.
pub(super) fn request(globals: &Globals, matches: &ArgMatches) -> Result<Request> {
    let path = |name| target::absolute(matches.get_one::<PathBuf>(name));
    let argument = matches
        .get_one::<OsString>("id")
        .map(OsString::as_os_str)
        .unwrap_or_default();
    let Target { bundle, id } = target::find(
        argument,
        path("bundle")?.as_deref(),
        target::working_directory,
    )?;
    log::debug(&format!("{id}: bundle {}", bundle.display()));
    Ok(Request {
        bundle: bundle::open(&bundle)
            .map_err(|error| with_remedy(error, &bundle))
            .with_context(|| id.clone())?,
        pid_file: path("pid-file")?,
        console_socket: path("console-socket")?,
        pidfd_socket: path("pidfd-socket")?,
        no_pivot: matches.get_flag("no-pivot"),
        new_keyring: !matches.get_flag("no-new-keyring"),
        passed: globals.passed,
        cgroups: globals.cgroups,
        systemd: globals.systemd(),
        notify_socket: globals.notify_socket.clone(),
        id,
    })
}

/// Adds how to write a config.json to the error of a directory that has none.
pub(super) fn with_remedy(error: Error, bundle: &Path) -> Error {
    let cause = error.root_cause().downcast_ref::<io::Error>();
    let is_missing = cause.is_some_and(|cause| cause.kind() == io::ErrorKind::NotFound);
    if !is_missing || !bundle.is_dir() {
        return error;
    }
    let (error, bundle) = (log::format_error(&error), bundle.display());
    anyhow!("{error}; rt spec -b {bundle} writes a template")
}
