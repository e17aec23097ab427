//! Limits on the I/O of single block devices, in bytes or operations per second
//! (config-linux.md, "Block IO"). In v1 they are `blkio.throttle.*`, in v2 `io.max`. Each line
//! of these files is about one device.

use std::fmt::Write;

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};

use super::setting::Setting;

/// One limit on one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cgroups) struct Rate {
    throttle: &'static Throttle,
    /// `MAJOR:MINOR`
    device: String,
    /// Bytes or operations per second; 0 is unlimited.
    rate: u64,
}

/// A kind of limit: for reading or writing, by bytes or operations.
#[derive(Debug, PartialEq, Eq)]
struct Throttle {
    field: &'static str,
    /// The file in v1.
    file: &'static str,
    /// The key in `io.max` of v2.
    key: &'static str,
}

/// The file in v2.
const IO_MAX: &str = "io.max";

static THROTTLES: [Throttle; 4] = [
    Throttle {
        field: "linux.resources.blockIO.throttleReadBpsDevice",
        file: "blkio.throttle.read_bps_device",
        key: "rbps",
    },
    Throttle {
        field: "linux.resources.blockIO.throttleWriteBpsDevice",
        file: "blkio.throttle.write_bps_device",
        key: "wbps",
    },
    Throttle {
        field: "linux.resources.blockIO.throttleReadIOPSDevice",
        file: "blkio.throttle.read_iops_device",
        key: "riops",
    },
    Throttle {
        field: "linux.resources.blockIO.throttleWriteIOPSDevice",
        file: "blkio.throttle.write_iops_device",
        key: "wiops",
    },
];

/// Reads the four lists of `linux.resources.blockIO`.
pub(in crate::cgroups) fn plan(block_io: &LinuxBlockIo) -> Vec<Rate> {
    let lists = [
        block_io.throttle_read_bps_device(),
        block_io.throttle_write_bps_device(),
        block_io.throttle_read_iops_device(),
        block_io.throttle_write_iops_device(),
    ];
    let rate = |throttle, device: &LinuxThrottleDevice| Rate {
        throttle,
        device: format!("{}:{}", device.major(), device.minor()),
        rate: device.rate(),
    };
    let rates = |(throttle, list): (&'static Throttle, &Option<Vec<LinuxThrottleDevice>>)| {
        let devices = list.iter().flatten();
        devices
            .map(|device| rate(throttle, device))
            .collect::<Vec<_>>()
    };
    THROTTLES.iter().zip(lists).flat_map(rates).collect()
}

/// The settings for v1.
pub(in crate::cgroups) fn v1(rates: &[Rate]) -> impl Iterator<Item = Setting> {
    rates.iter().map(|limit| {
        let value = format!("{} {}", limit.device, limit.rate);
        Setting::new(limit.throttle.field, "blkio", limit.throttle.file, value)
    })
}

/// The settings for v2.
pub(in crate::cgroups) fn v2(rates: &[Rate]) -> impl Iterator<Item = Setting> {
    rates.iter().map(|limit| {
        let (device, key) = (&limit.device, limit.throttle.key);
        let value = match limit.rate {
            0 => format!("{device} {key}=max"),
            rate => format!("{device} {key}={rate}"),
        };
        Setting::new(limit.throttle.field, "io", IO_MAX, value)
    })
}

/// The present limit on a device, from `text`, the content of `file`. The device is the one that
/// `value`, a line for the same file, is about. The result is in the form in which it would be
/// written. `None` for a file that is not about devices.
pub(in crate::cgroups) fn line_of_device(file: &str, text: &str, value: &str) -> Option<String> {
    if file != IO_MAX && THROTTLES.iter().all(|throttle| throttle.file != file) {
        return None;
    }
    let device = value.split_whitespace().next()?;
    let is_about_device = |line: &&str| line.split_whitespace().next() == Some(device);
    let unlimited = || match file {
        IO_MAX => THROTTLES
            .iter()
            .fold(device.to_owned(), |mut line, throttle| {
                // Writing to a string cannot fail.
                let _ = write!(line, " {}=max", throttle.key);
                line
            }),
        _ => format!("{device} 0"),
    };
    let line = text.lines().find(is_about_device);
    Some(line.map_or_else(unlimited, str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_its_own_files_and_values() {
        let json = r#"{"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 100}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 1, "rate": 0}]}"#;
        let rates = plan(&serde_json::from_str(json).unwrap());
        let written = |settings: Vec<Setting>| -> Vec<String> {
            let line = |setting: &Setting| format!("{} {}", setting.file, setting.value);
            settings.iter().map(line).collect()
        };
        assert_eq!(
            written(v1(&rates).collect()),
            [
                "blkio.throttle.read_bps_device 8:0 100",
                "blkio.throttle.write_iops_device 8:1 0"
            ]
        );
        assert_eq!(
            written(v2(&rates).collect()),
            ["io.max 8:0 rbps=100", "io.max 8:1 wiops=max"]
        );
    }

    #[test]
    fn the_present_limit_is_found_by_device() {
        let text = "8:0 100\n8:16 200";
        let file = THROTTLES[0].file;
        let line = |value| line_of_device(file, text, value);
        assert_eq!(line("8:16 5").as_deref(), Some("8:16 200"));
        assert_eq!(line("8:1 5").as_deref(), Some("8:1 0"));
        let line = line_of_device(IO_MAX, "", "8:1 rbps=5");
        let unlimited = "8:1 rbps=max wbps=max riops=max wiops=max";
        assert_eq!(line.as_deref(), Some(unlimited));
        assert_eq!(line_of_device("cpu.max", "max 100000", "max"), None);
    }
}
