//! config-linux.md, "Memory policy".

use std::path::Path;

use serde_json::{Value, json};

use crate::common::assert_error;
use crate::harness::{Bundle, Kind, skip, trials, violates};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        the_mode_is_set,
        nodes_of_a_mode_without_nodes_are_an_error,
        a_mode_without_its_nodes_is_an_error
    ]
}

fn older() {
    violates(Kind::Runc, "Debian's is older than this property");
    violates(Kind::Crun, "Debian's is older than this property");
}

fn with(policy: Value) -> Bundle {
    if !Path::new("/proc/self/numa_maps").exists() {
        skip("the kernel has no memory policies (CONFIG_NUMA)");
    }
    Bundle::new().set("/linux/memoryPolicy", policy)
}

/// "mode (string, REQUIRED)", in the words of numa_maps (proc_pid_numa_maps(5)).
fn the_mode_is_set() {
    older();
    for (mode, nodes, word) in [
        ("MPOL_BIND", "0", "bind:0"),
        ("MPOL_INTERLEAVE", "0", "interleave:0"),
        ("MPOL_PREFERRED", "0", "prefer:0"),
        ("MPOL_LOCAL", "", "local"),
        ("MPOL_DEFAULT", "", "default"),
    ] {
        let bundle = with(json!({"mode": mode, "nodes": nodes}));
        let outcome = bundle
            .sh("head -n 1 /proc/self/numa_maps")
            .run()
            .assert_ok();
        assert_eq!(
            outcome.stdout.split(' ').nth(1),
            Some(word),
            "{mode}: {outcome}"
        );
    }
}

fn nodes_of_a_mode_without_nodes_are_an_error() {
    older();
    assert_error(with(json!({"mode": "MPOL_DEFAULT", "nodes": "0"})));
}

fn a_mode_without_its_nodes_is_an_error() {
    older();
    assert_error(with(json!({"mode": "MPOL_BIND", "nodes": ""})));
}
