//! Arguments as Go's flag package takes them, checked against clap's definitions.
//!
//! Managers write `-no-subreaper`, `--rootless=false` and `kill ID --all`, which
//! clap refuses. One pass over the words, led by what the command defines, puts
//! them into a form that clap takes; no flag is named here.

use std::any::TypeId;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{Arg, ArgAction, ArgMatches, Command};

/// What was asked of one command.
pub(super) struct Asked {
    /// In the form that clap takes.
    line: Vec<OsString>,
    /// The words that are no flags: for a command with verbs, from the verb on.
    pub(super) words: Vec<OsString>,
    /// Wins over everything else.
    pub(super) help: bool,
    /// The first flag that is defined as hidden, which means: refused.
    pub(super) refused: Option<String>,
}

/// Reads the words after the name of a command.
///
/// # Errors
/// In Go's words: `flag provided but not defined: -x`.
pub(super) fn read(command: &Command, words: Vec<OsString>) -> Result<Asked> {
    let mut given = Given::default();
    let mut rest = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word == "--" {
            rest.extend(words);
            break;
        }
        let Some((name, value)) = as_flag(&word) else {
            rest.push(word);
            // The verb's own flags are the verb's; what `ps` is to show is its own affair.
            if command.has_subcommands() || payload(command).is_some() {
                rest.extend(words);
                break;
            }
            continue;
        };
        let argument = find(command, name)
            .with_context(|| format!("flag provided but not defined: -{}", name.display()))?;
        if argument.get_action().takes_values() {
            let value = value.map(OsStr::to_owned).or_else(|| words.next());
            let value =
                value.with_context(|| format!("flag needs an argument: -{}", name.display()))?;
            ensure!(
                !value.is_empty() || is_text(argument),
                "invalid value \"\" for flag -{}: parse error",
                name.display()
            );
            // To those who ask, an empty text is none.
            given.set(argument, (!value.is_empty()).then_some(value));
        } else {
            let on = value.map_or(Some(true), as_bool).with_context(|| {
                let value = value.unwrap_or_default().display();
                format!(
                    "invalid boolean value {:?} for -{}",
                    value.to_string(),
                    name.display()
                )
            })?;
            given.set(argument, on.then(OsString::new));
        }
    }
    Ok(given.into_asked(command, rest))
}

/// The flags so far, in the order given. Of one that takes a single value the last counts.
#[derive(Default)]
struct Given {
    flags: Vec<Flag>,
}

struct Flag {
    name: String,
    value: OsString,
    hidden: bool,
}

impl Given {
    /// `None` takes a flag back: `--keep=false`.
    fn set(&mut self, argument: &Arg, value: Option<OsString>) {
        let name = argument.get_long().unwrap_or_default().to_owned();
        if !matches!(argument.get_action(), ArgAction::Append) {
            self.flags.retain(|other| other.name != name);
        }
        if let Some(value) = value {
            let hidden = argument.is_hide_set();
            self.flags.push(Flag {
                name,
                value,
                hidden,
            });
        }
    }

    fn into_asked(self, command: &Command, words: Vec<OsString>) -> Asked {
        let mut line = vec![OsString::from(command.get_name())];
        for Flag { name, value, .. } in &self.flags {
            let mut word = OsString::from(format!("--{name}"));
            if !value.is_empty() {
                word.push("=");
                word.push(value);
            }
            line.push(word);
        }
        if !command.has_subcommands() {
            line.push(OsString::from("--"));
            line.extend(words.iter().cloned());
        }
        Asked {
            line,
            words,
            help: self.flags.iter().any(|flag| flag.name == "help"),
            refused: self
                .flags
                .into_iter()
                .find(|flag| flag.hidden)
                .map(|flag| flag.name),
        }
    }
}

impl Asked {
    /// The value of a flag, as it was written.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let mut flags = self.line.iter().take_while(|word| *word != "--");
        flags.find_map(|word| {
            let (flag, value) = word.to_str()?.split_once('=')?;
            (flag.strip_prefix("--") == Some(name)).then_some(value)
        })
    }

    /// Lets `replace` look at each flag with a path, by its long name, and change it.
    pub(super) fn replace_paths(
        &mut self,
        command: &Command,
        mut replace: impl FnMut(&str, &Path) -> Option<PathBuf>,
    ) {
        let flags = self.line.iter_mut().take_while(|word| *word != "--");
        for word in flags {
            let Some((name, Some(value))) = as_flag(word) else {
                continue;
            };
            let is_path =
                |argument: &Arg| argument.get_value_parser().type_id() == TypeId::of::<PathBuf>();
            if find(command, name).is_some_and(is_path)
                && let Some(name) = name.to_str()
                && let Some(path) = replace(name, Path::new(value))
            {
                let mut replaced = OsString::from(format!("--{name}="));
                replaced.push(path);
                *word = replaced;
            }
        }
    }

    /// The values, once it is settled that they are to be used.
    ///
    /// # Errors
    /// At what clap finds wrong and nobody has found before: a value that is no UTF-8.
    pub(super) fn matches(&self, command: &Command) -> Result<ArgMatches> {
        let matches = command.clone().try_get_matches_from(&self.line);
        matches.map_err(|error| {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            anyhow!("{}", line.trim_start_matches("error: "))
        })
    }
}

/// Name and value of `-name`, `--name` and either with `=value`.
pub(super) fn as_flag(word: &OsStr) -> Option<(&OsStr, Option<&OsStr>)> {
    let name = word
        .as_bytes()
        .strip_prefix(b"-")
        .filter(|name| !name.is_empty())?;
    let name = name.strip_prefix(b"-").unwrap_or(name);
    let parts: Vec<&[u8]> = name.splitn(2, |byte| *byte == b'=').collect();
    let part = |index: usize| parts.get(index).copied().map(OsStr::from_bytes);
    Some((part(0)?, part(1)))
}

fn find<'a>(command: &'a Command, name: &OsStr) -> Option<&'a Arg> {
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

/// Whether the value may be any text, where an empty one counts as none. What runc reads as text is text
/// here, even if a number is to come of it.
fn is_text(argument: &Arg) -> bool {
    let value = argument.get_value_parser().type_id();
    let texts = [
        TypeId::of::<String>(),
        TypeId::of::<OsString>(),
        TypeId::of::<PathBuf>(),
    ];
    texts.iter().any(|text| value == *text)
}

/// The argument that takes everything after the one before it, whatever it looks like.
fn payload(command: &Command) -> Option<&Arg> {
    let mut words = command.get_positionals();
    words.find(|word| word.is_trailing_var_arg_set())
}

/// What Go's `ParseBool` says.
pub(super) fn as_bool(value: &OsStr) -> Option<bool> {
    match value.as_bytes() {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Some(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Some(false),
        _ => None,
    }
}

/// Whether a command got as many words as it defines.
///
/// # Errors
/// In runc's words: `"start" requires exactly 1 argument(s)`.
pub(super) fn check_count(command: &Command, words: &[OsString]) -> Result<()> {
    let name = command.get_name();
    let least = command
        .get_positionals()
        .filter(|word| word.is_required_set())
        .count();
    let most = match payload(command) {
        Some(_) => usize::MAX,
        None => command.get_positionals().count(),
    };
    let count = words.len();
    if least == most {
        ensure!(
            count == most,
            "{name:?} requires exactly {most} argument(s)"
        );
    }
    if count < least {
        bail!("{name:?} requires a minimum of {least} argument(s)");
    }
    ensure!(
        count <= most,
        "{name:?} requires a maximum of {most} argument(s)"
    );
    Ok(())
}

#[cfg(test)]
mod tests;
