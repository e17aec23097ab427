//! The argument that names a container.

use std::ffi::{OsStr, OsString};

use anyhow::{Result, anyhow, ensure};
use clap::{Arg, ArgMatches, value_parser};

use crate::container::valid_id;

/// The argument that names an existing container.
pub(super) fn argument() -> Arg {
    Arg::new("id")
        .value_name("container-id")
        .required(true)
        .value_parser(value_parser!(OsString))
        .help("The name of the container")
}

/// The container that the arguments name.
///
/// # Errors
/// When the id is none that a container can have.
pub(super) fn of(matches: &ArgMatches) -> Result<&str> {
    let given = matches
        .get_one::<OsString>("id")
        .map(OsString::as_os_str)
        .unwrap_or_default();
    checked(given)
}

/// # Errors
/// When the id is none that a container can have.
pub(super) fn checked(given: &OsStr) -> Result<&str> {
    ensure!(!given.is_empty(), "container id cannot be empty");
    let valid = given.to_str().filter(|id| valid_id(id));
    valid.ok_or_else(|| anyhow!("{}: invalid container ID format", given.display()))
}
