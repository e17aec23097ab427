//! `rt update`: changes the limits of a container.

use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use clap::{ArgMatches, Command, value_parser};
use serde_json::{Map, Value, json};

use super::{Globals, id, option, path_option, refused_option};
use crate::bundle::Resources;
use crate::container;

/// What the value of a flag is.
#[derive(Clone, Copy)]
enum Kind {
    /// Bytes, as `512m`; -1 is no limit.
    Bytes,
    /// A number, or nothing.
    Number,
    /// A number, and nothing else.
    Integer,
    /// CPUs or memory nodes.
    List,
}

/// A flag, where its value goes in `linux.resources`, and its help.
struct Flag {
    name: &'static str,
    kind: Kind,
    place: (&'static str, &'static str),
    help: &'static str,
}

const fn new(
    name: &'static str,
    kind: Kind,
    place: (&'static str, &'static str),
    help: &'static str,
) -> Flag {
    Flag {
        name,
        kind,
        place,
        help,
    }
}

const FLAGS: [Flag; 16] = [
    new(
        "memory",
        Kind::Bytes,
        ("memory", "limit"),
        "Bytes of memory, as 512m; -1 is unlimited",
    ),
    new(
        "memory-swap",
        Kind::Bytes,
        ("memory", "swap"),
        "Bytes of memory and swap together; -1 is unlimited",
    ),
    new(
        "memory-reservation",
        Kind::Bytes,
        ("memory", "reservation"),
        "Bytes of memory that are reclaimed last",
    ),
    new(
        "cpu-share",
        Kind::Number,
        ("cpu", "shares"),
        "Weight of its CPU time; 1024 is ordinary",
    ),
    new(
        "cpu-quota",
        Kind::Number,
        ("cpu", "quota"),
        "Microseconds of CPU time in each period; -1 is unlimited",
    ),
    new(
        "cpu-period",
        Kind::Number,
        ("cpu", "period"),
        "Length of a period in microseconds",
    ),
    new(
        "cpu-burst",
        Kind::Number,
        ("cpu", "burst"),
        "Microseconds of CPU time that may be saved up",
    ),
    new(
        "cpu-idle",
        Kind::Number,
        ("cpu", "idle"),
        "1: runs only when nobody else wants to; 0: not so",
    ),
    new(
        "cpu-rt-period",
        Kind::Number,
        ("cpu", "realtimePeriod"),
        "Length of a period of real-time scheduling in microseconds",
    ),
    new(
        "cpu-rt-runtime",
        Kind::Number,
        ("cpu", "realtimeRuntime"),
        "Microseconds of real-time scheduling in each period",
    ),
    new(
        "cpuset-cpus",
        Kind::List,
        ("cpu", "cpus"),
        "CPUs to run on, as 0-3,8",
    ),
    new(
        "cpuset-mems",
        Kind::List,
        ("cpu", "mems"),
        "Memory nodes to use",
    ),
    new(
        "pids-limit",
        Kind::Integer,
        ("pids", "limit"),
        "Number of tasks; -1 is unlimited",
    ),
    new(
        "blkio-weight",
        Kind::Integer,
        ("blockIO", "weight"),
        "Weight of its block I/O; only 0, for none, in this version",
    ),
    new(
        "kernel-memory",
        Kind::Bytes,
        ("memory", "kernel"),
        "Means nothing any more: says so and does nothing",
    ),
    new(
        "kernel-memory-tcp",
        Kind::Bytes,
        ("memory", "kernelTCP"),
        "Means nothing any more: says so and does nothing",
    ),
];

pub(super) fn define(command: Command) -> Command {
    let flags = FLAGS.iter().map(|flag| {
        let argument = match flag.kind {
            Kind::Bytes => option(flag.name, "BYTES"),
            Kind::Number => option(flag.name, "NUMBER"),
            Kind::Integer => option(flag.name, "NUMBER").value_parser(value_parser!(i64)),
            Kind::List => option(flag.name, "LIST"),
        };
        argument.help(flag.help)
    });
    command
        .about("Changes the limits of a container")
        .arg(
            path_option("resources", "FILE")
                .short('r')
                .help("The limits as JSON, as linux.resources has them; - is standard input"),
        )
        .args(flags)
        .arg(refused_option("l3-cache-schema"))
        .arg(refused_option("mem-bw-schema"))
        .arg(id::argument())
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let id = id::of(matches)?;
    let asked = asked(matches).with_context(|| id.to_owned())?;
    globals.kept.close();
    container::update(&globals.root, id, &asked).with_context(|| id.to_owned())?;
    Ok(0)
}

fn asked(matches: &ArgMatches) -> Result<Resources> {
    let mut given = FLAGS.iter().filter_map(|flag| {
        let value = flag.value(matches)?;
        Some((flag, value))
    });
    if let Some(file) = matches.get_one::<std::path::PathBuf>("resources") {
        if let Some((flag, _)) = given.next() {
            bail!("--{}: --resources says it all: give either", flag.name);
        }
        return read(file);
    }
    let mut resources = Map::new();
    for (flag, value) in given {
        let value = value.with_context(|| format!("--{}", flag.name))?;
        ensure!(
            flag.name != "blkio-weight" || value == 0,
            "--{}: not applied by this version",
            flag.name
        );
        let (group, field) = flag.place;
        let group = resources.entry(group).or_insert_with(|| json!({}));
        group[field] = value;
    }
    Resources::of_flags(resources)
}

fn read(file: &Path) -> Result<Resources> {
    if file == Path::new("-") {
        return Resources::read(io::stdin().lock(), "standard input");
    }
    let name = file.display().to_string();
    let opened = File::open(file).with_context(|| name.clone())?;
    Resources::read(opened, &name)
}

impl Flag {
    /// What was given, if anything.
    fn value(&self, matches: &ArgMatches) -> Option<Result<Value>> {
        let text = || matches.get_one::<String>(self.name);
        Some(match self.kind {
            Kind::Bytes => bytes(text()?).map(Value::from),
            Kind::Number => number(text()?).map(Value::from),
            Kind::Integer => Ok(Value::from(*matches.get_one::<i64>(self.name)?)),
            Kind::List => Ok(Value::from(text()?.as_str())),
        })
    }
}

fn number(text: &str) -> Result<i64> {
    text.parse()
        .ok()
        .with_context(|| format!("{text:?} is no number"))
}

/// A number of bytes as Docker's command line has it: `512m`, `1.5 GiB`; or -1.
fn bytes(text: &str) -> Result<i64> {
    let wrong = || format!("{text:?} is no number of bytes such as 512m, and not -1 (unlimited)");
    if text == "-1" {
        return Ok(-1);
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let power = match unit.as_str() {
        "" | "b" => Some(0),
        "k" | "kb" | "kib" => Some(10),
        "m" | "mb" | "mib" => Some(20),
        "g" | "gb" | "gib" => Some(30),
        "t" | "tb" | "tib" => Some(40),
        "p" | "pb" | "pib" => Some(50),
        _ => None,
    };
    let factor = 1_i64 << power.with_context(wrong)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole: i64 = whole.parse().ok().with_context(wrong)?;
    let fraction: f64 = format!("0.{fraction}").parse().ok().with_context(wrong)?;
    let parts = (fraction * factor as f64) as i64;
    let sum = whole
        .checked_mul(factor)
        .and_then(|sum| sum.checked_add(parts));
    sum.with_context(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_the_units_of_docker() {
        for (text, expected) in [
            ("0", 0),
            ("-1", -1),
            ("4096", 4096),
            ("4096b", 4096),
            ("32k", 32 << 10),
            ("32KB", 32 << 10),
            ("32 MiB", 32 << 20),
            ("1.5g", 3 << 29),
            ("2.t", 2 << 40),
            ("1P", 1 << 50),
        ] {
            assert_eq!(bytes(text).ok(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "m",
            "-5",
            "+5",
            "5x",
            "5 m b",
            "5mm",
            "5bb",
            "5  m",
            "1.2.3",
            ".5m",
            "0x5",
            "99999999999g",
            "5ib",
            "1e3",
        ] {
            bytes(text).unwrap_err();
        }
    }
}
