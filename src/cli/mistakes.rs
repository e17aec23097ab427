//! What an error says about a mistyped command line: what was probably meant, or where the help is.
//! This runs only after the arguments have been refused.

use std::ffi::{OsStr, OsString};

use anyhow::{Error, anyhow};
use clap::{Arg, Command};

use super::arguments::{self, ParseError};
use crate::nearest::nearest;

/// The error for a verb that does not exist, which begins with runc's text.
pub(super) fn unknown_verb<'a>(typed: &OsStr, verbs: impl Iterator<Item = &'a str>) -> Error {
    let remedy = match nearest(&typed.to_string_lossy(), verbs.chain(["help"])) {
        Some(verb) => format!("did you mean {verb}?"),
        None => "rt help lists the commands".to_owned(),
    };
    anyhow!("No help topic for '{}': {remedy}", typed.display())
}

/// The error for arguments before the verb. `program` has the global flags and all verbs.
pub(super) fn before_verb(error: ParseError, program: &Command) -> Error {
    match error {
        ParseError::Value(error) => error,
        ParseError::UnknownFlag { typed, rest } => {
            let remedy = flag_of_a_verb(program, &typed, &rest)
                .or_else(|| nearest_flag(program, &typed))
                .unwrap_or_else(|| "rt --help lists the flags".to_owned());
            unknown_flag(&typed, &remedy)
        }
    }
}

/// The error for arguments after the verb. `program` has the global flags.
pub(super) fn after_verb(error: ParseError, verb: &Command, program: &Command) -> Error {
    match error {
        ParseError::Value(error) => error,
        ParseError::UnknownFlag { typed, .. } => {
            let remedy = global_flag(program, verb, &typed)
                .or_else(|| terminal(verb, &typed).map(str::to_owned))
                .or_else(|| nearest_flag(verb, &typed))
                .unwrap_or_else(|| format!("rt {} --help lists the flags", verb.get_name()));
            unknown_flag(&typed, &remedy)
        }
    }
}

/// The beginning is the text of Go's flag package, which always writes a single dash.
fn unknown_flag(typed: &OsStr, remedy: &str) -> Error {
    let typed = typed.display();
    anyhow!("flag provided but not defined: {typed}: {remedy}")
}

/// The remedy for a flag of a verb that comes before the verb.
fn flag_of_a_verb(program: &Command, typed: &OsStr, rest: &[OsString]) -> Option<String> {
    let has_flag = |verb: &&Command| visible(verb, typed).is_some();
    let is_typed = |verb: &&Command| rest.iter().any(|argument| argument == verb.get_name());
    let verbs: Vec<&Command> = program.get_subcommands().filter(has_flag).collect();
    let typed_verb = verbs.iter().copied().find(is_typed);
    let verb = typed_verb.or_else(|| verbs.first().copied())?;
    let (name, flag) = (verb.get_name(), with_value(visible(verb, typed)?, typed));
    Some(format!(
        "a flag of {name} comes after the command: rt {name} {flag}"
    ))
}

/// The remedy for a global flag that comes after the verb.
fn global_flag(program: &Command, verb: &Command, typed: &OsStr) -> Option<String> {
    let flag = with_value(visible(program, typed)?, typed);
    let verb = verb.get_name();
    Some(format!(
        "a global flag comes before the command: rt {flag} {verb}"
    ))
}

/// The remedy for `-it` and its parts, by which other programs are asked for a terminal.
fn terminal(verb: &Command, typed: &OsStr) -> Option<&'static str> {
    let (name, _) = arguments::split_flag(typed)?;
    let asks = ["i", "t", "it", "ti", "interactive", "tty"];
    match verb.get_name() {
        _ if !asks.iter().any(|flag| name == *flag) => None,
        "run" | "create" => {
            Some("\"terminal\": true in config.json (process.terminal) asks for a terminal")
        }
        "exec" => Some("-t asks for a terminal, and standard input is always connected"),
        _ => None,
    }
}

fn nearest_flag(command: &Command, typed: &OsStr) -> Option<String> {
    let (name, _) = arguments::split_flag(typed)?;
    let flags = command.get_arguments().filter(|flag| !flag.is_hide_set());
    let name = nearest(name.to_str()?, flags.filter_map(Arg::get_long))?;
    Some(format!("did you mean --{name}?"))
}

/// The flag of a command, unless this version refuses it.
fn visible<'a>(command: &'a Command, typed: &OsStr) -> Option<&'a Arg> {
    let (name, _) = arguments::split_flag(typed)?;
    arguments::find(command, name).filter(|flag| !flag.is_hide_set())
}

/// The flag as it was typed, with the name of its value: `--root DIR`.
fn with_value(flag: &Arg, typed: &OsStr) -> String {
    let typed = typed.display();
    if flag.get_action().takes_values() {
        format!("{typed} {}", arguments::value_name(flag))
    } else {
        typed.to_string()
    }
}
