//! Raising rlimits, which needs CAP_SYS_RESOURCE. Root does not have it on every host.

use nix::sys::resource::{Resource, getrlimit};

use crate::harness::{Config, skip, withheld_capabilities};

/// Skips the test if an rlimit of the configuration is above the hard limit and cannot be raised.
pub(super) fn need_limits(config: &Config) {
    for limit in config.items("/process/rlimits") {
        let name = limit["type"].as_str().unwrap();
        if limit["hard"].as_u64() > Some(highest(name)) {
            skip(&format!("{name} cannot be raised on this host"));
        }
    }
}

/// The hard limit of this process, or the maximum if the process may raise it.
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
    !withheld_capabilities().contains("CAP_SYS_RESOURCE")
}
