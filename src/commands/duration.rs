//! `--interval`: a duration as Go writes it, such as `5s`, `1m30s` or `1.5h`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Arg, ArgMatches};

use super::option;

const INTERVAL: &str = "interval";

/// The units, in nanoseconds. A unit comes before those that its name begins with.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The definition of `--interval`.
pub(super) fn interval(default: &'static str, help: &'static str) -> Arg {
    option(INTERVAL, "DURATION")
        .default_value(default)
        .help(help)
}

/// The value of `--interval`.
///
/// # Errors
/// When it is not a duration, or not greater than 0, with the texts of Go and of runc.
pub(super) fn from_matches(matches: &ArgMatches) -> Result<Duration> {
    let text = matches
        .get_one::<String>(INTERVAL)
        .map_or("", String::as_str);
    let (negative, absolute) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let duration = parse(absolute).with_context(|| {
        format!("invalid value {text:?} for flag -{INTERVAL}: parse error: expected a duration such as 5s, 500ms or 1m30s")
    })?;
    ensure!(
        !negative && !duration.is_zero(),
        "duration interval must be greater than 0"
    );
    Ok(duration)
}

/// A sequence of decimal numbers, each with a unit, or `0`.
fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut nanoseconds: u128 = 0;
    let mut rest = text;
    while !rest.is_empty() || nanoseconds == 0 && text.is_empty() {
        let is_number = |character: char| character.is_ascii_digit() || character == '.';
        let (number, after) = rest.split_at(rest.find(|c| !is_number(c))?);
        let unit = UNITS.iter().find(|(name, _)| after.starts_with(name))?;
        rest = &after[unit.0.len()..];
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let digits = |text: &str| match text {
            "" => Some(0),
            text => text.parse::<u64>().ok().map(u128::from),
        };
        // No unit has more than 13 digits of nanoseconds.
        let fraction = fraction.get(..13).unwrap_or(fraction);
        let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        nanoseconds += digits(whole)? * unit.1 + digits(fraction)? * unit.1 / scale;
    }
    u64::try_from(nanoseconds).ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        let cases = [
            ("5s", Some(5_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            ("100ms", Some(100_000_000)),
            (".5s", Some(500_000_000)),
            ("1.s", Some(1_000_000_000)),
            ("2us", Some(2_000)),
            ("2\u{b5}s", Some(2_000)),
            ("7ns", Some(7)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("", None),
            ("5", None),
            ("s", None),
            (".s", None),
            ("5 s", None),
            ("5d", None),
            ("1.2.3s", None),
            ("5s7", None),
            ("9999999999999h", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected.map(Duration::from_nanos), "{text:?}");
        }
    }
}
