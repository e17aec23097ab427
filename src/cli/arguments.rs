//! Parses arguments by the rules of Go's flag package, using clap's definitions.
//!
//! Container managers write `-no-subreaper`, `--rootless=false` and `kill ID --all`,
//! which clap rejects. One pass over the arguments rewrites them into a form that clap
//! accepts. Which flags exist comes from the definition of the command.

use std::any::TypeId;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

/// The arguments of one command.
pub(super) struct ParsedArguments {
    /// The command's name, its flags and its positional arguments, in a form that clap accepts.
    clap_line: Vec<OsString>,
    /// The positional arguments. For a command with verbs: the verb and everything after it.
    pub(super) positionals: Vec<OsString>,
    /// Whether `--help` was given, which overrides all other arguments.
    pub(super) help: bool,
}

/// Why arguments do not parse.
#[derive(Debug)]
pub(super) enum ParseError {
    UnknownFlag {
        /// The flag as it was typed, without a value.
        typed: OsString,
        /// The arguments after it.
        rest: Vec<OsString>,
    },
    /// The value of a flag is missing or malformed. Begins with the text of Go's flag package.
    Value(Error),
}

/// Parses the arguments that follow the name of a command.
///
/// # Errors
/// When a flag is not defined, or its value is missing or malformed.
pub(super) fn parse(
    command: &Command,
    arguments: Vec<OsString>,
) -> Result<ParsedArguments, ParseError> {
    let mut flags = Flags::default();
    let mut positionals = Vec::new();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            positionals.extend(arguments);
            break;
        }
        let Some((name, value)) = split_flag(&argument) else {
            positionals.push(argument);
            // Flags after a verb belong to the verb. After an id, `exec` and `ps` pass all
            // arguments on.
            if command.has_subcommands() || trailing_argument(command).is_some() {
                positionals.extend(arguments);
                break;
            }
            continue;
        };
        let Some(definition) = find(command, name) else {
            return Err(ParseError::UnknownFlag {
                typed: without_value(&argument).to_owned(),
                rest: arguments.collect(),
            });
        };
        let value = if definition.get_action().takes_values() {
            let value = value.map(OsStr::to_owned).or_else(|| arguments.next());
            text_value(definition, name, value)
        } else {
            boolean_value(name, value)
        };
        flags.set(definition, value.map_err(ParseError::Value)?);
    }
    Ok(flags.into_parsed(command, positionals))
}

/// The value of a flag that takes one. `None` if it is empty, which is the same as an absent flag,
/// as for runc.
fn text_value(definition: &Arg, name: &OsStr, value: Option<OsString>) -> Result<Option<OsString>> {
    let name = name.display();
    let value = value.with_context(|| {
        let long = definition.get_long().unwrap_or_default();
        let value = value_name(definition);
        format!("flag needs an argument: -{name}: expected --{long} {value}")
    })?;
    if value.is_empty() && !is_text(definition) {
        return Err(not_a_number("", &name.to_string()));
    }
    Ok((!value.is_empty()).then_some(value))
}

/// The value of a flag that is on or off. `None` if it is off.
fn boolean_value(name: &OsStr, value: Option<&OsStr>) -> Result<Option<OsString>> {
    let on = value.map_or(Some(true), parse_bool).with_context(|| {
        format!(
            "invalid boolean value {:?} for -{}: expected true or false",
            value.unwrap_or_default().display().to_string(),
            name.display()
        )
    })?;
    Ok(on.then(OsString::new))
}

/// The error for the value of a flag that takes a number.
fn not_a_number(value: &str, name: &str) -> Error {
    let reason = if value.parse::<i128>().is_ok() {
        "value out of range"
    } else {
        "parse error"
    };
    anyhow!("invalid value {value:?} for flag -{name}: {reason}: expected a number such as 3")
}

/// The flags parsed so far, in their order. A flag that takes one value keeps the last one.
#[derive(Default)]
struct Flags {
    list: Vec<Flag>,
}

struct Flag {
    name: String,
    value: OsString,
}

impl Flags {
    /// A value of `None` removes the flag, as `--keep=false` does.
    fn set(&mut self, definition: &Arg, value: Option<OsString>) {
        let name = definition.get_long().unwrap_or_default().to_owned();
        if !matches!(definition.get_action(), ArgAction::Append) {
            self.list.retain(|other| other.name != name);
        }
        if let Some(value) = value {
            self.list.push(Flag { name, value });
        }
    }

    fn into_parsed(self, command: &Command, positionals: Vec<OsString>) -> ParsedArguments {
        let mut clap_line = vec![OsString::from(command.get_name())];
        for Flag { name, value } in &self.list {
            let mut argument = OsString::from(format!("--{name}"));
            if !value.is_empty() {
                argument.push("=");
                argument.push(value);
            }
            clap_line.push(argument);
        }
        if !command.has_subcommands() {
            clap_line.push(OsString::from("--"));
            clap_line.extend(positionals.iter().cloned());
        }
        ParsedArguments {
            clap_line,
            positionals,
            help: self.list.iter().any(|flag| flag.name == "help"),
        }
    }
}

impl ParsedArguments {
    /// The text of a flag's value. `name` is the long name.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let mut flags = self.clap_line.iter().take_while(|flag| *flag != "--");
        flags.find_map(|flag| {
            let (flag, value) = flag.to_str()?.split_once('=')?;
            (flag.strip_prefix("--") == Some(name)).then_some(value)
        })
    }

    /// Calls `replace` with the long name and the path of each flag that takes a path, and puts
    /// the path that it returns into the flag.
    pub(super) fn replace_paths(
        &mut self,
        command: &Command,
        mut replace: impl FnMut(&str, &Path) -> Option<PathBuf>,
    ) {
        let flags = self.clap_line.iter_mut().take_while(|flag| *flag != "--");
        for flag in flags {
            let Some((name, Some(value))) = split_flag(flag) else {
                continue;
            };
            let is_path = |definition: &Arg| {
                definition.get_value_parser().type_id() == TypeId::of::<PathBuf>()
            };
            if find(command, name).is_some_and(is_path)
                && let Some(name) = name.to_str()
                && let Some(path) = replace(name, Path::new(value))
            {
                let mut replaced = OsString::from(format!("--{name}="));
                replaced.push(path);
                *flag = replaced;
            }
        }
    }

    /// The arguments as clap's typed values.
    ///
    /// # Errors
    /// When clap rejects a value: a text that is not UTF-8, or a number that does not parse.
    pub(super) fn matches(&self, command: &Command) -> Result<ArgMatches> {
        let matches = command.clone().try_get_matches_from(&self.clap_line);
        matches.map_err(|error| value_error(&error))
    }
}

/// An error of clap about a value, as one line.
fn value_error(error: &clap::Error) -> Error {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    // Numbers are the only values that clap itself checks. It shows the flag as `--name <VALUE>`.
    if error.kind() == ErrorKind::ValueValidation
        && let Some(flag) = context(ContextKind::InvalidArg)
        && let Some(value) = context(ContextKind::InvalidValue)
    {
        let name = flag.split(' ').next().unwrap_or_default();
        return not_a_number(value, name.trim_start_matches('-'));
    }
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    anyhow!("{}", line.trim_start_matches("error: "))
}

/// Name and value of `-name`, `--name`, `-name=value` and `--name=value`. `None` for any other
/// argument, `-` among them.
pub(super) fn split_flag(argument: &OsStr) -> Option<(&OsStr, Option<&OsStr>)> {
    let name = argument
        .as_bytes()
        .strip_prefix(b"-")
        .filter(|name| !name.is_empty())?;
    let name = name.strip_prefix(b"-").unwrap_or(name);
    let parts: Vec<&[u8]> = name.splitn(2, |byte| *byte == b'=').collect();
    let part = |index: usize| parts.get(index).copied().map(OsStr::from_bytes);
    Some((part(0)?, part(1)))
}

/// A flag as it was typed, without `=value`.
fn without_value(argument: &OsStr) -> &OsStr {
    let mut parts = argument.as_bytes().splitn(2, |byte| *byte == b'=');
    OsStr::from_bytes(parts.next().unwrap_or_default())
}

/// The definition of a flag, by its long name or its letter.
pub(super) fn find<'a>(command: &'a Command, name: &OsStr) -> Option<&'a Arg> {
    let name = name.to_str()?;
    let mut letters = name.chars();
    let letter = letters.next().filter(|_| letters.next().is_none());
    let mut arguments = command
        .get_arguments()
        .filter(|argument| !argument.is_positional());
    arguments.find(|argument| {
        argument.get_long() == Some(name) || (letter.is_some() && argument.get_short() == letter)
    })
}

/// Whether the value is text or a path, and may be empty. A flag that runc defines as text is
/// text here too, even if its value is converted to a number later.
fn is_text(definition: &Arg) -> bool {
    let value = definition.get_value_parser().type_id();
    let texts = [
        TypeId::of::<String>(),
        TypeId::of::<OsString>(),
        TypeId::of::<PathBuf>(),
    ];
    texts.iter().any(|text| value == *text)
}

/// The positional argument that takes all remaining arguments, including those with dashes.
fn trailing_argument(command: &Command) -> Option<&Arg> {
    let mut positionals = command.get_positionals();
    positionals.find(|argument| argument.is_trailing_var_arg_set())
}

/// The boolean that Go's `strconv.ParseBool` returns, `None` where it returns an error.
pub(super) fn parse_bool(value: &OsStr) -> Option<bool> {
    match value.as_bytes() {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Some(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Some(false),
        _ => None,
    }
}

/// Checks the number of positional arguments against the definition of the command.
///
/// # Errors
/// When there are too few or too many. The text begins with runc's: `"start" requires exactly 1
/// argument(s)`.
pub(super) fn check_count(command: &Command, positionals: &[OsString]) -> Result<()> {
    let name = command.get_name();
    let required = || {
        let positionals = command.get_positionals();
        positionals.filter(|argument| argument.is_required_set())
    };
    let minimum = required().count();
    let takes_many = |argument: &Arg| {
        let number = argument.get_num_args();
        number.is_some_and(|number| number.max_values() == usize::MAX)
    };
    let maximum = if command.get_positionals().any(takes_many) {
        usize::MAX
    } else {
        command.get_positionals().count()
    };
    let count = positionals.len();
    let problem = match (required().nth(count), positionals.get(maximum)) {
        (Some(missing), _) => format!("{} is missing", value_name(missing)),
        (None, Some(extra)) => format!("{:?} is one too many", extra.display().to_string()),
        (None, None) => return Ok(()),
    };
    if minimum == maximum {
        bail!("{name:?} requires exactly {maximum} argument(s): {problem}");
    }
    ensure!(
        count >= minimum,
        "{name:?} requires a minimum of {minimum} argument(s): {problem}"
    );
    bail!("{name:?} requires a maximum of {maximum} argument(s): {problem}")
}

/// The name that the help gives to the value of an argument, such as `container-id`.
pub(super) fn value_name(argument: &Arg) -> &str {
    let names = argument.get_value_names().unwrap_or_default();
    let name = names.first().map(|name| name.as_str());
    name.unwrap_or(argument.get_id().as_str())
}

#[cfg(test)]
mod tests;
