//! `rt update`: changes the resource limits of a container.

use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::{ArgMatches, Command, value_parser};
use serde_json::{Map, Value, json};

use super::{Globals, id, option, path_option};
use crate::bundle::Resources;
use crate::container;
use crate::resctrl::Update;

/// The type of a flag's value.
#[derive(Clone, Copy)]
enum Kind {
    /// A number of bytes such as `512m`. -1 is unlimited. May be empty.
    Bytes,
    /// A number. May be empty, which runc accepts for these flags.
    Number,
    /// A number. Cannot be empty.
    Integer,
    /// A list of CPUs or memory nodes, as in cpuset(7).
    List,
}

/// A flag and the field of `linux.resources` that it sets.
struct Flag {
    name: &'static str,
    kind: Kind,
    field: (&'static str, &'static str),
    help: &'static str,
}

const fn new(
    name: &'static str,
    kind: Kind,
    field: (&'static str, &'static str),
    help: &'static str,
) -> Flag {
    Flag {
        name,
        kind,
        field,
        help,
    }
}

const FLAGS: [Flag; 16] = [
    new(
        "memory",
        Kind::Bytes,
        ("memory", "limit"),
        "Memory limit in bytes, such as 512m; -1 is unlimited",
    ),
    new(
        "memory-swap",
        Kind::Bytes,
        ("memory", "swap"),
        "Limit of memory plus swap in bytes; -1 is unlimited",
    ),
    new(
        "memory-reservation",
        Kind::Bytes,
        ("memory", "reservation"),
        "Soft memory limit in bytes",
    ),
    new(
        "cpu-share",
        Kind::Number,
        ("cpu", "shares"),
        "Relative weight of CPU time; the kernel's default is 1024",
    ),
    new(
        "cpu-quota",
        Kind::Number,
        ("cpu", "quota"),
        "CPU time per period in microseconds; -1 is unlimited",
    ),
    new(
        "cpu-period",
        Kind::Number,
        ("cpu", "period"),
        "Length of the CPU period in microseconds",
    ),
    new(
        "cpu-burst",
        Kind::Number,
        ("cpu", "burst"),
        "Unused CPU time that may accumulate, in microseconds",
    ),
    new(
        "cpu-idle",
        Kind::Number,
        ("cpu", "idle"),
        "1 to run only on otherwise idle CPUs (SCHED_IDLE), 0 for normal scheduling",
    ),
    new(
        "cpu-rt-period",
        Kind::Number,
        ("cpu", "realtimePeriod"),
        "Length of the real-time scheduling period in microseconds",
    ),
    new(
        "cpu-rt-runtime",
        Kind::Number,
        ("cpu", "realtimeRuntime"),
        "Real-time CPU time per period in microseconds",
    ),
    new(
        "cpuset-cpus",
        Kind::List,
        ("cpu", "cpus"),
        "CPUs to run on, such as 0-3,8",
    ),
    new(
        "cpuset-mems",
        Kind::List,
        ("cpu", "mems"),
        "Memory nodes to use, such as 0-1",
    ),
    new(
        "pids-limit",
        Kind::Integer,
        ("pids", "limit"),
        "Maximum number of processes and threads; -1 is unlimited",
    ),
    new(
        "blkio-weight",
        Kind::Integer,
        ("blockIO", "weight"),
        "Weight of block I/O, 10 to 1000; 0 sets none",
    ),
    new(
        "kernel-memory",
        Kind::Bytes,
        ("memory", "kernel"),
        "Obsolete: prints a warning and has no effect",
    ),
    new(
        "kernel-memory-tcp",
        Kind::Bytes,
        ("memory", "kernelTCP"),
        "Obsolete: prints a warning and has no effect",
    ),
];

/// These two are no fields of `linux.resources`, and can be combined with `--resources`.
const L3_CACHE_SCHEMA: &str = "l3-cache-schema";
const MEM_BW_SCHEMA: &str = "mem-bw-schema";

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
        .about("Change the resource limits of a container")
        .after_help("Example: rt update --memory 512m --pids-limit 100 web")
        .arg(
            path_option("resources", "FILE")
                .short('r')
                .help("Read the limits from this JSON file, in the format of linux.resources; - is standard input"),
        )
        .args(flags)
        .arg(option(L3_CACHE_SCHEMA, "SCHEMA").help(
            "Bit masks of the L3 caches, such as L3:0=7f0;1=1f, for a container with linux.intelRdt",
        ))
        .arg(option(MEM_BW_SCHEMA, "SCHEMA").help(
            "Memory bandwidths of the L3 caches, such as MB:0=20;1=70, for a container with linux.intelRdt",
        ))
        .arg(id::argument())
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let id = id::from_matches(matches)?;
    let [l3_cache, memory_bandwidth] = [L3_CACHE_SCHEMA, MEM_BW_SCHEMA].map(|name| {
        let text = matches.get_one::<String>(name);
        text.map(String::as_str)
    });
    let resctrl = Update::from_flags(l3_cache, memory_bandwidth);
    let resctrl = resctrl.with_context(|| id.to_owned())?;
    let resources = resources(matches).with_context(|| id.to_owned())?;
    globals.input_descriptors.close();
    let updated = container::update(&globals.root, id, &resources, resctrl.as_ref());
    updated.with_context(|| id.to_owned())?;
    Ok(0)
}

fn resources(matches: &ArgMatches) -> Result<Resources> {
    let mut given = FLAGS.iter().filter_map(|flag| {
        let value = flag.value(matches)?;
        Some((flag, value))
    });
    if let Some(file) = matches.get_one::<std::path::PathBuf>("resources") {
        if let Some((flag, _)) = given.next() {
            bail!("--{}: cannot be combined with --resources", flag.name);
        }
        return read_resources(file);
    }
    let mut resources = Map::new();
    for (flag, value) in given {
        let value = value.with_context(|| format!("--{}", flag.name))?;
        let (section, field) = flag.field;
        let section = resources.entry(section).or_insert_with(|| json!({}));
        section[field] = value;
    }
    Resources::from_flags(resources)
}

fn read_resources(file: &Path) -> Result<Resources> {
    if file == Path::new("-") {
        return Resources::read(io::stdin().lock(), "standard input");
    }
    let name = file.display().to_string();
    let opened = File::open(file).with_context(|| name.clone())?;
    Resources::read(opened, &name)
}

impl Flag {
    /// The value of the flag in the arguments. `None` if the flag is not given.
    fn value(&self, matches: &ArgMatches) -> Option<Result<Value>> {
        let text = || matches.get_one::<String>(self.name);
        Some(match self.kind {
            Kind::Bytes => parse_bytes(text()?).map(Value::from),
            Kind::Number => parse_number(text()?).map(Value::from),
            Kind::Integer => Ok(Value::from(*matches.get_one::<i64>(self.name)?)),
            Kind::List => Ok(Value::from(text()?.as_str())),
        })
    }
}

fn parse_number(text: &str) -> Result<i64> {
    text.parse()
        .ok()
        .with_context(|| format!("{text:?} is not a number such as 1000"))
}

/// Parses a number of bytes in the format of Docker's command line (`512m`, `1.5 GiB`), or -1.
fn parse_bytes(text: &str) -> Result<i64> {
    let wrong = || format!("{text:?} is not a number of bytes such as 512m, or -1 (unlimited)");
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
    fn bytes_accept_the_units_of_docker() {
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
            assert_eq!(parse_bytes(text).ok(), Some(expected), "{text}");
        }
    }

    #[test]
    fn an_invalid_size_is_refused() {
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
            parse_bytes(text).unwrap_err();
        }
    }
}
