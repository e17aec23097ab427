//! The argument with the id of a container.

use std::ffi::{OsStr, OsString};

use anyhow::{Result, anyhow, ensure};
use clap::{Arg, ArgMatches, value_parser};

use crate::container::valid_id;

/// The argument with the id of an existing container.
pub(super) fn argument() -> Arg {
    Arg::new("id")
        .value_name("container-id")
        .required(true)
        .value_parser(value_parser!(OsString))
        .help("Id of the container")
}

/// The id in the arguments.
///
/// # Errors
/// When the id is empty or has characters that an id cannot have.
pub(super) fn from_matches(matches: &ArgMatches) -> Result<&str> {
    let given = matches
        .get_one::<OsString>("id")
        .map(OsString::as_os_str)
        .unwrap_or_default();
    validate(given)
}

/// `given` as text, if it is a valid id.
///
/// # Errors
/// When the id is empty or has characters that an id cannot have.
pub(super) fn validate(given: &OsStr) -> Result<&str> {
    ensure!(!given.is_empty(), "container id cannot be empty");
    let valid = given.to_str().filter(|id| valid_id(id));
    valid.ok_or_else(|| anyhow!("{}: invalid container ID format", given.display()))
}
