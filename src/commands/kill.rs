//! `rt kill`: sends a signal to a container's process, or to all of them.

use std::str::FromStr;

use anyhow::{Context, Result, anyhow};
use clap::{Arg, ArgMatches, Command};
use nix::sys::signal::Signal;

use super::{Globals, flag, id};
use crate::container::{self, Whom};

/// The C library keeps the first two for itself (signal(7)).
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

pub(super) fn define(command: Command) -> Command {
    command
        .about("Sends a signal to the process of a container")
        .arg(id::argument())
        .arg(
            Arg::new("signal")
                .value_name("signal")
                .default_value("SIGTERM")
                .help("Its name, with or without SIG, or its number"),
        )
        .arg(
            flag("all")
                .short('a')
                .help("To all of its processes, also those left when it has stopped"),
        )
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let id = id::of(matches)?;
    let name = matches
        .get_one::<String>("signal")
        .map(String::as_str)
        .unwrap_or_default();
    let signal = number(name)
        .ok_or_else(|| anyhow!("unknown signal {name:?}"))
        .with_context(|| id.to_owned())?;
    let whom = match matches.get_flag("all") {
        true => Whom::All,
        false => Whom::First,
    };
    container::kill(&globals.root, id, signal, whom).with_context(|| id.to_owned())?;
    Ok(0)
}

/// 0 sends nothing and only asks whether the process is there, as kill(2) has it.
fn number(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse::<u8>() {
        let number = i32::from(number);
        return (number <= *REAL_TIME.end() && !name.starts_with('+')).then_some(number);
    }
    let name = name.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some(number) = real_time(name) {
        return Some(number);
    }
    // Other names for the same, which signal(7) lists.
    let name = match name {
        "CLD" => "CHLD",
        "IOT" => "ABRT",
        "POLL" => "IO",
        name => name,
    };
    Signal::from_str(&format!("SIG{name}"))
        .ok()
        .map(|signal| signal as i32)
}

/// `RTMIN`, `RTMIN+3`, `RTMAX`, `RTMAX-1`.
fn real_time(name: &str) -> Option<i32> {
    let offset = |rest: &str, sign: char| match rest.strip_prefix(sign) {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse::<i32>().ok()
        }
        None if rest.is_empty() => Some(0),
        _ => None,
    };
    let from_start = |rest| Some(REAL_TIME.start() + offset(rest, '+')?);
    let from_end = |rest| Some(REAL_TIME.end() - offset(rest, '-')?);
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => from_start(rest)?,
        (_, Some(rest)) => from_end(rest)?,
        _ => return None,
    };
    REAL_TIME.contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_signals() {
        let cases = [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigkill", 9),
            ("Hup", 1),
            ("9", 9),
            ("0", 0),
            ("64", 64),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("rtmax-1", 63),
            ("SIGRTMAX", 64),
            ("SIGRTMIN+30", 64),
            ("IOT", 6),
            ("SIGPOLL", 29),
            ("cld", 17),
        ];
        for (name, signal) in cases {
            assert_eq!(number(name), Some(signal), "{name}");
        }
    }

    #[test]
    fn others_are_none() {
        let names = [
            "",
            "SIG",
            "SIGFOO",
            "65",
            "-1",
            "+9",
            "9x",
            "RTMIN+31",
            "RTMAX-31",
            "RTMIN-1",
            "RTMIN+",
            "RTMIN+-1",
            "SIGSIGTERM",
            " TERM",
        ];
        for name in names {
            assert_eq!(number(name), None, "{name}");
        }
    }
}
