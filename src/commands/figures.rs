//! How figures are written, for people and as JSON.

use nix::sys::sysinfo::sysinfo;

use crate::cgroups::Usage;

/// What stands for a figure that is not known.
const UNKNOWN: &str = "-";

/// Bytes with the largest unit that leaves a whole number, and one digit after the point.
pub(super) fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let unit = bytes.checked_ilog2().unwrap_or_default() / 10;
    match unit
        .checked_sub(1)
        .and_then(|index| units.get(index as usize))
    {
        None => format!("{bytes}B"),
        Some(name) => {
            let tenths = (u128::from(bytes) * 10) >> (10 * unit);
            format!("{}.{}{name}", tenths / 10, tenths % 10)
        }
    }
}

/// Hundredths as a decimal number.
pub(super) fn decimal(hundredths: u64) -> String {
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// Nanoseconds of CPU time: `1.25s`, `2m05s`, `3h02m05s`.
pub(super) fn time(nanoseconds: u64) -> String {
    let seconds = nanoseconds / 1_000_000_000;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    match (hours, minutes) {
        (0, 0) => format!("{}s", decimal(nanoseconds / 10_000_000)),
        (0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (_, _) => format!("{hours}h{minutes:02}m{:02}s", seconds % 60),
    }
}

/// A figure as `write` writes it.
pub(super) fn cell<T>(figure: Option<T>, write: fn(T) -> String) -> String {
    figure.map_or_else(|| UNKNOWN.to_owned(), write)
}

/// Two numbers of bytes.
pub(super) fn pair((one, other): (u64, u64)) -> String {
    format!("{} / {}", size(one), size(other))
}

/// The limit of a container's memory: its own, or the memory of the host if that is less.
pub(super) fn memory_limit(usage: &Usage) -> Option<u64> {
    let limit = usage.memory_limit?;
    let host = sysinfo().map_or(u64::MAX, |host| host.ram_total());
    Some(limit.min(host))
}

/// The share of `part` in `whole`, in hundredths of a percent.
pub(super) fn share(part: Option<u64>, whole: Option<u64>) -> Option<u64> {
    let (part, whole) = (u128::from(part?), u128::from(whole?));
    u64::try_from((part * 10_000).checked_div(whole)?).ok()
}

/// The members of a JSON object that `stats` and `list --stats` have in common. A figure that is
/// not known is null.
pub(super) fn json_members(usage: &Usage) -> String {
    let pressure = usage.pressure.map(|pressure| {
        let [cpu, memory, io] = pressure.map(decimal);
        format!(r#"{{"cpu":{cpu},"memory":{memory},"io":{io}}}"#)
    });
    format!(
        r#""cpuTime":{},"memory":{},"memoryLimit":{},"pids":{},"blockRead":{},"blockWritten":{},"pressure":{}"#,
        json(usage.cpu_time),
        json(usage.memory),
        json(memory_limit(usage)),
        json(usage.pids),
        json(usage.block.map(|(read, _)| read)),
        json(usage.block.map(|(_, written)| written)),
        pressure.unwrap_or_else(|| json(None)),
    )
}

/// A number of JSON, or null.
pub(super) fn json(number: Option<u64>) -> String {
    number.map_or_else(|| "null".to_owned(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_units_that_people_read() {
        let sizes = [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.0KiB"),
            (1_572_864, "1.5MiB"),
            (1 << 30, "1.0GiB"),
            (u64::MAX, "15.9EiB"),
        ];
        for (bytes, text) in sizes {
            assert_eq!(size(bytes), text);
        }
        let times = [
            (0, "0.00s"),
            (1_259_000_000, "1.25s"),
            (125_000_000_000, "2m05s"),
            (10_925_000_000_000, "3h02m05s"),
        ];
        for (nanoseconds, text) in times {
            assert_eq!(time(nanoseconds), text);
        }
        assert_eq!(decimal(12_305), "123.05");
        assert_eq!(share(Some(1), Some(3)), Some(3333));
        assert_eq!(share(Some(1), Some(0)), None);
        assert_eq!(cell(None, size), "-");
    }
}
