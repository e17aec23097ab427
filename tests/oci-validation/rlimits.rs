//! config.md, "POSIX process": `rlimits`.

use crate::runner::Test;
use serde_json::{Value, json};

use crate::common::assert_error;
use crate::harness::{Bundle, Kind, trials, violates};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        each_linux_limit_is_known,
        the_soft_limit_is_rlim_cur,
        the_hard_limit_is_rlim_max,
        an_unmappable_rlimit_is_an_error,
        a_duplicate_rlimit_is_an_error,
    ]
}

/// "Linux: valid values are defined in the getrlimit(2) man page".
const NAMES: [&str; 16] = [
    "RLIMIT_AS",
    "RLIMIT_CORE",
    "RLIMIT_CPU",
    "RLIMIT_DATA",
    "RLIMIT_FSIZE",
    "RLIMIT_LOCKS",
    "RLIMIT_MEMLOCK",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_NOFILE",
    "RLIMIT_NPROC",
    "RLIMIT_RSS",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
    "RLIMIT_SIGPENDING",
    "RLIMIT_STACK",
];

/// A process with this limit, and what it sees of all limits.
fn with(kind: &str, soft: u64, hard: u64) -> Value {
    let limits = json!([{"type": kind, "soft": soft, "hard": hard}]);
    Bundle::new().set("/process/rlimits", limits).probe()["rlimits"].clone()
}

/// "For each entry in rlimits, a getrlimit(3) on type MUST succeed."
fn each_linux_limit_is_known() {
    let own = Bundle::new().remove("/process/rlimits").probe()["rlimits"].clone();
    // A higher hard limit would need CAP_SYS_RESOURCE.
    let limit = |name: &&str| {
        let hard = own[*name][1].as_u64().unwrap();
        json!({"type": name, "soft": (hard - hard / 4).min(1 << 40), "hard": hard})
    };
    let limits: Vec<Value> = NAMES.iter().map(limit).collect();
    let seen = Bundle::new().set("/process/rlimits", json!(limits)).probe();
    for limit in limits {
        let name = limit["type"].as_str().unwrap();
        assert_eq!(
            seen["rlimits"][name],
            json!([limit["soft"], limit["hard"]]),
            "{name}"
        );
    }
}

/// soft: "rlim.rlim_cur MUST match the configured value."
fn the_soft_limit_is_rlim_cur() {
    assert_eq!(with("RLIMIT_NOFILE", 123, 456)["RLIMIT_NOFILE"][0], 123);
}

/// hard: "rlim.rlim_max MUST match the configured value."
fn the_hard_limit_is_rlim_max() {
    assert_eq!(with("RLIMIT_CORE", 0, 4567)["RLIMIT_CORE"][1], 4567);
}

/// "The runtime MUST generate an error for any values which cannot be mapped to a relevant kernel interface."
fn an_unmappable_rlimit_is_an_error() {
    let limits = json!([{"type": "RLIMIT_UNHEARD_OF", "soft": 1, "hard": 1}]);
    assert_error(Bundle::new().set("/process/rlimits", limits));
}

/// "If rlimits contains duplicated entries with same type, the runtime MUST generate an error."
fn a_duplicate_rlimit_is_an_error() {
    violates(Kind::Runc, "has no such check");
    violates(Kind::Crun, "has no such check");
    let limit = json!({"type": "RLIMIT_CORE", "soft": 0, "hard": 0});
    assert_error(Bundle::new().set("/process/rlimits", json!([limit, limit])));
}
