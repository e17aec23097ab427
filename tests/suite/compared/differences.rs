//! Where rt's values are not those of Debian's runc 1.1.5, and why.

use super::Layout::{self, Systemd, V1, V2};
use super::configurations::Configuration;

pub(super) struct Difference {
    pub(super) layouts: &'static [Layout],
    /// A part of the configuration's text.
    of: &'static str,
    /// A file, `unit:` and a property, or `outcome`.
    name: &'static str,
    /// What rt has.
    ours: &'static str,
    pub(super) reason: &'static str,
}

impl Difference {
    pub(super) fn covers(
        &self,
        layout: Layout,
        configuration: &Configuration,
        name: &str,
        ours: &str,
    ) -> bool {
        self.layouts.contains(&layout)
            && configuration.text.contains(self.of)
            && self.name == name
            && self.ours == ours
    }
}

const fn on(
    layouts: &'static [Layout],
    of: &'static str,
    (name, ours): (&'static str, &'static str),
    reason: &'static str,
) -> Difference {
    Difference {
        layouts,
        of,
        name,
        ours,
        reason,
    }
}

const EVERYWHERE: &[Layout] = &[V1, V2, Systemd];
const ON_2: &[Layout] = &[V2, Systemd];
const REFUSED: (&str, &str) = ("outcome", "refused");

const WITHOUT_A_FILE: &str = "cgroup v2 has no such limit; crun refuses it too, and runc drops it";
const WEIGHT: &str = "runc 1.3.2 has this curve: 1024 shares become 100";
const NICE: &str = "the kernel's other form of the weight";
const BURST: &str = "runc 1.2 sets it";
const BURST_ABOVE: &str = "runc 1.2 has the kernel's error too: a burst is at most the quota";
const IDLE: &str = "runc 1.2 sets it";
const IDLE_WEIGHT: &str = "an idle cgroup has the lowest weight";
const IDLE_ABOVE: &str = "runc 1.2 has the kernel's error too";
const PIDS: &str = "runc 1.4 does not take 0 as unlimited";
const RESERVED: &str = "runc 1.1.10 limits reserved pages too";
const MAKING: &str = "each device may be made, so a rule for one allows that too";

const NO_SWAP: &str = "runc does not tell systemd of a limit of 0, so a reload of systemd lifts it";
const ONE_TASK: &str = "systemd allows one task at least";
const NO_RATE: &str = "0 lifts the rate, as the kernel has it on cgroup v1";
const DENIED_DEVICES: &str =
    "systemd knows no rule that denies: runc lets it deny all, rt leaves all to its own filter";

pub(super) const DIFFERENCES: &[Difference] = &[
    on(ON_2, r#""swappiness""#, REFUSED, WITHOUT_A_FILE),
    on(ON_2, r#""disableOOMKiller": true"#, REFUSED, WITHOUT_A_FILE),
    on(
        ON_2,
        r#""shares": 1}"#,
        ("outcome", "applied"),
        "runc 1.3.2 takes 1 as 2, the least number of shares",
    ),
    on(ON_2, r#""shares": 512"#, ("cpu.weight", "59"), WEIGHT),
    on(ON_2, r#""shares": 512"#, ("cpu.weight.nice", "2"), NICE),
    on(ON_2, r#""shares": 1024}"#, ("cpu.weight", "100"), WEIGHT),
    on(ON_2, r#""shares": 1024}"#, ("cpu.weight.nice", "0"), NICE),
    on(ON_2, r#""shares": 10000}"#, ("cpu.weight", "627"), WEIGHT),
    on(ON_2, r#""shares": 10000}"#, ("cpu.weight.nice", "-8"), NICE),
    on(
        &[V1],
        r#""burst": 10000"#,
        ("cpu.cfs_burst_us", "10000"),
        BURST,
    ),
    on(ON_2, r#""burst": 10000"#, ("cpu.max.burst", "10000"), BURST),
    on(EVERYWHERE, r#""burst": 60000"#, REFUSED, BURST_ABOVE),
    on(EVERYWHERE, r#""idle": 1"#, ("cpu.idle", "1"), IDLE),
    on(&[V1], r#""idle": 1"#, ("cpu.shares", "3"), IDLE_WEIGHT),
    on(ON_2, r#""idle": 1"#, ("cpu.weight", "0"), IDLE_WEIGHT),
    on(ON_2, r#""idle": 1"#, ("cpu.weight.nice", "19"), NICE),
    on(EVERYWHERE, r#""idle": 2"#, REFUSED, IDLE_ABOVE),
    on(
        EVERYWHERE,
        r#""pids": {"limit": 0}"#,
        ("pids.max", "0"),
        PIDS,
    ),
    on(
        ON_2,
        r#""pageSize": "2MB", "limit": 4194304"#,
        ("hugetlb.2MB.rsvd.max", "4194304"),
        RESERVED,
    ),
    on(
        ON_2,
        r#""pageSize": "2MB", "limit": 0"#,
        ("hugetlb.2MB.rsvd.max", "0"),
        RESERVED,
    ),
    on(
        &[Systemd],
        r#""limit": 67108864, "swap": 67108864"#,
        ("unit:MemorySwapMax", "0"),
        NO_SWAP,
    ),
    on(
        &[Systemd],
        r#""shares": 512"#,
        ("unit:CPUWeight", "59"),
        WEIGHT,
    ),
    on(
        &[Systemd],
        r#""shares": 1024}"#,
        ("unit:CPUWeight", "100"),
        WEIGHT,
    ),
    on(
        &[Systemd],
        r#""shares": 10000}"#,
        ("unit:CPUWeight", "627"),
        WEIGHT,
    ),
    on(
        &[Systemd],
        r#""idle": 1"#,
        ("unit:CPUWeight", "idle"),
        IDLE_WEIGHT,
    ),
    on(
        &[Systemd],
        r#""pids": {"limit": 0}"#,
        ("unit:TasksMax", "1"),
        ONE_TASK,
    ),
    on(
        &[Systemd],
        r#"DISK, "rate": 0"#,
        ("outcome", "applied"),
        NO_RATE,
    ),
    on(
        &[Systemd],
        r#""devices": [{"allow": true, "access": "rwm"}, {"allow": false"#,
        ("unit:DevicePolicy", "auto"),
        DENIED_DEVICES,
    ),
    on(
        &[Systemd],
        r#""type": "b", "major": 7"#,
        (
            "unit:DeviceAllow",
            "/dev/char/1:3 rwm, /dev/char/1:5 rwm, /dev/char/1:7 rwm, /dev/char/1:8 rwm, /dev/char/1:9 rwm, \
             /dev/char/5:0 rwm, /dev/char/5:2 rwm, block-* m, block-7 r, char-* m, char-136 rwm",
        ),
        "runc leaves out a number that no loaded driver has",
    ),
    on(
        &[V1],
        r#""major": 10, "minor": 229"#,
        (
            "devices.list",
            "b *:* m, c *:* m, c 10:200 rwm, c 10:229 rwm, c 136:* rwm, c 1:3 rwm, c 1:5 rwm, c 1:7 rwm, \
             c 1:8 rwm, c 1:9 rwm, c 5:0 rwm, c 5:2 rwm",
        ),
        MAKING,
    ),
    on(
        &[V1],
        r#""type": "b", "major": 7"#,
        (
            "devices.list",
            "b *:* m, b 7:* rm, c *:* m, c 10:200 rwm, c 136:* rwm, c 1:3 rwm, c 1:5 rwm, c 1:7 rwm, \
             c 1:8 rwm, c 1:9 rwm, c 5:0 rwm, c 5:2 rwm",
        ),
        MAKING,
    ),
];
