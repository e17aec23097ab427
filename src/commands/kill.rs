//! `rt kill`: sends a signal to a container's first process or to all of its processes.

use std::str::FromStr;

use anyhow::{Context, Error, Result, anyhow};
use clap::{Arg, ArgMatches, Command};
use nix::sys::signal::Signal;

use super::{Globals, flag, id, suggest};
use crate::container::{self, KillTarget};
use crate::nearest::nearest;

/// The numbers of SIGRTMIN to SIGRTMAX. The kernel's range begins at 32; the C library reserves 32
/// and 33 (signal(7)).
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

pub(super) fn define(command: Command) -> Command {
    command
        .about("Send a signal to a container")
        .after_help("Example: rt kill web KILL")
        .arg(id::argument())
        .arg(
            suggest(Arg::new("signal"), names)
                .value_name("signal")
                .default_value("SIGTERM")
                .help("Name, with or without SIG, or number of the signal"),
        )
        .arg(
            flag("all").short('a').help(
                "Send the signal to all processes, also to those left in a stopped container",
            ),
        )
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let id = id::from_matches(matches)?;
    let name = matches
        .get_one::<String>("signal")
        .map(String::as_str)
        .unwrap_or_default();
    let signal = parse_signal(name)
        .ok_or_else(|| unknown_signal(name))
        .with_context(|| id.to_owned())?;
    let whom = if matches.get_flag("all") {
        KillTarget::All
    } else {
        KillTarget::Init
    };
    container::kill(&globals.root, id, signal, whom).with_context(|| id.to_owned())?;
    Ok(0)
}

/// The names of all signals, without `SIG`. Those of real-time signals are not among them.
fn names() -> Vec<&'static str> {
    let names = Signal::iterator().map(Signal::as_str);
    names.filter_map(|name| name.strip_prefix("SIG")).collect()
}

fn unknown_signal(typed: &str) -> Error {
    let upper = typed.to_ascii_uppercase();
    let remedy = match nearest(upper.strip_prefix("SIG").unwrap_or(&upper), names()) {
        Some(name) => format!("did you mean {name}?"),
        None => "expected a name such as TERM, or a number up to 64".to_owned(),
    };
    anyhow!("unknown signal {typed:?}: {remedy}")
}

/// The number of a signal given by name or number. Signal 0 is valid: kill(2) then only checks
/// that the process exists.
fn parse_signal(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse::<u8>() {
        let number = i32::from(number);
        return (number <= *REAL_TIME.end() && !name.starts_with('+')).then_some(number);
    }
    let name = name.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some(number) = parse_real_time(name) {
        return Some(number);
    }
    // Synonyms that signal(7) lists.
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

/// The number of `RTMIN`, `RTMIN+3`, `RTMAX` or `RTMAX-1`.
fn parse_real_time(name: &str) -> Option<i32> {
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
    fn a_signal_has_a_name_or_a_number() {
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
            assert_eq!(parse_signal(name), Some(signal), "{name}");
        }
    }

    #[test]
    fn an_unknown_signal_is_refused() {
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
            assert_eq!(parse_signal(name), None, "{name}");
        }
    }
}
