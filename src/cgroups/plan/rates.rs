//! How fast a container may read and write a block device, in bytes or operations
//! a second (config-linux.md, "Block IO"; `blkio.throttle.*` of version 1, `io.max`
//! of version 2). Each line of these files is about one device.

use std::fmt::Write;

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};

use super::setting::Setting;

/// A limit on one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cgroups) struct Rate {
    kind: &'static Kind,
    /// `MAJOR:MINOR`
    device: String,
    /// A second; 0 is unlimited.
    rate: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Kind {
    place: &'static str,
    /// The file of version 1.
    file: &'static str,
    /// The key in the file of version 2.
    key: &'static str,
}

const UNIFIED: &str = "io.max";

static KINDS: [Kind; 4] = [
    Kind {
        place: "linux.resources.blockIO.throttleReadBpsDevice",
        file: "blkio.throttle.read_bps_device",
        key: "rbps",
    },
    Kind {
        place: "linux.resources.blockIO.throttleWriteBpsDevice",
        file: "blkio.throttle.write_bps_device",
        key: "wbps",
    },
    Kind {
        place: "linux.resources.blockIO.throttleReadIOPSDevice",
        file: "blkio.throttle.read_iops_device",
        key: "riops",
    },
    Kind {
        place: "linux.resources.blockIO.throttleWriteIOPSDevice",
        file: "blkio.throttle.write_iops_device",
        key: "wiops",
    },
];

pub(in crate::cgroups) fn plan(block_io: &LinuxBlockIo) -> Vec<Rate> {
    let lists = [
        block_io.throttle_read_bps_device(),
        block_io.throttle_write_bps_device(),
        block_io.throttle_read_iops_device(),
        block_io.throttle_write_iops_device(),
    ];
    let rate = |kind, device: &LinuxThrottleDevice| Rate {
        kind,
        device: format!("{}:{}", device.major(), device.minor()),
        rate: device.rate(),
    };
    let of_kind = |(kind, list): (&'static Kind, &Option<Vec<LinuxThrottleDevice>>)| {
        let devices = list.iter().flatten();
        devices.map(|device| rate(kind, device)).collect::<Vec<_>>()
    };
    KINDS.iter().zip(lists).flat_map(of_kind).collect()
}

pub(in crate::cgroups) fn v1(rates: &[Rate]) -> impl Iterator<Item = Setting> {
    rates.iter().map(|Rate { kind, device, rate }| {
        Setting::new(kind.place, "blkio", kind.file, format!("{device} {rate}"))
    })
}

pub(in crate::cgroups) fn v2(rates: &[Rate]) -> impl Iterator<Item = Setting> {
    rates.iter().map(|Rate { kind, device, rate }| {
        let value = match rate {
            0 => format!("{device} {}=max", kind.key),
            rate => format!("{device} {}={rate}", kind.key),
        };
        Setting::new(kind.place, "io", UNIFIED, value)
    })
}

/// What a file of these says of the device that `value` is about, as it would be
/// written; `None` for any other file.
pub(in crate::cgroups) fn line_of_device(file: &str, text: &str, value: &str) -> Option<String> {
    if file != UNIFIED && KINDS.iter().all(|kind| kind.file != file) {
        return None;
    }
    let device = value.split_whitespace().next()?;
    let is_about = |line: &&str| line.split_whitespace().next() == Some(device);
    let unlimited = || match file {
        UNIFIED => KINDS.iter().fold(device.to_owned(), |mut line, kind| {
            // Writing to a string cannot fail.
            let _ = write!(line, " {}=max", kind.key);
            line
        }),
        _ => format!("{device} 0"),
    };
    let line = text.lines().find(is_about);
    Some(line.map_or_else(unlimited, str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_its_words() {
        let json = r#"{"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 100}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 1, "rate": 0}]}"#;
        let rates = plan(&serde_json::from_str(json).unwrap());
        let words = |all: Vec<Setting>| -> Vec<String> {
            let words = |one: &Setting| format!("{} {}", one.file, one.value);
            all.iter().map(words).collect()
        };
        assert_eq!(
            words(v1(&rates).collect()),
            [
                "blkio.throttle.read_bps_device 8:0 100",
                "blkio.throttle.write_iops_device 8:1 0"
            ]
        );
        assert_eq!(
            words(v2(&rates).collect()),
            ["io.max 8:0 rbps=100", "io.max 8:1 wiops=max"]
        );
    }

    #[test]
    fn a_line_is_that_of_its_device() {
        let text = "8:0 100\n8:16 200";
        let file = KINDS[0].file;
        let line = |value| line_of_device(file, text, value);
        assert_eq!(line("8:16 5").as_deref(), Some("8:16 200"));
        assert_eq!(line("8:1 5").as_deref(), Some("8:1 0"));
        let line = line_of_device(UNIFIED, "", "8:1 rbps=5");
        let unlimited = "8:1 rbps=max wbps=max riops=max wiops=max";
        assert_eq!(line.as_deref(), Some(unlimited));
        assert_eq!(line_of_device("cpu.max", "max 100000", "max"), None);
    }
}
