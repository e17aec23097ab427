//! Files with a line for each device, interface or resource. A write changes one of the lines.

/// The files, and what to write in place of a line that is not there: a value that limits nothing.
const FILES: [(&str, &str); 15] = [
    ("blkio.bfq.weight_device", "default"),
    ("blkio.leaf_weight_device", "0"),
    ("blkio.throttle.read_bps_device", "0"),
    ("blkio.throttle.read_iops_device", "0"),
    ("blkio.throttle.write_bps_device", "0"),
    ("blkio.throttle.write_iops_device", "0"),
    ("blkio.weight_device", "0"),
    ("dmem.max", "max"),
    ("io.bfq.weight", "default"),
    ("io.latency", "target=max"),
    ("io.max", "rbps=max wbps=max riops=max wiops=max"),
    ("io.weight", "default"),
    ("misc.max", "max"),
    ("net_prio.ifpriomap", "0"),
    ("rdma.max", "hca_handle=max hca_object=max"),
];

/// The first word of a line about all devices that have none of their own.
const DEFAULT: &str = "default";

/// The present line for a device, from `text`, the content of `file`. The device is the one that
/// `value`, a line for the same file, is about. The result is in the form in which it would be
/// written. `None` for a file that has no such lines.
pub(in crate::cgroups) fn present_line(file: &str, text: &str, value: &str) -> Option<String> {
    let (_, unlimited) = FILES.iter().find(|(name, _)| *name == file)?;
    let (device, _) = value.split_once(' ').unwrap_or((DEFAULT, value));
    let mut lines = text.lines();
    let line = lines.find(|line| line.split_whitespace().next() == Some(device));
    Some(line.map_or_else(|| format!("{device} {unlimited}"), str::to_owned))
}

/// Whether the kernel reads `name` as one word, so that what follows is the value.
pub(super) fn is_word(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_present_line_is_found_by_its_first_word() {
        for (file, text, value, expected) in [
            (
                "blkio.throttle.read_bps_device",
                "8:0 100\n8:16 200",
                "8:16 5",
                "8:16 200",
            ),
            (
                "blkio.throttle.read_bps_device",
                "8:0 100\n8:16 200",
                "8:1 5",
                "8:1 0",
            ),
            (
                "io.max",
                "",
                "8:1 rbps=5",
                "8:1 rbps=max wbps=max riops=max wiops=max",
            ),
            ("io.bfq.weight", "default 100\n8:0 300", "50", "default 100"),
            ("io.bfq.weight", "default 100\n8:0 300", "8:0 50", "8:0 300"),
            ("io.weight", "default 100", "8:0 50", "8:0 default"),
            ("net_prio.ifpriomap", "lo 0\neth0 3", "eth0 9", "eth0 3"),
            (
                "rdma.max",
                "mlx hca_handle=2 hca_object=max",
                "mlx hca_object=5",
                "mlx hca_handle=2 hca_object=max",
            ),
        ] {
            let line = present_line(file, text, value);
            assert_eq!(line.as_deref(), Some(expected), "{file}: {value}");
        }
        assert_eq!(present_line("cpu.max", "max 100000", "max"), None);
    }
}
