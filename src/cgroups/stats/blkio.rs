//! The figures about block devices. Their tables have the names of v1 in both versions.

use anyhow::Result;

use super::json::Object;
use super::read::Figures;

/// The tables in the order of runc's JSON: its key, and the word in the names of the v1 files.
const TABLES: [(&str, &str); 8] = [
    ("ioServiceBytesRecursive", "io_service_bytes"),
    ("ioServicedRecursive", "io_serviced"),
    ("ioQueueRecursive", "io_queued"),
    ("ioServiceTimeRecursive", "io_service_time"),
    ("ioWaitTimeRecursive", "io_wait_time"),
    ("ioMergedRecursive", "io_merged"),
    ("ioTimeRecursive", "time"),
    ("sectorsRecursive", "sectors"),
];

/// The indices in [`TABLES`] that every source has.
const BYTES: usize = 0;
const OPERATIONS: usize = 1;

/// The files of a v1 source: what precedes and follows the word of a table, and its tables.
struct Source(&'static str, &'static str, &'static [usize]);

const ALL: &[usize] = &[7, 3, 4, 5, 2, 6, OPERATIONS, BYTES];
const FEW: &[usize] = &[OPERATIONS, BYTES];

/// In v1 each I/O scheduler counts for itself. The first source whose first table has an entry
/// counts, as for runc.
const SOURCES: [Source; 5] = [
    Source("blkio.bfq.", "_recursive", ALL),
    Source("blkio.bfq.", "_recursive", FEW),
    Source("blkio.", "_recursive", ALL),
    Source("blkio.throttle.", "_recursive", FEW),
    Source("blkio.throttle.", "", FEW),
];

/// A number of one device.
struct Entry {
    major: u64,
    minor: u64,
    /// `Read`, `Write` and, in v1, others. Empty if the table does not distinguish them.
    operation: String,
    value: u64,
}

/// The tables, in the order of [`TABLES`].
#[derive(Default)]
pub(super) struct Blkio([Vec<Entry>; TABLES.len()]);

impl Blkio {
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn v1(cgroup: &Figures) -> Result<Blkio> {
        let mut blkio = Blkio::default();
        for Source(before, after, tables) in SOURCES {
            for (index, table) in tables.iter().enumerate() {
                let file = format!("{before}{}{after}", TABLES[*table].1);
                let entries: Vec<Entry> =
                    cgroup.text(&file)?.lines().filter_map(v1_entry).collect();
                match (entries.is_empty(), index) {
                    (true, 0) => break,
                    (true, _) => return Ok(blkio),
                    (false, _) => blkio.0[*table] = entries,
                }
                if index + 1 == tables.len() {
                    return Ok(blkio);
                }
            }
        }
        Ok(blkio)
    }

    /// The content of io.stat, with lines such as `8:0 rbytes=4096 wbytes=0 rios=1 wios=0`.
    pub(super) fn v2(text: &str) -> Blkio {
        let mut blkio = Blkio::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let Some((major, minor)) = words.next().and_then(device) else {
                continue;
            };
            for (key, value) in words.filter_map(|word| word.split_once('=')) {
                let (table, operation) = match key {
                    "rbytes" => (BYTES, "Read"),
                    "wbytes" => (BYTES, "Write"),
                    "rios" => (OPERATIONS, "Read"),
                    "wios" => (OPERATIONS, "Write"),
                    _ => continue,
                };
                blkio.0[table].push(Entry {
                    major,
                    minor,
                    operation: operation.to_owned(),
                    value: value.parse().unwrap_or_default(),
                });
            }
        }
        blkio
    }

    /// The bytes that were read and written, of all devices.
    pub(super) fn bytes(&self) -> (u64, u64) {
        let sum = |operation| {
            let entries = self.0[BYTES].iter();
            let entries = entries.filter(|entry| entry.operation == operation);
            entries.map(|entry| entry.value).sum()
        };
        (sum("Read"), sum("Write"))
    }

    pub(super) fn to_json(&self, pressure: Option<&str>) -> String {
        let mut blkio = Object::new();
        for ((key, _), entries) in TABLES.iter().zip(&self.0) {
            let entries: Vec<String> = entries.iter().map(Entry::to_json).collect();
            blkio.list(key, &entries);
        }
        if let Some(pressure) = pressure {
            blkio.json("psi", pressure);
        }
        blkio.end()
    }
}

impl Entry {
    fn to_json(&self) -> String {
        let mut entry = Object::new();
        entry.nonzero("major", self.major);
        entry.nonzero("minor", self.minor);
        if !self.operation.is_empty() {
            entry.json("op", &format!("\"{}\"", self.operation));
        }
        entry.nonzero("value", self.value);
        entry.end()
    }
}

/// A line such as `8:0 Read 4096` or `8:0 4096`. `None` for the sum of all devices.
fn v1_entry(line: &str) -> Option<Entry> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (name, operation, value) = match words.as_slice() {
        [name, operation, value] => (name, *operation, value),
        [name, value] => (name, "", value),
        _ => return None,
    };
    let (major, minor) = device(name)?;
    Some(Entry {
        major,
        minor,
        operation: operation.to_owned(),
        value: value.parse().ok()?,
    })
}

/// The numbers of a device such as `8:0`.
fn device(name: &str) -> Option<(u64, u64)> {
    let (major, minor) = name.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
