//! What the machine lets even root do: raise limits, hold capabilities.

use std::collections::BTreeSet;
use std::fs;

use nix::sys::resource::{Resource, getrlimit};

use crate::harness::{Config, skip};

/// Skips the test where a limit of the configuration is above what this process may raise.
pub(super) fn need_limits(config: &Config) {
    for limit in config.items("/process/rlimits") {
        let name = limit["type"].as_str().unwrap();
        if limit["hard"].as_u64() > Some(highest(name)) {
            skip(&format!("this machine lets nobody raise {name}"));
        }
    }
}

/// The hard limit of this process, unless it may raise it.
fn highest(name: &str) -> u64 {
    let resource = match name {
        "RLIMIT_NOFILE" => Resource::RLIMIT_NOFILE,
        "RLIMIT_NPROC" => Resource::RLIMIT_NPROC,
        other => panic!("no configuration here has {other}"),
    };
    if may_raise() {
        return u64::MAX;
    }
    getrlimit(resource).unwrap().1
}

pub(super) fn may_raise() -> bool {
    !withheld().contains("CAP_SYS_RESOURCE")
}

/// The capabilities that this process, though root's, does not have.
pub(super) fn withheld() -> BTreeSet<String> {
    let held = caps::read(None, caps::CapSet::Bounding).unwrap();
    let all = caps::all().into_iter();
    let without = all.filter(|capability| !held.contains(capability));
    without.map(|capability| capability.to_string()).collect()
}
