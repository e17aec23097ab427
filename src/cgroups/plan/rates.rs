//! Limits on the I/O of single block devices, in bytes or operations per second
//! (config-linux.md, "Block IO"). In v1 they are `blkio.throttle.*`, in v2 `io.max`. Each line
//! of these files is about one device.

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};

use super::setting::Setting;

/// One limit on one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cgroups) struct Rate {
    throttle: &'static Throttle,
    /// The item of the list.
    index: usize,
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
    let rate = |throttle, (index, device): (usize, &LinuxThrottleDevice)| Rate {
        throttle,
        index,
        device: format!("{}:{}", device.major(), device.minor()),
        rate: device.rate(),
    };
    let rates = |(throttle, list): (&'static Throttle, &Option<Vec<LinuxThrottleDevice>>)| {
        let devices = list.iter().flatten().enumerate();
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
        limit.setting("blkio", limit.throttle.file, value)
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
        limit.setting("io", "io.max", value)
    })
}

impl Rate {
    fn setting(&self, controller: &'static str, file: &'static str, value: String) -> Setting {
        let setting = Setting::new(self.throttle.field, controller, file, value);
        setting.of_item(format!("[{}]", self.index))
    }
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
}
