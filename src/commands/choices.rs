//! Arguments whose value is one of a few names: what completions offer, and what an error says.

use std::ffi::OsStr;

use anyhow::{Error, anyhow};
use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Command, ValueHint};

use super::option;
use crate::nearest::nearest;

/// The values of `--format`.
const FORMATS: [&str; 2] = ["table", "json"];

/// `--format` of `list`, `network`, `ps` and `stats`.
pub(super) fn format() -> Arg {
    suggest(option("format", "FORMAT"), || FORMATS.to_vec())
        .short('f')
        .default_value("table")
        .help("Output format: table or json")
}

/// The error for a value of [`format`], which begins with runc's text.
pub(super) fn unknown_format(typed: &str) -> Error {
    let meant = meant_or_expected(typed, &FORMATS);
    anyhow!("invalid format option: {typed}: {meant}")
}

/// Makes completions offer `names`. The value remains a text that the verb itself checks: the
/// parser would not have runc's text for an error.
pub(crate) fn suggest(argument: Arg, names: impl Names) -> Arg {
    argument
        .value_parser(Suggestions { names })
        .value_hint(ValueHint::Unknown)
        .hide_possible_values(true)
}

/// What was probably meant by `typed`, or all that is possible: `did you mean json?`,
/// `expected table or json`.
pub(crate) fn meant_or_expected(typed: &str, names: &[&str]) -> String {
    match (nearest(typed, names.iter().copied()), names) {
        (Some(name), _) => format!("did you mean {name}?"),
        (None, [first @ .., last]) if !first.is_empty() => {
            format!("expected {} or {last}", first.join(", "))
        }
        (None, _) => format!("expected {}", names.concat()),
    }
}

/// A function that lists names. Its own type has no size, so that defining an argument does not
/// allocate.
pub(crate) trait Names: Fn() -> Vec<&'static str> + Clone + Send + Sync + 'static {}

impl<F: Fn() -> Vec<&'static str> + Clone + Send + Sync + 'static> Names for F {}

#[derive(Clone)]
struct Suggestions<N> {
    names: N,
}

impl<N: Names> TypedValueParser for Suggestions<N> {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new((self.names)().into_iter().map(PossibleValue::new)))
    }
}
