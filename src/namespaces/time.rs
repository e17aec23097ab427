//! `linux.timeOffsets`: the clock offsets of a new time namespace
//! (time_namespaces(7)).

use std::collections::HashMap;
use std::fmt::Write;

use anyhow::{Result, ensure};
use nix::fcntl::OFlag;
use nix::sched::{setns, unshare};
use oci_spec::runtime::LinuxTimeOffset;

use super::Kind;
use crate::bundle::unknown_value;
use crate::trusted_proc::Proc;

/// The clocks that a time namespace has of its own.
const CLOCKS: [&str; 2] = ["monotonic", "boottime"];

/// Nanoseconds in a second.
const SECOND: u32 = 1_000_000_000;

/// The clock offsets, as the text of /proc/PID/timens_offsets.
#[derive(Debug, Default)]
pub(super) struct Offsets(String);

impl Offsets {
    /// # Errors
    /// When a clock is neither `monotonic` nor `boottime`, or `nanosecs` is a second
    /// or more.
    pub(super) fn plan(listed: Option<&HashMap<String, LinuxTimeOffset>>) -> Result<Offsets> {
        let mut sorted: Vec<_> = listed.into_iter().flatten().collect();
        sorted.sort_by_key(|(clock, _)| *clock);
        let mut text = String::new();
        for (clock, offset) in sorted {
            ensure!(
                CLOCKS.contains(&clock.as_str()),
                "linux.timeOffsets: {}",
                unknown_value(clock, &CLOCKS)
            );
            let (seconds, nanoseconds) =
                (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
            ensure!(
                nanoseconds < SECOND,
                "linux.timeOffsets.{clock}.nanosecs: {nanoseconds} is not between 0 and {}",
                SECOND - 1
            );
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{clock} {seconds} {nanoseconds}");
        }
        Ok(Offsets(text))
    }

    /// The name, seconds and nanoseconds of each clock.
    pub(super) fn clocks(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.0.lines().filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?, words.next()?, words.next()?))
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Init: creates a time namespace, sets its offsets, and enters it. The offsets can
    /// be set only while no process is in the namespace; unshare(2) creates it without
    /// moving the caller into it.
    pub(super) fn apply(&self, proc: &Proc) -> nix::Result<()> {
        unshare(Kind::Time.flag())?;
        if !self.is_empty() {
            proc.write("self/timens_offsets", self.0.as_bytes())?;
        }
        let namespace = proc.link("self/ns/time_for_children", OFlag::O_RDONLY)?;
        setns(namespace, Kind::Time.flag())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(json: &str) -> Result<String> {
        let listed: HashMap<String, LinuxTimeOffset> = serde_json::from_str(json).unwrap();
        Offsets::plan(Some(&listed)).map(|offsets| offsets.0)
    }

    #[test]
    fn offsets_become_the_text_of_timens_offsets() {
        let json = r#"{"monotonic": {"secs": 172800}, "boottime": {"secs": -5, "nanosecs": 7}}"#;
        assert_eq!(
            planned(json).unwrap(),
            "boottime -5 7\nmonotonic 172800 0\n"
        );
        assert!(Offsets::plan(None).unwrap().is_empty());
    }

    #[test]
    fn an_offset_that_the_kernel_would_refuse_is_an_error() {
        let error = planned(r#"{"realtime": {"secs": 1}}"#)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "linux.timeOffsets: unknown value \"realtime\": one of \"monotonic\", \"boottime\""
        );
        let error = planned(r#"{"boottime": {"nanosecs": 1000000000}}"#)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "linux.timeOffsets.boottime.nanosecs: 1000000000 is not between 0 and 999999999"
        );
    }
}
