//! Reads the files of a cgroup that hold figures.

use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;

use super::json::Object;
use crate::cgroups::directory::{Directory, is_gone};

/// A cgroup whose files are read. Its files are absent if the host lacks the controller or the
/// cgroup is gone.
pub(super) struct Figures(Option<Directory>);

impl Figures {
    /// # Errors
    /// When the directory exists and cannot be opened.
    pub(super) fn open(path: Option<&Path>) -> Result<Figures> {
        let Some(path) = path else {
            return Ok(Figures(None));
        };
        match Directory::open(path) {
            Err(errno) if is_gone(errno) => Ok(Figures(None)),
            opened => {
                let opened = opened.with_context(|| format!("cgroup {}", path.display()));
                Ok(Figures(Some(opened?)))
            }
        }
    }

    /// Whether the cgroup exists.
    pub(super) fn exist(&self) -> bool {
        self.0.is_some()
    }

    /// The content of a file. `None` when this kernel or this cgroup does not have it.
    ///
    /// # Errors
    /// When the file exists and cannot be read.
    pub(super) fn find(&self, name: &str) -> Result<Option<String>> {
        let Some(cgroup) = &self.0 else {
            return Ok(None);
        };
        match cgroup.read_all(name) {
            // The kernel was booted without pressure stall information, or the cgroup is threaded.
            Err(Errno::EOPNOTSUPP) => Ok(None),
            Err(errno) if is_gone(errno) => Ok(None),
            text => {
                let text = text.with_context(|| cgroup.path().join(name).display().to_string());
                Ok(Some(text?))
            }
        }
    }

    /// As [`Figures::find`]; an absent file is empty.
    pub(super) fn text(&self, name: &str) -> Result<String> {
        Ok(self.find(name)?.unwrap_or_default())
    }

    /// A file with one number; `max` is the largest one.
    pub(super) fn find_number(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.find(name)?.map(|text| number(&text)))
    }

    /// As [`Figures::find_number`]; 0 when the file is absent.
    pub(super) fn number(&self, name: &str) -> Result<u64> {
        Ok(self.find_number(name)?.unwrap_or_default())
    }

    /// A pressure file as runc's JSON (Documentation/accounting/psi.rst).
    pub(super) fn pressure(&self, name: &str) -> Result<Option<String>> {
        Ok(self.find(name)?.map(|text| {
            let mut pressure = Object::new();
            for kind in ["some", "full"] {
                let line = text.lines().find_map(|line| line.strip_prefix(kind));
                pressure.json(kind, &pressure_line(line.unwrap_or_default()));
            }
            pressure.end()
        }))
    }
}

/// The numbers of a line such as ` avg10=0.00 avg60=1.50 avg300=0.00 total=7`.
fn pressure_line(line: &str) -> String {
    let mut numbers = Object::new();
    for key in ["avg10", "avg60", "avg300", "total"] {
        let mut words = line
            .split_whitespace()
            .filter_map(|word| word.split_once('='));
        let value = words.find(|(name, _)| *name == key);
        numbers.json(key, go_number(value.map_or("0", |(_, value)| value)));
    }
    numbers.end()
}

/// A decimal number as Go writes it: without zeros at the end of a fraction.
fn go_number(text: &str) -> &str {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

/// The number in a file with one number; `max` is the largest one. 0 for -1, as for runc.
fn number(text: &str) -> u64 {
    match text.trim_end() {
        "max" => u64::MAX,
        text => text.parse().unwrap_or_default(),
    }
}

/// The lines of a file that have the form `key value`.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (&str, u64)> {
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.filter_map(|(key, value)| Some((key, value.trim().parse().ok()?)))
}

/// The value of `key` in a file of such lines, 0 if it is absent.
pub(super) fn value(text: &str, key: &str) -> u64 {
    let found = pairs(text).find(|(name, _)| *name == key);
    found.map(|(_, value)| value).unwrap_or_default()
}
