//! The argument with the id of a container.

use std::ffi::{OsStr, OsString};

use anyhow::{Result, bail, ensure};
use clap::{Arg, ArgMatches, value_parser};

use crate::container::id_fault;

/// runc's text for an id that no container can have.
const INVALID: &str = "invalid container ID format";

/// The length from which an error shows only the beginning of an id.
const SHOWN_CHARACTERS: usize = 64;

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
    ensure!(
        !given.is_empty(),
        "container id cannot be empty; rt list shows the ids"
    );
    validate(given)
}

/// `given` as text, if it is a valid id.
///
/// # Errors
/// When the id is too long or has characters that an id cannot have.
pub(super) fn validate(given: &OsStr) -> Result<&str> {
    let (id, fault) = match given.to_str() {
        Some(id) => (id, id_fault(id)),
        None => ("", Some("it is not UTF-8".to_owned())),
    };
    let Some(fault) = fault else {
        return Ok(id);
    };
    let shown = given.display().to_string();
    match shown.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => bail!("{}...: {INVALID}: {fault}", &shown[..end]),
        None => bail!("{shown}: {INVALID}: {fault}"),
    }
}
