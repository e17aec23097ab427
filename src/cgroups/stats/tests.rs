//! The figures of directories with the files that a cgroup has.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::cgroups::ExistingCgroups;

const V2: &[(&str, &str)] = &[
    (
        "cpu.stat",
        "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 4\nnr_throttled 2\nthrottled_usec 7\n",
    ),
    (
        "cpu.pressure",
        "some avg10=1.50 avg60=0.25 avg300=12.00 total=9\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    ),
    (
        "memory.pressure",
        "some avg10=0.07 avg60=0.00 avg300=0.00 total=1\n",
    ),
    (
        "io.pressure",
        "some avg10=10.00 avg60=0.00 avg300=0.00 total=1\n",
    ),
    ("memory.current", "5000\n"),
    ("memory.max", "8000\n"),
    ("memory.peak", "6000\n"),
    ("memory.swap.current", "50\n"),
    ("memory.swap.max", "1000\n"),
    ("memory.stat", "file 300\nanon 7\ninactive_file 200\n"),
    ("pids.current", "3\n"),
    ("pids.max", "max\n"),
    (
        "io.stat",
        "8:0 rbytes=10 wbytes=0 rios=1 wios=0 dbytes=5 dios=1\n8:16 \n253:1 rbytes=1 wbytes=20 rios=1 wios=2\n",
    ),
];

const V2_JSON: &str = concat!(
    r#"{"cpu":{"usage":{"total":30000,"kernel":10000,"user":20000},"#,
    r#""throttling":{"periods":4,"throttledPeriods":2,"throttledTime":7000},"#,
    r#""psi":{"some":{"avg10":1.5,"avg60":0.25,"avg300":12,"total":9},"full":{"avg10":0,"avg60":0,"avg300":0,"total":0}}},"#,
    r#""cpuset":{"cpu_exclusive":0,"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"memory_spread_page":0,"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":0,"sched_relax_domain_level":0},"#,
    r#""memory":{"cache":300,"usage":{"limit":8000,"usage":5000,"max":6000,"failcnt":0},"#,
    r#""swap":{"limit":9000,"usage":5050,"failcnt":0},"kernel":{"limit":0,"failcnt":0},"kernelTCP":{"limit":0,"failcnt":0},"#,
    r#""raw":{"anon":7,"file":300,"inactive_file":200},"#,
    r#""psi":{"some":{"avg10":0.07,"avg60":0,"avg300":0,"total":1},"full":{"avg10":0,"avg60":0,"avg300":0,"total":0}}},"#,
    r#""pids":{"current":3},"#,
    r#""blkio":{"ioServiceBytesRecursive":[{"major":8,"op":"Read","value":10},{"major":8,"op":"Write"},{"major":253,"minor":1,"op":"Read","value":1},{"major":253,"minor":1,"op":"Write","value":20}],"#,
    r#""ioServicedRecursive":[{"major":8,"op":"Read","value":1},{"major":8,"op":"Write"},{"major":253,"minor":1,"op":"Read","value":1},{"major":253,"minor":1,"op":"Write","value":2}],"#,
    r#""psi":{"some":{"avg10":10,"avg60":0,"avg300":0,"total":1},"full":{"avg10":0,"avg60":0,"avg300":0,"total":0}}},"#,
    r#""hugetlb":{},"intel_rdt":{},"network_interfaces":null}"#,
);

const V1: &[(&str, &str)] = &[
    ("cpuacct.usage", "900\n"),
    ("cpuacct.usage_percpu", "400 500 \n"),
    ("cpuacct.usage_all", "cpu user system\n0 1 2\n1 3 4\n"),
    ("cpuacct.stat", "user 2\nsystem 1\n"),
    (
        "cpu.stat",
        "nr_periods 5\nnr_throttled 0\nthrottled_time 6\n",
    ),
    ("cpuset.cpus", "0-1,3\n"),
    ("cpuset.mems", "0\n"),
    ("cpuset.sched_load_balance", "1\n"),
    ("cpuset.sched_relax_domain_level", "-1\n"),
    ("memory.usage_in_bytes", "5000\n"),
    ("memory.limit_in_bytes", "8000\n"),
    ("memory.max_usage_in_bytes", "6000\n"),
    ("memory.failcnt", "2\n"),
    ("memory.stat", "cache 30\ntotal_inactive_file 200\n"),
    ("pids.current", "3\n"),
    ("pids.max", "7\n"),
    ("blkio.bfq.io_serviced_recursive", "Total 0\n"),
    (
        "blkio.throttle.io_serviced_recursive",
        "8:0 Read 1\n8:0 Total 1\nTotal 1\n",
    ),
    (
        "blkio.throttle.io_service_bytes_recursive",
        "8:0 Read 10\n8:0 Write 4\nTotal 14\n",
    ),
];

const V1_JSON: &str = concat!(
    r#"{"cpu":{"usage":{"total":900,"percpu":[400,500],"percpu_kernel":[2,4],"percpu_user":[1,3],"kernel":10000000,"user":20000000},"#,
    r#""throttling":{"periods":5,"throttledTime":6}},"#,
    r#""cpuset":{"cpus":[0,1,3],"cpu_exclusive":0,"mems":[0],"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"memory_spread_page":0,"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":1,"sched_relax_domain_level":-1},"#,
    r#""memory":{"cache":30,"usage":{"limit":8000,"usage":5000,"max":6000,"failcnt":2},"#,
    r#""swap":{"limit":0,"failcnt":0},"kernel":{"limit":0,"failcnt":0},"kernelTCP":{"limit":0,"failcnt":0},"#,
    r#""raw":{"cache":30,"total_inactive_file":200}},"#,
    r#""pids":{"current":3,"limit":7},"#,
    r#""blkio":{"ioServiceBytesRecursive":[{"major":8,"op":"Read","value":10},{"major":8,"op":"Write","value":4}],"#,
    r#""ioServicedRecursive":[{"major":8,"op":"Read","value":1},{"major":8,"op":"Total","value":1}]},"#,
    r#""hugetlb":{},"intel_rdt":{},"network_interfaces":null}"#,
);

/// The cgroups of a container whose only directory has the given files. It is removed at the end.
struct Fixture(PathBuf);

impl Fixture {
    fn new(name: &str, files: &[(&str, &str)]) -> Fixture {
        let directory = format!("rt-stats-{}-{name}", std::process::id());
        let directory = std::env::temp_dir().join(directory);
        fs::create_dir(&directory).unwrap();
        for (file, content) in files {
            fs::write(directory.join(file), content).unwrap();
        }
        Fixture(directory)
    }

    fn cgroups(&self, controllers: &[&str]) -> ExistingCgroups {
        cgroups(&self.0, controllers)
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn cgroups(path: &Path, controllers: &[&str]) -> ExistingCgroups {
    let paths = controllers
        .iter()
        .map(|name| ((*name).to_owned(), path.to_owned()));
    ExistingCgroups::new(paths.collect(), Vec::new())
}

const V1_CONTROLLERS: [&str; 6] = ["blkio", "cpu", "cpuacct", "cpuset", "memory", "pids"];

#[test]
fn the_json_is_that_of_runc() {
    let v2 = Fixture::new("json-v2", V2);
    assert_eq!(v2.cgroups(&[""]).stats("{}").unwrap(), V2_JSON);
    let v1 = Fixture::new("json-v1", V1);
    assert_eq!(v1.cgroups(&V1_CONTROLLERS).stats("{}").unwrap(), V1_JSON);
}

#[test]
fn a_cgroup_without_limits_has_the_largest_numbers() {
    let files = [
        ("memory.current", "1\n"),
        ("memory.max", "max\n"),
        ("memory.swap.max", "max\n"),
    ];
    let stats = Fixture::new("max", &files)
        .cgroups(&[""])
        .stats("{}")
        .unwrap();
    let limit = r#""usage":{"limit":18446744073709551615,"usage":1,"failcnt":0},"swap":{"limit":18446744073709551615,"usage":1,"failcnt":0}"#;
    assert!(stats.contains(limit), "{stats}");
    assert!(!stats.contains("psi") && !stats.contains("raw"), "{stats}");
}

#[test]
fn without_the_pids_controller_processes_are_counted() {
    let fixture = Fixture::new("procs", &[("cgroup.procs", "7\n9\n")]);
    let stats = fixture.cgroups(&[""]).stats("{}").unwrap();
    assert!(stats.contains(r#""pids":{"current":2}"#), "{stats}");
}

#[test]
fn people_see_memory_without_the_cache_that_can_be_dropped() {
    let v2 = Fixture::new("usage-v2", V2);
    let usage = v2.cgroups(&[""]).usage().unwrap().unwrap();
    assert_eq!(usage.cpu_time, Some(30_000));
    assert_eq!(usage.memory, Some(4800));
    assert_eq!(usage.memory_limit, Some(8000));
    assert_eq!(usage.pids, Some(3));
    assert_eq!(usage.block, Some((11, 20)));
    assert_eq!(usage.pressure, Some([150, 7, 1000]));
    let v1 = Fixture::new("usage-v1", V1);
    let usage = v1.cgroups(&V1_CONTROLLERS).usage().unwrap().unwrap();
    assert_eq!(usage.cpu_time, Some(900));
    assert_eq!(usage.memory, Some(4800));
    assert_eq!(usage.block, Some((10, 4)));
    assert_eq!(usage.pressure, None);
}

#[test]
fn absent_cgroups_have_no_figures() {
    let gone = Path::new("/nonexistent/cgroup");
    for controllers in [&[""][..], &V1_CONTROLLERS] {
        assert!(cgroups(gone, controllers).usage().unwrap().is_none());
    }
    let none = ExistingCgroups::new(BTreeMap::new(), Vec::new());
    assert_eq!(none.usage().unwrap().unwrap().memory, None);
    assert!(none.stats("{}").is_err());
}
