//! The path of a container's cgroup, and its limits in the files of the host.

use std::fs;
use std::path::PathBuf;

use crate::runner::Test;
use serde_json::{Value, json};

use crate::harness::{
    Bundle, Container, HostState, Kind, Runtime, View, cgroup_of, cgroup_top, differs, mountinfo,
    on_v2, remove_cgroup, skip, trials, wait_until,
};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        the_default_path_is_the_id,
        an_absolute_path_starts_at_the_top,
        a_relative_path_starts_at_the_callers_cgroup,
        colons_in_a_path_have_no_meaning,
        a_path_with_dot_dot_stays_in_the_hierarchy,
        the_process_is_in_its_cgroup_in_every_hierarchy,
        the_cgroup_is_removed_with_the_container,
        cgroups_made_by_the_container_are_removed_with_it,
        memory_limits_are_applied,
        cpu_limits_are_applied,
        cpusets_are_applied,
        pids_limit_is_applied,
        pids_limit_stops_forks,
        io_limits_of_a_disk_are_applied,
        zeros_set_no_limits,
        limits_that_the_kernel_refuses_are_refused,
        the_process_is_in_its_cgroup_in_the_v2_view,
        limits_without_their_controller_are_refused_in_the_v2_view,
        the_mount_options_of_the_hosts_hierarchy_do_not_change,
    ]
}

/// A new mount of cgroup v2 from the host's cgroup namespace would replace the options of the
/// whole hierarchy: without `nsdelegate`, a cgroup that is delegated to a user no longer
/// confines its processes.
fn the_mount_options_of_the_hosts_hierarchy_do_not_change() {
    if !on_v2() {
        skip("this host does not use cgroup v2 alone");
    }
    differs(Kind::Runc, "Debian's version replaces them");
    let options = || {
        let lines = mountinfo().into_iter();
        let hierarchy = lines.filter(|line| line.contains(" /sys/fs/cgroup "));
        hierarchy.collect::<Vec<_>>()
    };
    let before = options();
    let shared = Bundle::new()
        .without_namespace("cgroup")
        .without_mount("/sys/fs/cgroup");
    let mount = json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"],
    });
    let shared = shared.mount(mount).sh("ls /sys/fs/cgroup/cgroup.procs");
    assert_eq!(
        shared.run().assert_ok().stdout,
        "/sys/fs/cgroup/cgroup.procs\n"
    );
    assert_eq!(options(), before);
}

fn sleeper() -> Bundle {
    Bundle::new().args(&["/probe", "sleep"])
}

fn created(bundle: &Bundle) -> (Container, i32) {
    let container = bundle.create();
    let pid = container.pid();
    (container, pid)
}

/// A cgroup of this name at the top of every hierarchy. It is removed with all below it when
/// dropped.
struct Parent(&'static str);

impl Drop for Parent {
    fn drop(&mut self) {
        remove_cgroup(self.0);
    }
}

fn the_default_path_is_the_id() {
    let bundle = sleeper();
    let (_container, pid) = created(&bundle);
    assert_eq!(
        cgroup_of(pid, "memory"),
        cgroup_top("memory").join(bundle.id())
    );
}

fn an_absolute_path_starts_at_the_top() {
    let _parent = Parent("suite-abs");
    let bundle = sleeper().set("/linux/cgroupsPath", json!("/suite-abs/one"));
    let (_container, pid) = created(&bundle);
    for controller in ["memory", "cpu", "pids", "devices"] {
        let expected = cgroup_top(controller).join("suite-abs/one");
        assert_eq!(cgroup_of(pid, controller), expected);
    }
}

fn a_relative_path_starts_at_the_callers_cgroup() {
    if on_v2() {
        skip("on cgroup v2 a relative path starts beside the caller's cgroup");
    }
    let _parent = Parent("suite-caller");
    fs::create_dir_all("/sys/fs/cgroup/memory/suite-caller").unwrap();
    let bundle = sleeper().set("/linux/cgroupsPath", json!("below/two"));
    let _other = Parent("below");
    let script = "echo $$ > /sys/fs/cgroup/memory/suite-caller/cgroup.procs && exec \"$@\"";
    bundle
        .call_through(&["sh", "-c", script, "sh"], "create", &[])
        .run()
        .assert_ok();
    let container = bundle.container();
    let pid = container.pid();
    let path = |controller: &str, cgroup: &str| {
        PathBuf::from(format!("/sys/fs/cgroup/{controller}/{cgroup}"))
    };
    assert_eq!(
        cgroup_of(pid, "memory"),
        path("memory", "suite-caller/below/two")
    );
    assert_eq!(cgroup_of(pid, "pids"), path("pids", "below/two"));
    container.end();
}

/// `slice:prefix:name` has a meaning only with `--systemd-cgroup`.
fn colons_in_a_path_have_no_meaning() {
    if on_v2() {
        skip("on cgroup v2 a relative path starts beside the caller's cgroup");
    }
    let bundle = sleeper().set("/linux/cgroupsPath", json!("suite.slice:prefix:name"));
    let _parent = Parent("suite.slice:prefix:name");
    let (_container, pid) = created(&bundle);
    assert_eq!(
        cgroup_of(pid, "pids"),
        cgroup_top("pids").join("suite.slice:prefix:name")
    );
}

fn a_path_with_dot_dot_stays_in_the_hierarchy() {
    let _parents = (Parent("suite-up"), Parent("suite-climb"));
    let bundle = sleeper().set(
        "/linux/cgroupsPath",
        json!("/suite-up/../../../suite-climb"),
    );
    let call = bundle.call("create", &[]).run();
    if call.code() == 0 {
        let cgroup = cgroup_of(bundle.container().pid(), "pids");
        assert!(
            cgroup.starts_with(cgroup_top("pids").join("suite-climb")),
            "{}",
            cgroup.display()
        );
    }
    assert!(!PathBuf::from("/sys/fs/suite-climb").exists());
}

fn the_process_is_in_its_cgroup_in_every_hierarchy() {
    let bundle = sleeper();
    let (container, pid) = created(&bundle);
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    for line in table.lines().filter(|line| !line.starts_with("0::")) {
        assert!(line.ends_with(&format!(":/{}", bundle.id())), "{line}");
    }
    container.end();
}

fn the_cgroup_is_removed_with_the_container() {
    let bundle = sleeper();
    let before = HostState::of(&bundle);
    let (container, pid) = created(&bundle);
    let cgroup = cgroup_of(pid, "memory");
    assert!(cgroup.is_dir());
    container.end();
    assert!(!cgroup.exists());
    before.assert_unchanged(&bundle);
}

fn cgroups_made_by_the_container_are_removed_with_it() {
    let bundle = sleeper();
    let before = HostState::of(&bundle);
    let (container, pid) = created(&bundle);
    for controller in ["memory", "pids", "freezer"] {
        fs::create_dir_all(cgroup_of(pid, controller).join("inner/deeper")).unwrap();
    }
    container.end();
    before.assert_unchanged(&bundle);
}

/// A controller, then the file and its expected value in v1 and in v2.
type File<'a> = (&'a str, [(&'a str, &'a str); 2]);

/// Checks the files of the cgroups of a container that has these resources.
#[track_caller]
fn assert_files(resources: Value, expected: &[File]) {
    let bundle = sleeper();
    let bundle = resources
        .as_object()
        .unwrap()
        .iter()
        .fold(bundle, |bundle, (name, value)| {
            bundle.set(&format!("/linux/resources/{name}"), value.clone())
        });
    let (_container, pid) = created(&bundle);
    for (controller, versions) in expected {
        let (file, value) = &versions[usize::from(on_v2())];
        let path = cgroup_of(pid, controller).join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(text.trim(), *value, "{file} under {resources}");
    }
}

fn memory_limits_are_applied() {
    let memory = json!({ "limit": 67_108_864, "reservation": 33_554_432, "swap": 134_217_728 });
    assert_files(
        json!({ "memory": memory }),
        &[
            (
                "memory",
                [
                    ("memory.limit_in_bytes", "67108864"),
                    ("memory.max", "67108864"),
                ],
            ),
            (
                "memory",
                [
                    ("memory.soft_limit_in_bytes", "33554432"),
                    ("memory.low", "33554432"),
                ],
            ),
        ],
    );
    let swap = PathBuf::from("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes");
    if swap.exists() || on_v2() {
        let files = [
            ("memory.memsw.limit_in_bytes", "134217728"),
            ("memory.swap.max", "67108864"),
        ];
        assert_files(json!({ "memory": memory }), &[("memory", files)]);
    }
    let top = fs::read_to_string("/sys/fs/cgroup/memory/memory.limit_in_bytes");
    let unlimited = top.unwrap_or_default();
    let files = [
        ("memory.limit_in_bytes", unlimited.trim()),
        ("memory.max", "max"),
    ];
    let files = [("memory", files)];
    assert_files(json!({ "memory": { "limit": -1 } }), &files);
}

fn cpu_limits_are_applied() {
    assert_files(
        json!({ "cpu": { "shares": 300, "quota": 40_000, "period": 80_000 } }),
        &[
            ("cpu", [("cpu.shares", "300"), ("cpu.max", "40000 80000")]),
            (
                "cpu",
                [("cpu.cfs_quota_us", "40000"), ("cpu.max", "40000 80000")],
            ),
            (
                "cpu",
                [("cpu.cfs_period_us", "80000"), ("cpu.max", "40000 80000")],
            ),
        ],
    );
    assert_files(
        json!({ "cpu": { "period": 50_000 } }),
        &[(
            "cpu",
            [("cpu.cfs_period_us", "50000"), ("cpu.max", "max 50000")],
        )],
    );
}

fn cpusets_are_applied() {
    let files = [
        ("cpuset", [("cpuset.cpus", "0"); 2]),
        ("cpuset", [("cpuset.mems", "0"); 2]),
    ];
    assert_files(json!({ "cpu": { "cpus": "0", "mems": "0" } }), &files);
    let bundle = Bundle::new().set("/linux/resources/cpu", json!({ "cpus": "0" }));
    assert_eq!(bundle.probe()["cpus"], json!([0]));
}

fn pids_limit_is_applied() {
    assert_files(
        json!({ "pids": { "limit": 42 } }),
        &[("pids", [("pids.max", "42"); 2])],
    );
    assert_files(
        json!({ "pids": { "limit": -1 } }),
        &[("pids", [("pids.max", "max"); 2])],
    );
}

fn pids_limit_stops_forks() {
    let bundle = Bundle::new()
        .set("/linux/resources/pids", json!({ "limit": 8 }))
        .sh("for n in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1000 & done");
    let outcome = bundle.run();
    assert!(
        outcome.code() != 0 && outcome.stderr.contains("fork"),
        "{outcome}"
    );
}

/// Docker writes these values for a container without limits.
fn zeros_set_no_limits() {
    let resources = json!({
        "memory": { "disableOOMKiller": false },
        "cpu": { "shares": 0 },
        "blockIO": { "weight": 0 },
    });
    assert_files(
        resources,
        &[("cpu", [("cpu.shares", "1024"), ("cpu.weight", "100")])],
    );
}

/// Uses the first disk of the host.
fn io_limits_of_a_disk_are_applied() {
    let disks = fs::read_dir("/sys/block").unwrap();
    let disks = disks.map(|disk| fs::read_to_string(disk.unwrap().path().join("dev")));
    let Some(disk) = disks.filter_map(Result::ok).next() else {
        skip("this host has no disk")
    };
    let disk = disk.trim();
    let (major, minor) = disk.split_once(':').unwrap();
    let (major, minor): (i64, i64) = (major.parse().unwrap(), minor.parse().unwrap());
    let rate = |rate: u64| json!([{ "major": major, "minor": minor, "rate": rate }]);
    let unified = format!("{disk} rbps=1048576 wbps=max riops=max wiops=100");
    let (bytes, operations) = (format!("{disk} 1048576"), format!("{disk} 100"));
    assert_files(
        json!({ "blockIO": {
            "throttleReadBpsDevice": rate(1 << 20),
            "throttleWriteIOPSDevice": rate(100),
        }}),
        &[
            (
                ["blkio", "io"][usize::from(on_v2())],
                [
                    ("blkio.throttle.read_bps_device", bytes.as_str()),
                    ("io.max", unified.as_str()),
                ],
            ),
            (
                ["blkio", "io"][usize::from(on_v2())],
                [
                    ("blkio.throttle.write_iops_device", operations.as_str()),
                    ("io.max", unified.as_str()),
                ],
            ),
        ],
    );
}

fn limits_that_the_kernel_refuses_are_refused() {
    let cases = [
        (
            "/linux/resources/cpu",
            json!({ "cpus": "4000" }),
            "cpuset.cpus",
        ),
        (
            "/linux/resources/cpu",
            json!({ "quota": 10, "period": 100_000 }),
            ["cpu.cfs_quota_us", "cpu.max"][usize::from(on_v2())],
        ),
        (
            "/linux/resources/cpu",
            json!({ "period": 1 }),
            ["cpu.cfs_period_us", "cpu.max"][usize::from(on_v2())],
        ),
        (
            "/linux/resources/memory",
            json!({ "limit": 2_000_000, "swap": 1_000_000 }),
            "memory",
        ),
    ];
    for (pointer, value, text) in cases {
        let bundle = Bundle::new().set(pointer, value).args(&["/bin/true"]);
        let before = HostState::of(&bundle);
        bundle.run().assert_refused(text);
        before.assert_unchanged(&bundle);
    }
}

fn in_v2_view() -> Bundle {
    let bundle = Bundle::with_runtime(&Runtime::new().view(View::V2));
    if Kind::under_test() == Kind::Crun {
        bundle.remove("/linux/resources")
    } else {
        bundle
    }
}

fn the_process_is_in_its_cgroup_in_the_v2_view() {
    let bundle = in_v2_view().args(&["/probe", "sleep"]);
    let before = HostState::of(&bundle);
    let container = bundle.create();
    let cgroup = cgroup_of(container.pid(), "");
    assert!(cgroup.ends_with(bundle.id()), "{}", cgroup.display());
    assert!(cgroup.is_dir(), "{}", cgroup.display());
    container.start().assert_ok();
    wait_until("the container to run", || container.status() == "running");
    container.end();
    assert!(!cgroup.exists());
    before.assert_unchanged(&bundle);
}

fn limits_without_their_controller_are_refused_in_the_v2_view() {
    if on_v2() {
        skip("on this host cgroup v2 has every controller");
    }
    for (name, value) in [
        ("pids", json!({ "limit": 10 })),
        ("memory", json!({ "limit": 64_000_000 })),
        ("cpu", json!({ "quota": 10_000, "period": 100_000 })),
        ("cpu", json!({ "cpus": "0" })),
    ] {
        let bundle = in_v2_view()
            .set(&format!("/linux/resources/{name}"), value)
            .args(&["/bin/true"]);
        let before = HostState::of(&bundle);
        bundle.run().assert_refused(name);
        before.assert_unchanged(&bundle);
    }
}
