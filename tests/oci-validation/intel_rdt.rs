//! config-linux.md, "IntelRdt": what can be seen without a processor that has it.

use std::fs;

use serde_json::json;

use crate::common::{assert_error, sleeper};
use crate::harness::{Bundle, Kind, skip, tree, trials, violates};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        without_resctrl_it_is_an_error,
        an_unset_property_leaves_resctrl_alone
    ]
}

fn resctrl() -> Option<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = table
        .lines()
        .find(|line| line.contains(" - resctrl "))?
        .to_owned();
    line.split(' ').nth(4).map(str::to_owned)
}

/// "If no mounted resctrl pseudo-filesystem is available in the runtime mount namespace, the runtime MUST generate an
/// error."
fn without_resctrl_it_is_an_error() {
    violates(Kind::Crun, "Debian's is older than this property");
    if resctrl().is_some() {
        skip("this host has a resctrl file system");
    }
    assert_error(Bundle::new().set("/linux/intelRdt", json!({"l3CacheSchema": "L3:0=f"})));
}

/// "If intelRdt is not set, the runtime MUST NOT manipulate any resctrl pseudo-filesystems."
fn an_unset_property_leaves_resctrl_alone() {
    let Some(place) = resctrl() else {
        skip("this host has no resctrl file system");
    };
    let before = tree(place.as_ref());
    let bundle = sleeper();
    let container = bundle.create();
    assert_eq!(tree(place.as_ref()), before);
    container.end();
}
