//! What not every machine lets root do: raise limits.

use nix::sys::resource::{Resource, getrlimit};

use crate::harness::{Config, skip, withheld_capabilities};

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
    !withheld_capabilities().contains("CAP_SYS_RESOURCE")
}
