//! config-linux.md, "Cgroups Path", "Cgroup ownership" and the limits, in the files of the host.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::common::{assert_error, needs_controller, sleeper};
use crate::harness::{Bundle, Kind, cgroup_of, cgroup_top, on_v2, skip, trials, violates};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        an_absolute_path_is_relative_to_the_mount_point,
        a_relative_path_is_accepted,
        the_same_path_is_the_same_place,
        a_path_with_dot_dot_is_an_error_or_stays_in_the_hierarchy,
        the_memory_limit_is_applied,
        the_memory_reservation_is_applied,
        the_swap_limit_is_applied,
        the_shares_are_applied,
        the_quota_and_the_period_are_applied,
        the_burst_is_applied,
        the_cpus_and_mems_are_applied,
        the_pids_limit_is_applied,
        the_weight_of_block_io_is_applied,
        the_bytes_per_second_of_a_device_are_limited,
        the_operations_per_second_of_a_device_are_limited,
        the_limit_of_huge_pages_is_applied,
        the_class_of_network_packets_is_set,
        the_priority_of_an_interface_is_set,
        rdma_limits_are_applied,
        device_rules_are_applied_in_the_listed_order,
        a_limit_without_its_controller_is_an_error,
        deleting_removes_the_cgroup,
    ]
}

/// "In the case of an absolute path (starting with /), the runtime MUST take the path to be relative to the cgroups mount
/// point."
fn an_absolute_path_is_relative_to_the_mount_point() {
    let bundle = sleeper();
    let path = format!("{}/inner", bundle.id());
    let bundle = bundle.set("/linux/cgroupsPath", json!(format!("/{path}")));
    let container = bundle.create();
    for controller in ["memory", "cpu", "pids", "devices", "freezer"] {
        assert_eq!(
            cgroup_of(container.pid(), controller),
            cgroup_top(controller).join(&path),
            "{controller}"
        );
    }
}

/// "The value of cgroupsPath MUST be either an absolute path or a relative path."
fn a_relative_path_is_accepted() {
    let bundle = sleeper();
    let path = format!("{}/inner", bundle.id());
    let bundle = bundle.set("/linux/cgroupsPath", json!(path));
    let container = bundle.create();
    let place = cgroup_of(container.pid(), "memory");
    assert!(
        place.ends_with(&path) && place.is_dir(),
        "{}",
        place.display()
    );
}

/// "If the value is specified, the runtime MUST consistently attach to the same place in the cgroups hierarchy given the
/// same value of cgroupsPath."
fn the_same_path_is_the_same_place() {
    for start in ["/", ""] {
        let bundle = sleeper();
        let path = format!("{start}{}/inner", bundle.id());
        let bundle = bundle.set("/linux/cgroupsPath", json!(path));
        let place = || {
            let container = bundle.create();
            let place = cgroup_of(container.pid(), "memory");
            container.end();
            place
        };
        assert_eq!(place(), place(), "{path}");
    }
}

/// "Runtimes MAY consider certain cgroupsPath values to be invalid, and MUST generate an error if this is the case."
fn a_path_with_dot_dot_is_an_error_or_stays_in_the_hierarchy() {
    let bundle = sleeper();
    let path = format!("/../../{}/../{}", bundle.id(), bundle.id());
    let bundle = bundle.set("/linux/cgroupsPath", json!(path));
    let outcome = bundle.call("create", &[]).run();
    if outcome.code() == 0 {
        let place = cgroup_of(bundle.container().pid(), "memory");
        assert!(
            place.ends_with(bundle.id()) && place.is_dir(),
            "{}",
            place.display()
        );
    } else {
        assert_ne!(outcome.stderr, "");
    }
}

/// A file of a v1 hierarchy, and the one of v2 that stands for it.
struct File {
    controller: &'static str,
    v1: &'static str,
    v2: &'static str,
}

/// The controller, and its files.
fn file(controller: &'static str, v1: &'static str, v2: &'static str) -> File {
    File { controller, v1, v2 }
}

/// What a file of the cgroup of a container with these resources says, if it is there.
#[track_caller]
fn limit(resources: Value, file: &File) -> Option<String> {
    let bundle = sleeper();
    let path = format!("/{}/inner", bundle.id());
    let bundle = bundle
        .set("/linux/cgroupsPath", json!(path))
        .set("/linux/resources", resources);
    let container = bundle.create();
    let name = if on_v2() { file.v2 } else { file.v1 };
    let path: PathBuf = cgroup_of(container.pid(), file.controller).join(name);
    let text = fs::read_to_string(path).ok();
    container.end();
    text.map(|text| text.trim().to_owned())
}

/// Asserts that the file has the first value on v1, and the second on v2.
#[track_caller]
fn assert_limit(resources: Value, file: &File, v1: &str, v2: &str) {
    needs_controller(file.controller);
    let Some(seen) = limit(resources, file) else {
        skip(&format!(
            "the kernel has no file {} or {}",
            file.v1, file.v2
        ));
    };
    assert_eq!(seen, if on_v2() { v2 } else { v1 });
}

/// "limit (int64, OPTIONAL) - sets limit of memory usage"
fn the_memory_limit_is_applied() {
    let file = file("memory", "memory.limit_in_bytes", "memory.max");
    assert_limit(
        json!({"memory": {"limit": 64 << 20}}),
        &file,
        "67108864",
        "67108864",
    );
}

/// "reservation (int64, OPTIONAL) - sets soft limit of memory usage"
fn the_memory_reservation_is_applied() {
    let file = file("memory", "memory.soft_limit_in_bytes", "memory.low");
    assert_limit(
        json!({"memory": {"reservation": 32 << 20}}),
        &file,
        "33554432",
        "33554432",
    );
}

/// "swap (int64, OPTIONAL) - sets limit of memory+Swap usage"
fn the_swap_limit_is_applied() {
    let file = file("memory", "memory.memsw.limit_in_bytes", "memory.swap.max");
    let memory = json!({"memory": {"limit": 64 << 20, "swap": 96 << 20}});
    if !on_v2() && !cgroup_top("memory").join(file.v1).exists() {
        skip("the kernel counts no swap");
    }
    assert_limit(memory, &file, "100663296", "33554432");
}

/// "shares (uint64, OPTIONAL) - specifies a relative share of CPU time available to the tasks in a cgroup"
fn the_shares_are_applied() {
    needs_controller("cpu");
    let seen = limit(
        json!({"cpu": {"shares": 2048}}),
        &file("cpu", "cpu.shares", "cpu.weight"),
    )
    .unwrap();
    // The specification leaves open which weight of v2 stands for it; 100 is that of no limit.
    assert!(
        if on_v2() {
            seen != "100"
        } else {
            seen == "2048"
        },
        "{seen}"
    );
}

/// "quota (int64, OPTIONAL)", "period (uint64, OPTIONAL)"
fn the_quota_and_the_period_are_applied() {
    let cpu = json!({"cpu": {"quota": 50_000, "period": 200_000}});
    let quota = file("cpu", "cpu.cfs_quota_us", "cpu.max");
    assert_limit(cpu.clone(), &quota, "50000", "50000 200000");
    let period = file("cpu", "cpu.cfs_period_us", "cpu.max");
    assert_limit(cpu, &period, "200000", "50000 200000");
}

/// "burst (uint64, OPTIONAL)"
fn the_burst_is_applied() {
    violates(Kind::Runc, "Debian's is older than this property");
    violates(Kind::Crun, "Debian's is older than this property");
    let cpu = json!({"cpu": {"quota": 50_000, "period": 200_000, "burst": 30_000}});
    let burst = file("cpu", "cpu.cfs_burst_us", "cpu.max.burst");
    assert_limit(cpu, &burst, "30000", "30000");
}

/// "cpus (string, OPTIONAL) - list of CPUs the container will run on", "mems (string, OPTIONAL) - list of memory nodes"
fn the_cpus_and_mems_are_applied() {
    let cpu = json!({"cpu": {"cpus": "0", "mems": "0"}});
    assert_limit(
        cpu.clone(),
        &file("cpuset", "cpuset.cpus", "cpuset.cpus"),
        "0",
        "0",
    );
    assert_limit(cpu, &file("cpuset", "cpuset.mems", "cpuset.mems"), "0", "0");
}

/// "limit (int64, REQUIRED) - specifies the maximum number of tasks in the cgroup"
fn the_pids_limit_is_applied() {
    assert_limit(
        json!({"pids": {"limit": 33}}),
        &file("pids", "pids.max", "pids.max"),
        "33",
        "33",
    );
}

/// "weight (uint16, OPTIONAL) - specifies per-cgroup weight."
fn the_weight_of_block_io_is_applied() {
    let old = cgroup_top("blkio").join("blkio.weight").exists();
    if !old && !cgroup_top("blkio").join("blkio.bfq.weight").exists() && !on_v2() {
        skip("the kernel has no weights of block devices");
    }
    let v1 = if old {
        "blkio.weight"
    } else {
        "blkio.bfq.weight"
    };
    let seen = limit(
        json!({"blockIO": {"weight": 500}}),
        &file("blkio", v1, "io.bfq.weight"),
    );
    assert!(
        seen.as_deref().is_none_or(|seen| seen.ends_with("500")),
        "{seen:?}"
    );
}

/// The numbers of a block device of the host.
fn disk() -> (u32, u32) {
    let disks = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let mut numbers = disks.filter_map(|disk| fs::read_to_string(disk.path().join("dev")).ok());
    let Some(text) = numbers.next() else {
        skip("the host has no block device");
    };
    let (major, minor) = text.trim().split_once(':').unwrap();
    (major.parse().unwrap(), minor.parse().unwrap())
}

#[track_caller]
fn assert_throttled(member: &str, v1: &'static str, v2: &str) {
    needs_controller(if on_v2() { "io" } else { "blkio" });
    let (major, minor) = disk();
    let block = json!({"blockIO": {member: [{"major": major, "minor": minor, "rate": 1_048_576}]}});
    let seen = limit(block, &file("blkio", v1, "io.max")).unwrap();
    let expected = if on_v2() {
        format!("{v2}=1048576")
    } else {
        format!("{major}:{minor} 1048576")
    };
    assert!(
        seen.starts_with(&format!("{major}:{minor} ")) && seen.contains(&expected),
        "{seen}"
    );
}

/// throttleReadBpsDevice: "major, minor (int64, REQUIRED)", "rate (uint64, REQUIRED) - bandwidth rate limit in bytes per
/// second for the device"
fn the_bytes_per_second_of_a_device_are_limited() {
    assert_throttled(
        "throttleReadBpsDevice",
        "blkio.throttle.read_bps_device",
        "rbps",
    );
    assert_throttled(
        "throttleWriteBpsDevice",
        "blkio.throttle.write_bps_device",
        "wbps",
    );
}

/// throttleReadIOPSDevice: "rate (uint64, REQUIRED) - IO rate limit for the device"
fn the_operations_per_second_of_a_device_are_limited() {
    assert_throttled(
        "throttleReadIOPSDevice",
        "blkio.throttle.read_iops_device",
        "riops",
    );
    assert_throttled(
        "throttleWriteIOPSDevice",
        "blkio.throttle.write_iops_device",
        "wiops",
    );
}

/// "pageSize (string, REQUIRED) - hugepage size.", "limit (uint64, REQUIRED) - limit in bytes of hugepagesize HugeTLB
/// reservations (if supported) or usage."
fn the_limit_of_huge_pages_is_applied() {
    let pages = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]});
    assert_limit(
        pages,
        &file("hugetlb", "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"),
        "4194304",
        "4194304",
    );
}

/// "classID (uint32, OPTIONAL) - is the network class identifier the cgroup's network packets will be tagged with"
fn the_class_of_network_packets_is_set() {
    if on_v2() {
        skip("cgroup v2 has no network classes");
    }
    let network = json!({"network": {"classID": 1_048_577}});
    assert_limit(
        network,
        &file("net_cls", "net_cls.classid", ""),
        "1048577",
        "",
    );
}

/// priorities: "name (string, REQUIRED) - interface name in runtime network namespace", "priority (uint32, REQUIRED) -
/// priority applied to the interface"
fn the_priority_of_an_interface_is_set() {
    if on_v2() {
        skip("cgroup v2 has no network priorities");
    }
    needs_controller("net_prio");
    let network = json!({"network": {"priorities": [{"name": "lo", "priority": 7}]}});
    let seen = limit(network, &file("net_prio", "net_prio.ifpriomap", "")).unwrap();
    assert!(seen.lines().any(|line| line == "lo 7"), "{seen}");
}

/// "hcaHandles (uint32, OPTIONAL)", "hcaObjects (uint32, OPTIONAL)"
fn rdma_limits_are_applied() {
    needs_controller("rdma");
    let device = fs::read_dir("/sys/class/infiniband")
        .into_iter()
        .flatten()
        .flatten()
        .next();
    let Some(device) = device.map(|device| device.file_name().to_string_lossy().into_owned())
    else {
        skip("the host has no RDMA device");
    };
    let rdma = json!({"rdma": {device.as_str(): {"hcaHandles": 3, "hcaObjects": 1000}}});
    let seen = limit(rdma, &file("rdma", "rdma.max", "rdma.max")).unwrap();
    assert!(seen.contains("hca_handle=3 hca_object=1000"), "{seen}");
}

/// "The runtime MUST apply entries in the listed order.", "allow (boolean, REQUIRED) - whether the entry is allowed or
/// denied."
fn device_rules_are_applied_in_the_listed_order() {
    let all = json!({"allow": false, "access": "rwm"});
    // /dev/kmsg, which is no default device.
    let one = json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rw"});
    let device =
        json!({"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666});
    for (rules, expected) in [(json!([all, one]), "ok\n"), (json!([one, all]), "EPERM\n")] {
        let bundle = Bundle::new()
            .set("/linux/devices", json!([device]))
            .set("/linux/resources/devices", rules)
            .args(&["/probe", "device", "/dev/kmsg", "w"]);
        assert_eq!(bundle.run().assert_ok().stdout, expected);
    }
}

/// runtime.md, "Create": "If the runtime cannot apply a property as specified in the configuration, it MUST generate an
/// error".
fn a_limit_without_its_controller_is_an_error() {
    violates(Kind::Crun, "leaves its cgroups behind");
    let text = fs::read_to_string("/proc/self/cgroup").unwrap();
    if on_v2() || text.contains("hugetlb") {
        skip("the host has the controller hugetlb, or cgroup v2");
    }
    let pages = json!([{"pageSize": "2MB", "limit": 4 << 20}]);
    assert_error(Bundle::new().set("/linux/resources/hugepageLimits", pages));
}

/// runtime.md, "Delete": "Deleting a container MUST delete the resources that were created during the create step."
fn deleting_removes_the_cgroup() {
    let bundle = sleeper();
    let path = format!("/{}/inner", bundle.id());
    let bundle = bundle.set("/linux/cgroupsPath", json!(path));
    let container = bundle.create();
    let places: Vec<PathBuf> = ["memory", "pids", "devices"]
        .map(|name| cgroup_of(container.pid(), name))
        .into();
    assert!(places.iter().all(|place| place.is_dir()));
    container.end();
    assert!(places.iter().all(|place| !place.exists()), "{places:?}");
}
