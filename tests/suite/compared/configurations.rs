//! Values of `linux.resources`: each field alone, at its edges, and several together.

use std::fs;

use serde_json::Value;

pub(super) struct Configuration {
    /// The members of `linux.resources`. `DISK` stands for the number of one of the host's disks.
    pub(super) text: &'static str,
}

impl Configuration {
    pub(super) fn resources(&self) -> Value {
        let disk = disk().unwrap_or_else(|| "250:77".to_owned());
        let (major, minor) = disk.split_once(':').unwrap();
        let numbers = format!(r#""major": {major}, "minor": {minor}"#);
        let text = self.text.replace("DISK", &numbers);
        serde_json::from_str(&format!("{{{text}}}")).unwrap_or_else(|e| panic!("{text}: {e}"))
    }
}

/// The number of a whole disk.
fn disk() -> Option<String> {
    let mut names: Vec<_> = fs::read_dir("/sys/block")
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    names.sort();
    let disk = names.iter().find(|path| path.join("device").exists())?;
    Some(fs::read_to_string(disk.join("dev")).ok()?.trim().to_owned())
}

pub(super) fn all() -> Vec<Configuration> {
    let parts = [MEMORY, CPU, OTHERS, TOGETHER];
    parts
        .concat()
        .into_iter()
        .map(|text| Configuration { text })
        .collect()
}

const MEMORY: &[&str] = &[
    "",
    r#""memory": {}"#,
    r#""memory": {"limit": 67108864}"#,
    r#""memory": {"limit": 67108865}"#,
    r#""memory": {"limit": 1099511627776}"#,
    r#""memory": {"limit": 0}"#,
    r#""memory": {"limit": -1}"#,
    r#""memory": {"limit": 67108864, "swap": 67108864}"#,
    r#""memory": {"limit": 67108864, "swap": 134217728}"#,
    r#""memory": {"limit": 67108864, "swap": 0}"#,
    r#""memory": {"limit": 67108864, "swap": -1}"#,
    r#""memory": {"limit": 67108864, "swap": 33554432}"#,
    r#""memory": {"limit": -1, "swap": -1}"#,
    r#""memory": {"limit": -1, "swap": 67108864}"#,
    r#""memory": {"swap": -1}"#,
    r#""memory": {"swap": 67108864}"#,
    r#""memory": {"reservation": 33554432}"#,
    r#""memory": {"reservation": -1}"#,
    r#""memory": {"limit": 67108864, "reservation": 33554432}"#,
    r#""memory": {"limit": 67108864, "reservation": 134217728}"#,
    r#""memory": {"swappiness": 0}"#,
    r#""memory": {"swappiness": 10}"#,
    r#""memory": {"swappiness": 100}"#,
    r#""memory": {"swappiness": 101}"#,
    r#""memory": {"disableOOMKiller": true}"#,
    r#""memory": {"disableOOMKiller": false}"#,
    r#""memory": {"useHierarchy": true}"#,
    r#""memory": {"kernel": 67108864}"#,
    r#""memory": {"kernelTCP": 67108864}"#,
    r#""memory": {"checkBeforeUpdate": true, "limit": 67108864}"#,
];

const CPU: &[&str] = &[
    r#""cpu": {}"#,
    r#""cpu": {"shares": 0}"#,
    r#""cpu": {"shares": 1}"#,
    r#""cpu": {"shares": 2}"#,
    r#""cpu": {"shares": 512}"#,
    r#""cpu": {"shares": 1024}"#,
    r#""cpu": {"shares": 10000}"#,
    r#""cpu": {"shares": 262144}"#,
    r#""cpu": {"shares": 262145}"#,
    r#""cpu": {"quota": 50000}"#,
    r#""cpu": {"quota": 1000, "period": 1000}"#,
    r#""cpu": {"quota": 999}"#,
    r#""cpu": {"quota": 0}"#,
    r#""cpu": {"quota": -1}"#,
    r#""cpu": {"period": 1000}"#,
    r#""cpu": {"period": 999}"#,
    r#""cpu": {"period": 1000000}"#,
    r#""cpu": {"period": 1000001}"#,
    r#""cpu": {"period": 50000, "quota": 25000}"#,
    r#""cpu": {"period": 10000, "quota": 7003}"#,
    r#""cpu": {"period": 50000, "quota": -1}"#,
    r#""cpu": {"quota": 50000, "burst": 0}"#,
    r#""cpu": {"quota": 50000, "burst": 10000}"#,
    r#""cpu": {"quota": 50000, "burst": 60000}"#,
    r#""cpu": {"idle": 0}"#,
    r#""cpu": {"idle": 1}"#,
    r#""cpu": {"idle": 2}"#,
    r#""cpu": {"idle": 1, "shares": 512}"#,
    r#""cpu": {"cpus": "0"}"#,
    r#""cpu": {"cpus": "0-1"}"#,
    r#""cpu": {"cpus": "1,0"}"#,
    r#""cpu": {"cpus": "4095"}"#,
    r#""cpu": {"cpus": "x"}"#,
    r#""cpu": {"mems": "0"}"#,
    r#""cpu": {"mems": "63"}"#,
    r#""cpu": {"cpus": "0", "mems": "0"}"#,
    r#""cpu": {"realtimeRuntime": 0, "realtimePeriod": 0}"#,
];

const OTHERS: &[&str] = &[
    r#""pids": {"limit": 100}"#,
    r#""pids": {"limit": 1}"#,
    r#""pids": {"limit": 0}"#,
    r#""pids": {"limit": -1}"#,
    r#""pids": {"limit": 4194304}"#,
    r#""blockIO": {}"#,
    r#""blockIO": {"weight": 10}"#,
    r#""blockIO": {"weight": 500}"#,
    r#""blockIO": {"weight": 1000}"#,
    r#""blockIO": {"throttleReadBpsDevice": [{DISK, "rate": 1048576}]}"#,
    r#""blockIO": {"throttleWriteBpsDevice": [{DISK, "rate": 1048576}]}"#,
    r#""blockIO": {"throttleReadIOPSDevice": [{DISK, "rate": 100}]}"#,
    r#""blockIO": {"throttleWriteIOPSDevice": [{DISK, "rate": 4294967295}]}"#,
    r#""blockIO": {"throttleReadBpsDevice": [{DISK, "rate": 0}]}"#,
    r#""blockIO": {"throttleReadBpsDevice": [{"major": 250, "minor": 77, "rate": 1}]}"#,
    r#""hugepageLimits": []"#,
    r#""hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]"#,
    r#""hugepageLimits": [{"pageSize": "2MB", "limit": 0}]"#,
    r#""hugepageLimits": [{"pageSize": "3MB", "limit": 0}]"#,
    r#""network": {}"#,
    r#""network": {"classID": 0}"#,
    r#""network": {"priorities": []}"#,
    r#""rdma": {}"#,
    r#""unified": {}"#,
    r#""unified": {"memory.high": "33554432"}"#,
    r#""unified": {"memory.max": "67108864", "memory.low": "1048576"}"#,
    r#""unified": {"memory.swap.max": "max"}"#,
    r#""unified": {"pids.max": "max"}"#,
    r#""unified": {"cpu.weight": "200"}"#,
    r#""unified": {"cpu.max": "50000 100000"}"#,
    r#""unified": {"cpuset.cpus": "0", "cpuset.mems": "0"}"#,
    r#""unified": {"memory.min": "1048576"}"#,
    r#""unified": {"memory.oom.group": "1"}"#,
    r#""unified": {"no_such.file": "1"}"#,
    r#""unified": {"memory.none": "1"}"#,
    r#""unified": {"memory.high": "no number"}"#,
    r#""devices": []"#,
    r#""devices": [{"allow": false, "access": "rwm"}]"#,
    r#""devices": [{"allow": true, "access": "rwm"}]"#,
    r#""devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}]"#,
    r#""devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "b", "major": 7, "access": "r"}]"#,
    r#""devices": [{"allow": true, "access": "rwm"}, {"allow": false, "type": "c", "major": 1, "minor": 11, "access": "w"}]"#,
];

const TOGETHER: &[&str] = &[
    r#""memory": {"limit": 67108864, "swap": 134217728, "reservation": 33554432}, "pids": {"limit": 50}"#,
    r#""memory": {"limit": 67108864}, "unified": {"memory.high": "33554432"}"#,
    r#""memory": {"limit": 67108864}, "unified": {"memory.max": "33554432"}"#,
    r#""cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0", "mems": "0"}"#,
    r#""cpu": {"shares": 512}, "unified": {"cpu.weight": "300"}"#,
    r#""cpu": {"quota": 50000}, "memory": {"limit": 67108864}, "pids": {"limit": 20}"#,
    r#""cpu": {"shares": 2, "quota": 70000}, "pids": {"limit": -1}, "memory": {"limit": -1}"#,
    r#""blockIO": {"throttleReadBpsDevice": [{DISK, "rate": 1048576}], "throttleWriteIOPSDevice": [{DISK, "rate": 10}]}"#,
    r#""blockIO": {"weight": 200, "throttleReadIOPSDevice": [{DISK, "rate": 7}]}, "pids": {"limit": 9}"#,
    r#""memory": {"limit": 134217728, "swap": -1, "reservation": -1}, "cpu": {"cpus": "1"}"#,
];
