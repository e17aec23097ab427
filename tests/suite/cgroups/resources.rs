//! The limits that few hosts have: weights for I/O, huge pages, network classes, RDMA devices, and
//! files of cgroup v2 by name.

use std::fs;
use std::path::{Path, PathBuf};

use crate::runner::Test;
use serde_json::{Value, json};

use crate::harness::{
    Bundle, HostState, Kind, Outcome, Runtime, View, cgroup_of, differs, on_v2, only_rt, skip,
    trials,
};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        a_weight_for_io_is_applied,
        a_weight_for_a_disk_without_a_scheduler_is_explained,
        huge_pages_are_limited,
        huge_pages_of_another_size_are_refused_by_run_and_check,
        a_network_class_is_applied_or_its_controller_named,
        a_limit_on_an_absent_rdma_device_is_refused,
        files_by_name_replace_what_other_fields_set,
        files_by_name_need_their_controller,
        files_that_do_not_exist_or_are_no_limits_are_refused,
        files_by_name_are_refused_on_cgroup_v1,
        incomplete_items_are_refused_at_their_place,
    ]
}

/// A bundle for a runtime that sees cgroup v2 alone.
fn on_version_2() -> Bundle {
    if on_v2() {
        Bundle::new()
    } else {
        Bundle::with_runtime(&Runtime::new().view(View::V2))
    }
}

fn with(bundle: Bundle, name: &str, value: Value) -> Bundle {
    let bundle = bundle.args(&["/probe", "sleep"]);
    bundle.set(&format!("/linux/resources/{name}"), value)
}

/// The cgroup of a container of `bundle`, and the container that keeps it.
fn create(bundle: &Bundle, controller: &str) -> (crate::harness::Container, PathBuf) {
    let container = bundle.create();
    let cgroup = cgroup_of(container.pid(), controller);
    (container, cgroup)
}

fn read(path: PathBuf) -> String {
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.trim().to_owned()
}

/// A refused `run` leaves nothing behind.
#[track_caller]
fn refused(bundle: &Bundle, text: &str) -> Outcome {
    let before = HostState::of(bundle);
    let outcome = bundle.run().assert_refused(text);
    before.assert_unchanged(bundle);
    outcome
}

/// What `rt run` says after the id.
#[track_caller]
fn assert_line(bundle: &Bundle, text: &str) {
    let line = refused(bundle, text).one_line().to_owned();
    let start = format!("rt run: {}: {text}", bundle.id());
    assert!(line.starts_with(&start), "{line}");
}

/// The first of the files for weights that the kernel has.
pub(crate) fn weight_file(cgroup: &Path) -> &'static str {
    let files = [
        ["blkio.weight", "blkio.bfq.weight"],
        ["io.bfq.weight", "io.weight"],
    ];
    let files = files[usize::from(on_v2())];
    match files.into_iter().find(|file| cgroup.join(file).exists()) {
        Some(file) => file,
        None => skip("this kernel has no weights for I/O"),
    }
}

fn a_weight_for_io_is_applied() {
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let (container, cgroup) = create(&bundle, "blkio");
    let file = weight_file(&cgroup);
    container.end();
    let bundle = with(Bundle::new(), "blockIO", json!({ "weight": 300 }));
    let (_container, cgroup) = create(&bundle, "blkio");
    let expected = match file {
        "io.bfq.weight" => "default 300",
        "io.weight" => "default 2930",
        _ => "300",
    };
    // BFQ of some kernels does not name the default weight if it is the only one.
    let weight = read(cgroup.join(file));
    assert!(weight == expected || weight == "300", "{file}: {weight}");
}

/// A disk of numbers that no host has.
fn a_weight_for_a_disk_without_a_scheduler_is_explained() {
    only_rt("runc ignores it on cgroup v2 without BFQ, and its texts are others");
    let item = json!({ "major": 250, "minor": 77, "weight": 300 });
    let bundle = with(Bundle::new(), "blockIO", json!({ "weightDevice": [item] }));
    assert_line(
        &bundle,
        "linux.resources.blockIO.weightDevice[0].weight: write \"250:77 ",
    );
}

/// Whether cgroup v2 has the controller.
fn has_controller(name: &str) -> bool {
    let path = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"][usize::from(on_v2())];
    let list = fs::read_to_string(format!("{path}/cgroup.controllers")).unwrap_or_default();
    list.split_whitespace().any(|known| known == name)
}

fn huge_pages_are_limited() {
    differs(Kind::Crun, "it does not limit reserved pages");
    if !has_controller("hugetlb") {
        skip("cgroup v2 has no hugetlb controller here");
    }
    let limits = json!([{ "pageSize": "2MB", "limit": 4 << 20 }]);
    let bundle = with(on_version_2(), "hugepageLimits", limits);
    let (_container, cgroup) = create(&bundle, "");
    assert_eq!(read(cgroup.join("hugetlb.2MB.max")), "4194304");
    differs(Kind::Runc, "Debian's version does not limit reserved pages");
    assert_eq!(read(cgroup.join("hugetlb.2MB.rsvd.max")), "4194304");
}

fn huge_pages_of_another_size_are_refused_by_run_and_check() {
    only_rt("the texts are those of rt");
    if !has_controller("hugetlb") {
        skip("cgroup v2 has no hugetlb controller here");
    }
    let limits = json!([
        { "pageSize": "2MB", "limit": u64::MAX }, { "pageSize": "3MB", "limit": 0 },
    ]);
    let bundle = with(on_version_2(), "hugepageLimits", limits);
    let text = "linux.resources.hugepageLimits[1].pageSize: write \"0\" to hugetlb.3MB.max: ";
    assert_line(&bundle, text);
    let directory = bundle.path().to_str().unwrap();
    let check = bundle.runtime().call(&["check", "--bundle", directory]);
    let outcome = check.run().assert_refused(text);
    assert!(
        outcome.stderr.contains("; this host has huge pages of 2MB"),
        "{outcome}"
    );
}

fn a_network_class_is_applied_or_its_controller_named() {
    only_rt("the texts are those of rt");
    let network = json!({ "classID": 0x10_0001, "priorities": [{ "name": "lo", "priority": 5 }] });
    let bundle = with(Bundle::new(), "network", network);
    if on_v2() {
        let text =
            "linux.resources.network.classID: cgroup v2, which this host uses, has no such limit";
        return assert_line(&bundle, text);
    }
    // Both controllers are usually in one hierarchy.
    let Some(controllers) = hierarchy("net_cls") else {
        let text = "linux.resources.network.classID: this host has no net_cls controller";
        assert_line(&bundle, text);
        skip("this host has no net_cls and net_prio hierarchies");
    };
    let (_container, cgroup) = create(&bundle, &controllers);
    assert_eq!(read(cgroup.join("net_cls.classid")), "1048577");
    let priorities = read(cgroup.join("net_prio.ifpriomap"));
    assert!(
        priorities.lines().any(|line| line == "lo 5"),
        "{priorities}"
    );
}

/// The controllers of the v1 hierarchy that has the one named, as /proc/PID/cgroup lists them.
fn hierarchy(controller: &str) -> Option<String> {
    let table = fs::read_to_string("/proc/self/cgroup").unwrap();
    let mut lists = table.lines().filter_map(|line| line.split(':').nth(1));
    let list = lists.find(|list| list.split(',').any(|name| name == controller));
    list.map(str::to_owned)
}

fn a_limit_on_an_absent_rdma_device_is_refused() {
    only_rt("the texts are those of rt");
    let bundle = with(
        Bundle::new(),
        "rdma",
        json!({ "none_0": { "hcaHandles": 3 } }),
    );
    let has_controller = if on_v2() {
        has_controller("rdma")
    } else {
        hierarchy("rdma").is_some()
    };
    if has_controller {
        let text = "linux.resources.rdma.none_0: write \"none_0 hca_handle=3\" to rdma.max: \
                    no such device (ENODEV; no RDMA device of the host has this name";
        assert_line(&bundle, text);
    } else {
        let text = "linux.resources.rdma.none_0: this host has no rdma controller";
        assert_line(&bundle, text);
    }
}

fn files_by_name_replace_what_other_fields_set() {
    if !has_controller("hugetlb") {
        skip("cgroup v2 has no hugetlb controller here");
    }
    let limits = json!([{ "pageSize": "2MB", "limit": 4 << 20 }]);
    let bundle = with(on_version_2(), "hugepageLimits", limits);
    let files = json!({ "hugetlb.2MB.max": "2097152", "cgroup.max.descendants": "7" });
    let bundle = with(bundle, "unified", files);
    let (container, cgroup) = create(&bundle, "");
    assert_eq!(read(cgroup.join("hugetlb.2MB.max")), "2097152");
    assert_eq!(read(cgroup.join("cgroup.max.descendants")), "7");
    container.end();
    if !on_v2() {
        return;
    }
    let files = json!({ "memory.high": "33554432", "pids.max": "0", "cpu.max": "20000 50000" });
    let bundle = with(Bundle::new(), "unified", files);
    let bundle = with(bundle, "pids", json!({ "limit": 50 }));
    let (_container, cgroup) = create(&bundle, "");
    for (file, value) in [
        ("memory.high", "33554432"),
        ("pids.max", "0"),
        ("cpu.max", "20000 50000"),
    ] {
        assert_eq!(read(cgroup.join(file)), value, "{file}");
    }
}

fn files_by_name_need_their_controller() {
    only_rt("the texts are those of rt");
    let (file, controller) = ("none.max", "none");
    let bundle = with(on_version_2(), "unified", json!({ file: "5" }));
    let text = format!("linux.resources.unified.{file}: this host has no {controller} controller");
    assert_line(&bundle, &text);
    if !on_v2() && !has_controller("memory") {
        let bundle = with(on_version_2(), "unified", json!({ "memory.high": "5" }));
        let text = "linux.resources.unified.memory.high: this host has no memory controller";
        assert_line(&bundle, text);
    }
}

fn files_that_do_not_exist_or_are_no_limits_are_refused() {
    only_rt("the texts are those of rt");
    for (file, text) in [
        (
            "cgroup.none",
            ".cgroup.none: write \"5\" to cgroup.none: not found (ENOENT; this kernel has no such file)",
        ),
        (
            "cgroup.freeze",
            ".cgroup.freeze: this file is no limit; only rt writes it",
        ),
        (
            "a/../b.c",
            ": \"a/../b.c\" must be a file name (no slashes)",
        ),
        (
            "memory",
            ": \"memory\" must be in the form CONTROLLER.PARAMETER",
        ),
    ] {
        let bundle = with(on_version_2(), "unified", json!({ file: "5" }));
        assert_line(&bundle, &format!("linux.resources.unified{text}"));
    }
}

fn files_by_name_are_refused_on_cgroup_v1() {
    if on_v2() {
        skip("this host uses cgroup v2 alone");
    }
    differs(Kind::Crun, "it writes what it can");
    let bundle = with(Bundle::new(), "unified", json!({ "memory.high": "5" }));
    refused(&bundle, "cannot use unified on cgroup v1");
}

fn incomplete_items_are_refused_at_their_place() {
    only_rt("the texts are those of rt");
    for (name, value, text) in [
        (
            "blockIO",
            json!({ "weightDevice": [{ "major": 8, "minor": 0 }] }),
            "blockIO.weightDevice[0]: needs weight or leafWeight",
        ),
        (
            "blockIO",
            json!({ "weight": 70_000 }),
            "blockIO.weight: 70000 is not between 10 and 1000",
        ),
        (
            "rdma",
            json!({ "mlx5_1": {} }),
            "rdma.mlx5_1: needs hcaHandles or hcaObjects",
        ),
        (
            "hugepageLimits",
            json!([{ "pageSize": "2mb", "limit": 0 }]),
            "hugepageLimits[0].pageSize: \"2mb\" is not a number with KB, MB or GB",
        ),
        (
            "unified",
            json!({ "memory.high": 5 }),
            "unified.memory.high: a number; want a string",
        ),
    ] {
        let bundle = with(Bundle::new(), name, value);
        assert_line(&bundle, &format!("linux.resources.{text}"));
    }
}
