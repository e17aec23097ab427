//! What a container's cgroups have: the files that hold settings, and the properties of its unit.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::cgroup_of;

/// By the name of the file, or of the property with `unit:` before it.
pub(super) struct Seen(BTreeMap<String, String>);

/// What a file or a property has that the other container's does not have.
const ABSENT: &str = "nothing";

impl Seen {
    pub(super) fn refused() -> Self {
        Self(BTreeMap::from([(String::new(), "refused".to_owned())]))
    }

    pub(super) fn of(pid: i32, unit: Option<String>) -> Self {
        let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let mut all = BTreeMap::from([(String::new(), "applied".to_owned())]);
        for line in table.lines() {
            let controllers = line.split(':').nth(1).unwrap();
            read_files(&cgroup_of(pid, controllers), &mut all);
        }
        if let Some(unit) = unit {
            read_properties(&unit, &mut all);
        }
        Self(all)
    }

    /// Name, our value, and theirs, where they differ. Of a container that one refuses there is nothing else to compare.
    pub(super) fn differences(&self, theirs: &Self) -> Vec<(String, String, String)> {
        let value =
            |of: &Self, name: &str| of.0.get(name).map_or(ABSENT, String::as_str).to_owned();
        let outcomes = [self, theirs].map(|of| value(of, ""));
        if outcomes[0] != outcomes[1] {
            let [ours, theirs] = outcomes;
            return vec![("outcome".to_owned(), ours, theirs)];
        }
        let mut names: Vec<&String> = self.0.keys().chain(theirs.0.keys()).collect();
        names.sort();
        names.dedup();
        let values = names
            .into_iter()
            .map(|name| (name.clone(), value(self, name), value(theirs, name)));
        values.filter(|(_, ours, theirs)| ours != theirs).collect()
    }
}

/// What changes by itself, or names the processes.
const FIGURES: [&str; 21] = [
    "usage",
    "stat",
    "failcnt",
    "events",
    "pressure",
    "current",
    "peak",
    "procs",
    "threads",
    "tasks",
    "service",
    "sectors",
    "merged",
    "queued",
    "wait_time",
    "time_recursive",
    "slabinfo",
    "pagetypeinfo",
    "avg_",
    "empty_time",
    ".time",
];

fn read_files(cgroup: &Path, all: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(cgroup).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if !entry.file_type().unwrap().is_file() || FIGURES.iter().any(|part| name.contains(part)) {
            continue;
        }
        // Some can only be written.
        if let Ok(text) = fs::read_to_string(entry.path()) {
            all.insert(name, sorted(&text));
        }
    }
}

/// The order of device rules is that of the configuration, or of the defaults.
fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join(", ")
}

/// Properties that are times, figures, or different for each unit.
const OF_ONE_UNIT: [&str; 10] = [
    "Timestamp",
    "ControlGroupId",
    "InvocationID",
    "DropInPaths",
    "NeedDaemonReload",
    "Current",
    "UsageNSec",
    "EffectiveCPUs",
    "EffectiveMemoryNodes",
    "MemoryAvailable",
];

fn read_properties(unit: &str, all: &mut BTreeMap<String, String>) {
    let shown = Command::new("systemctl")
        .args(["show", unit])
        .output()
        .unwrap();
    let mut lines: Vec<String> = String::from_utf8(shown.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    lines.retain(|line| {
        !OF_ONE_UNIT.iter().any(|part| line.contains(part)) && !line.starts_with(LEFT_OUT_BY_RUNC)
    });
    // A property with several values has a line for each.
    lines.sort();
    for line in lines {
        let (name, value) = line.split_once('=').unwrap();
        let values = all.entry(format!("unit:{name}")).or_default();
        if !values.is_empty() {
            values.push_str(", ");
        }
        // The number of a group of devices, or its name.
        values.push_str(&value.replace("char-pts", "char-136"));
    }
}

/// Debian's runc does not tell systemd of devices whose major number is 10, such as /dev/fuse and /dev/net/tun.
const LEFT_OUT_BY_RUNC: &str = "DeviceAllow=/dev/char/10:";
