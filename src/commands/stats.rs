//! `rt stats`: what running containers use, as a table that is renewed or as JSON.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Arg, ArgMatches, Command, value_parser};

use super::table::columns;
use super::{Globals, choices, duration, figures, flag, id, list, print};
use crate::cgroups::Usage;
use crate::container::{self, Counters, Report, Status};
use crate::sys;

const TITLES: [&str; 8] = [
    "ID",
    "CPU %",
    "MEM USAGE / LIMIT",
    "MEM %",
    "PIDS",
    "BLOCK I/O",
    "NET I/O",
    "PRESSURE CPU / MEM / I/O",
];

pub(super) fn define(command: Command) -> Command {
    let ids = Arg::new("id")
        .value_name("container-id")
        .num_args(0..)
        .value_parser(value_parser!(OsString));
    command
        .about("Show what running containers use")
        .after_help("Example: rt stats --interval 5s web")
        .arg(choices::format())
        .arg(duration::interval("1s", "Time between two measurements"))
        .arg(flag("no-stream").help("Measure once, over one interval, and exit"))
        .arg(ids.help("Ids of containers; all that run if none is given"))
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let interval = duration::from_matches(matches)?;
    let ids = matches.get_many::<OsString>("id").into_iter().flatten();
    let ids: Vec<&str> = ids.map(|id| id::validate(id)).collect::<Result<_>>()?;
    let is_table = match matches.get_one::<String>("format").map(String::as_str) {
        Some("table") => true,
        Some("json") => false,
        other => return Err(choices::unknown_format(other.unwrap_or_default())),
    };
    let once = matches.get_flag("no-stream");
    let redraw = is_table && !once && io::stdout().is_terminal();
    let show = |now: &[Measurement], before: &[Measurement]| {
        let rows = now.iter().map(|now| Row::new(now, before));
        let rows: Vec<Row> = rows.collect();
        match (is_table, redraw) {
            (true, true) => print(&redrawn(&table(&rows))),
            (true, false) => print(&table(&rows)),
            (false, _) => print(&json(&rows)),
        }
    };
    let mut before = measure(globals, &ids, true)?;
    if !once {
        show(&before, &[])?;
    }
    loop {
        thread::sleep(interval);
        let now = measure(globals, &ids, false)?;
        // Named containers do not come back.
        if now.is_empty() && !ids.is_empty() && !once {
            break;
        }
        show(&now, &before)?;
        if once {
            break;
        }
        before = now;
    }
    Ok(0)
}

/// What a container used at some time.
struct Measurement {
    id: String,
    created: String,
    time: Instant,
    usage: Usage,
    /// Bytes received and sent.
    traffic: Option<(u64, u64)>,
}

/// Measures the containers `ids`, or without any all that run. One that is gone is left out.
///
/// # Errors
/// When a figure cannot be read. With `first`, when one of `ids` does not exist or has stopped.
fn measure(globals: &Globals, ids: &[&str], first: bool) -> Result<Vec<Measurement>> {
    let (counters, mut measurements) = (Counters::open()?, Vec::new());
    for report in reports(globals, ids, first)? {
        let time = Instant::now();
        let usage = report.cgroups.usage().with_context(|| report.id.clone())?;
        let Some(usage) = usage else {
            continue;
        };
        let traffic = counters.of(report.pid).with_context(|| report.id.clone())?;
        measurements.push(Measurement {
            id: report.id,
            created: report.created,
            time,
            usage,
            traffic,
        });
    }
    Ok(measurements)
}

fn reports(globals: &Globals, ids: &[&str], first: bool) -> Result<Vec<Report>> {
    if ids.is_empty() {
        let mut all = list::reports(globals)?;
        all.retain(|report| matches!(report.status, Status::Running | Status::Paused));
        return Ok(all);
    }
    let mut reports = Vec::new();
    for id in ids {
        match living(globals, id) {
            Ok(report) => reports.push(report),
            Err(error) if first => return Err(error.context((*id).to_owned())),
            Err(_) => {}
        }
    }
    Ok(reports)
}

/// # Errors
/// When the container does not exist, or has no processes.
fn living(globals: &Globals, id: &str) -> Result<Report> {
    let report = container::state(&globals.root, id)?;
    match report.status {
        Status::Created | Status::Running | Status::Paused => Ok(report),
        status @ (Status::Creating | Status::Stopped) => Err(container::not_running(status)),
    }
}

/// A measurement, and what follows from an earlier one.
struct Row<'a> {
    now: &'a Measurement,
    /// CPU time in the time between, in hundredths of a percent of one CPU.
    cpu: Option<u64>,
}

impl<'a> Row<'a> {
    fn new(now: &'a Measurement, before: &[Measurement]) -> Row<'a> {
        // A later container may have the id of an earlier one.
        let is_same = |other: &&Measurement| (&other.id, &other.created) == (&now.id, &now.created);
        let cpu = before.iter().find(is_same).and_then(|before| {
            let used = now.usage.cpu_time?.checked_sub(before.usage.cpu_time?);
            let elapsed = now.time.duration_since(before.time).as_nanos();
            figures::share(used, u64::try_from(elapsed).ok())
        });
        Row { now, cpu }
    }

    fn memory(&self) -> Option<u64> {
        figures::share(
            self.now.usage.memory,
            figures::memory_limit(&self.now.usage),
        )
    }
}

fn table(rows: &[Row]) -> String {
    let percent = |share| figures::cell(share, |share| format!("{}%", figures::decimal(share)));
    let mut lines = vec![TITLES.map(str::to_owned).to_vec()];
    lines.extend(rows.iter().map(|row| {
        let usage = &row.now.usage;
        let memory = usage.memory.zip(figures::memory_limit(usage));
        let pressure = |shares: [u64; 3]| shares.map(figures::decimal).join(" / ");
        vec![
            row.now.id.clone(),
            percent(row.cpu),
            figures::cell(memory, figures::pair),
            percent(row.memory()),
            figures::cell(usage.pids, |pids| pids.to_string()),
            figures::cell(usage.block, figures::pair),
            figures::cell(row.now.traffic, figures::pair),
            figures::cell(usage.pressure, pressure),
        ]
    }));
    columns(&lines)
}

/// One line with an array, which has an object for each container.
fn json(rows: &[Row]) -> String {
    let percent = |share: Option<u64>| share.map_or_else(|| "null".to_owned(), figures::decimal);
    let objects = rows.iter().map(|row| {
        let Measurement {
            id, usage, traffic, ..
        } = row.now;
        format!(
            r#"{{"id":"{id}","cpuPercent":{},"memoryPercent":{},{},"networkReceived":{},"networkSent":{}}}"#,
            percent(row.cpu),
            percent(row.memory()),
            figures::json_members(usage),
            figures::json(traffic.map(|(received, _)| received)),
            figures::json(traffic.map(|(_, sent)| sent)),
        )
    });
    format!("[{}]\n", objects.collect::<Vec<_>>().join(","))
}

/// The text in place of what the terminal shows, cut to its size: a line that wraps, or a table
/// that scrolls, could not be replaced (console_codes(4)).
fn redrawn(text: &str) -> String {
    let (columns, lines) = match sys::terminal_size(io::stdout().as_fd()) {
        Ok(size) if size.columns > 0 && size.rows > 0 => {
            (usize::from(size.columns), usize::from(size.rows) - 1)
        }
        Ok(_) | Err(_) => (usize::MAX, usize::MAX),
    };
    let mut redrawn = String::from("\x1b[H");
    for line in text.lines().take(lines.max(1)) {
        redrawn.extend(line.chars().take(columns));
        redrawn.push_str("\x1b[K\n");
    }
    redrawn.push_str("\x1b[J");
    redrawn
}
