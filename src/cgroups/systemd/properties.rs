//! Limits as properties of a unit.
//!
//! The limits are settings already: values for files of a cgroup. Each file that systemd has a
//! property for is one arm here. The file is written as well, after systemd has done so, because
//! systemd rounds some values; the property makes systemd keep the value when it writes the file
//! again. So what has no property, and what the running version lacks, works all the same.

use super::bus::value::{Property, Value, property};
use crate::cgroups::plan::setting::Setting;

/// What systemd calls "infinity", in each of its numbers.
const INFINITY: u64 = u64::MAX;

/// The period of the kernel, in microseconds.
const DEFAULT_PERIOD: u64 = 100_000;

/// The properties for `settings` that systemd of this version has.
pub(super) fn of_settings(settings: &[Setting], version: u32) -> Vec<Property> {
    let value_of = |file: &str| {
        let mut with_file = settings.iter().filter(|setting| setting.file == file);
        with_file.next_back().map(|setting| setting.value.as_ref())
    };
    let is_idle = version >= 252 && value_of("cpu.idle") == Some("1");
    let mut all = Vec::new();
    for setting in settings {
        let value = setting.value.trim();
        let number = || Some(Value::U64(number(value)?));
        let one = match setting.file.as_ref() {
            "memory.max" => number().map(|value| ("MemoryMax", value)),
            "memory.high" => number().map(|value| ("MemoryHigh", value)),
            "memory.low" => number().map(|value| ("MemoryLow", value)),
            "memory.min" => number().map(|value| ("MemoryMin", value)),
            "memory.swap.max" => number().map(|value| ("MemorySwapMax", value)),
            "memory.limit_in_bytes" => number().map(|value| ("MemoryLimit", value)),
            "memory.oom.group" if version >= 253 => oom_policy(value),
            // 0 is no weight, but the property's way to say idle.
            "cpu.idle" if is_idle => Some(("CPUWeight", Value::U64(0))),
            "cpu.weight" if !is_idle => number().map(|value| ("CPUWeight", value)),
            "cpu.shares" => number().map(|value| ("CPUShares", value)),
            "blkio.weight" => number().map(|value| ("BlockIOWeight", value)),
            "pids.max" => tasks(value),
            "cpuset.cpus" if version >= 244 => set("AllowedCPUs", value),
            "cpuset.mems" if version >= 244 => set("AllowedMemoryNodes", value),
            "cpu.max" => {
                let (quota, period) = value.split_once(' ').unwrap_or((value, ""));
                all.extend(bandwidth(Some(quota), Some(period), version));
                None
            }
            "cpu.cfs_quota_us" => {
                let period = value_of("cpu.cfs_period_us");
                all.extend(bandwidth(Some(value), period, version));
                None
            }
            "cpu.cfs_period_us" if value_of("cpu.cfs_quota_us").is_none() => {
                all.extend(bandwidth(None, Some(value), version));
                None
            }
            _ => None,
        };
        all.extend(one.map(|(name, value)| property(name, value)));
    }
    all
}

/// A number, `max`, or -1. `None` for anything else, which the kernel refuses later.
fn number(text: &str) -> Option<u64> {
    match text {
        "max" | "-1" => Some(INFINITY),
        text => text.parse().ok(),
    }
}

/// systemd allows one task at least.
fn tasks(value: &str) -> Option<(&'static str, Value)> {
    Some(("TasksMax", Value::U64(number(value)?.max(1))))
}

fn oom_policy(value: &str) -> Option<(&'static str, Value)> {
    let policy = match value {
        "0" => "continue",
        "1" => "kill",
        _ => return None,
    };
    Some(("OOMPolicy", Value::text(policy)))
}

/// Microseconds of CPU time in a second, and the period (from version 242 on). systemd keeps
/// whole percents, so the quota is rounded up.
fn bandwidth(quota: Option<&str>, period: Option<&str>, version: u32) -> Vec<Property> {
    let given = period.and_then(|period| period.parse::<u64>().ok());
    let given = given.filter(|period| *period != 0);
    let mut all = Vec::new();
    if let Some(period) = given.filter(|_| version >= 242) {
        all.push(property("CPUQuotaPeriodUSec", Value::U64(period)));
    }
    let per_second = match quota.map_or(Some(INFINITY), number) {
        Some(INFINITY) => INFINITY,
        Some(quota) => {
            let per_second = u128::from(quota) * 1_000_000;
            let per_second = per_second / u128::from(given.unwrap_or(DEFAULT_PERIOD));
            u64::try_from(per_second.next_multiple_of(10_000)).unwrap_or(INFINITY)
        }
        None => return Vec::new(),
    };
    all.push(property("CPUQuotaPerSecUSec", Value::U64(per_second)));
    all
}

/// A list of numbers as a mask of bits, the lowest in the first byte. `None` for a list that only
/// the kernel understands (`0-9:1/2`).
fn set(name: &'static str, list: &str) -> Option<(&'static str, Value)> {
    /// More CPUs or nodes than any kernel has.
    const MAX: usize = 1 << 16;
    let mut mask = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let first: usize = first.trim().parse().ok()?;
        let last: usize = last.trim().parse().ok()?;
        for number in first..=last.min(MAX) {
            let byte = number / 8;
            if mask.len() <= byte {
                mask.resize(byte + 1, 0u8);
            }
            mask[byte] |= 1 << (number % 8);
        }
    }
    Some((name, Value::Bytes(mask)))
}

#[cfg(test)]
pub(in crate::cgroups) mod tests {
    use super::*;

    /// The properties as texts, `NAME=VALUE`.
    pub(in crate::cgroups) fn texts(settings: &[Setting], version: u32) -> Vec<String> {
        let text = |(name, value): Property| match value {
            Value::U64(INFINITY) => format!("{name}=infinity"),
            Value::U64(value) => format!("{name}={value}"),
            Value::Text(text) => format!("{name}={text}"),
            Value::Bytes(bytes) => format!("{name}={bytes:?}"),
            other => format!("{name}={other:?}"),
        };
        let all = of_settings(settings, version).into_iter();
        all.map(text).collect()
    }

    fn of(files: &[(&'static str, &'static str)], version: u32) -> Vec<String> {
        let setting = |(file, value): &(&'static str, &'static str)| {
            Setting::new("field", "controller", file, *value)
        };
        let settings: Vec<Setting> = files.iter().map(setting).collect();
        texts(&settings, version)
    }

    fn check(file: &'static str, value: &'static str, expected: &[&str]) {
        assert_eq!(of(&[(file, value)], 255), expected, "{file} {value}");
    }

    #[test]
    fn each_file_has_its_property() {
        check("memory.max", "1048576", &["MemoryMax=1048576"]);
        check("memory.swap.max", "max", &["MemorySwapMax=infinity"]);
        check("memory.limit_in_bytes", "-1", &["MemoryLimit=infinity"]);
        check("cpu.shares", "512", &["CPUShares=512"]);
        check("cpu.weight", "59", &["CPUWeight=59"]);
        check("pids.max", "20", &["TasksMax=20"]);
        check("pids.max", "0", &["TasksMax=1"]);
        check("pids.max", "max", &["TasksMax=infinity"]);
        check("memory.oom.group", "1", &["OOMPolicy=kill"]);
        check("hugetlb.2MB.max", "0", &[]);
        check("memory.max", "much", &[]);
    }

    #[test]
    fn a_quota_is_rounded_up_to_a_percent() {
        check("cpu.max", "max", &["CPUQuotaPerSecUSec=infinity"]);
        let both = ["CPUQuotaPeriodUSec=50000", "CPUQuotaPerSecUSec=210000"];
        check("cpu.max", "10001 50000", &both);
        check("cpu.max", "15000", &["CPUQuotaPerSecUSec=150000"]);
        check(
            "cpu.max",
            "max 50000",
            &["CPUQuotaPeriodUSec=50000", "CPUQuotaPerSecUSec=infinity"],
        );
        let v1 = [
            ("cpu.cfs_period_us", "50000"),
            ("cpu.cfs_quota_us", "10001"),
        ];
        assert_eq!(of(&v1, 255), both);
        assert_eq!(of(&v1, 241), both[1..]);
    }

    #[test]
    fn idle_takes_the_place_of_the_weight_where_systemd_knows_it() {
        let both = [("cpu.weight", "100"), ("cpu.idle", "1")];
        assert_eq!(of(&both, 252), ["CPUWeight=0"]);
        assert_eq!(of(&both, 251), ["CPUWeight=100"]);
        let off = [("cpu.idle", "0"), ("cpu.weight", "100")];
        assert_eq!(of(&off, 252), ["CPUWeight=100"]);
    }

    #[test]
    fn sets_are_masks() {
        check("cpuset.cpus", "0-1,8", &["AllowedCPUs=[3, 1]"]);
        check("cpuset.mems", "3", &["AllowedMemoryNodes=[8]"]);
        check("cpuset.cpus", "0-9:1/2", &[]);
        assert_eq!(of(&[("cpuset.cpus", "0")], 243), [""; 0]);
    }
}
