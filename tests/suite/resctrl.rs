//! `linux.intelRdt`: groups of the resctrl file system. Few hosts have one, so these tests look at what is refused
//! without it. Unit tests have directories in its place.

use crate::runner::Test;
use serde_json::{Value, json};

use crate::errors::assert_error;
use crate::harness::{Bundle, Outcome, only_rt, skip, trials};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        a_host_without_resctrl_is_refused_with_what_to_mount,
        check_reports_a_host_without_resctrl,
        check_shows_the_groups_that_would_be_made,
        values_that_are_no_names_or_schemata_are_refused_on_every_host,
    ]
}

const NOT_MOUNTED: &str = "linux.intelRdt: no resctrl file system is mounted; mount it with \
     mount -t resctrl resctrl /sys/fs/resctrl, which needs a CPU with Intel RDT or AMD QoS and a kernel with \
     CONFIG_X86_CPU_RESCTRL";

fn bundle(intel_rdt: Value) -> Bundle {
    Bundle::new().set("/linux/intelRdt", intel_rdt)
}

fn check(bundle: &Bundle, flags: &[&str]) -> Outcome {
    bundle.write();
    let directory = ["check", "-b", bundle.path().to_str().unwrap()];
    bundle.runtime().call(&[&directory, flags].concat()).run()
}

fn needs_a_host_without_resctrl() {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    if mounts.contains(" - resctrl ") {
        skip("this host has a resctrl file system");
    }
}

fn a_host_without_resctrl_is_refused_with_what_to_mount() {
    only_rt("Debian's runc runs the container without a group, unless a schema is set");
    needs_a_host_without_resctrl();
    for intel_rdt in [
        json!({}),
        json!({"closID": "/", "enableMonitoring": true}),
        json!({"closID": "rt-suite", "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20"}),
        json!({"schemata": ["L3:0=f", "MB:0=20"]}),
    ] {
        assert_error(&bundle(intel_rdt), NOT_MOUNTED);
    }
}

fn check_reports_a_host_without_resctrl() {
    only_rt("other runtimes have no check");
    needs_a_host_without_resctrl();
    let bundle = bundle(json!({"closID": "rt-suite"}));
    let outcome = check(&bundle, &[]).assert_code(1);
    assert_eq!(outcome.stderr, format!("rt check: {NOT_MOUNTED}\n"));
}

fn check_shows_the_groups_that_would_be_made() {
    only_rt("other runtimes have no check");
    let bundle = bundle(json!({"closID": "rt-suite", "schemata": ["L3:0=f"]}));
    let outcome = check(&bundle, &["--plan"]);
    let expected = "resctrl\n  control group rt-suite, which is made if it is missing, and kept\n  \
                    schemata = L3:0=f; refused if the group exists and differs\n  init is moved here\n";
    assert!(outcome.stdout.contains(expected), "{outcome}");
}

fn values_that_are_no_names_or_schemata_are_refused_on_every_host() {
    only_rt("Debian's runc does not look at them on a host without resctrl");
    for (intel_rdt, line) in [
        (
            json!({"closID": ".."}),
            "closID: \"..\" cannot be the name of a group",
        ),
        (
            json!({"closID": "a/b"}),
            "closID: \"a/b\" cannot be the name of a group",
        ),
        (
            json!({"closID": "info"}),
            "closID: \"info\" cannot be the name of a group",
        ),
        (
            json!({"memBwSchema": "L3:0=f"}),
            "memBwSchema: \"L3:0=f\" does not start with \"MB:\"",
        ),
        (
            json!({"schemata": ["L3:0=f\nL3:1=f"]}),
            "schemata[0]: \"L3:0=f\\nL3:1=f\" has a newline",
        ),
    ] {
        assert_error(&bundle(intel_rdt), &format!("linux.intelRdt.{line}"));
    }
}
