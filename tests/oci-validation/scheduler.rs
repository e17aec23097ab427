//! config.md, "Linux Process": `scheduler`.

use serde_json::json;

use crate::common::{assert_error, sleeper};
use crate::harness::{Bundle, Kind, stat, trials, violates};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        the_policy_is_set,
        the_nice_value_is_set,
        a_deadline_without_its_policy_is_an_error,
    ]
}

fn older() {
    violates(Kind::Runc, "Debian's is older than this property");
    violates(Kind::Crun, "Debian's is older than this property");
}

/// "policy (string, REQUIRED) represents the scheduling policy", in the number of sched_setattr(2).
fn the_policy_is_set() {
    older();
    for (policy, number) in [("SCHED_OTHER", 0), ("SCHED_BATCH", 3), ("SCHED_IDLE", 5)] {
        let bundle = sleeper().set("/process/scheduler", json!({"policy": policy}));
        let container = bundle.run_detached();
        assert_eq!(stat::<u32>(container.pid(), 41), Some(number), "{policy}");
    }
}

/// "nice (int32, OPTIONAL) is the nice value for the process, affecting its priority."
fn the_nice_value_is_set() {
    older();
    let bundle = sleeper().set(
        "/process/scheduler",
        json!({"policy": "SCHED_OTHER", "nice": 7}),
    );
    let container = bundle.run_detached();
    assert_eq!(stat::<i32>(container.pid(), 19), Some(7));
}

/// "runtime … for SCHED_DEADLINE".
fn a_deadline_without_its_policy_is_an_error() {
    older();
    let scheduler = json!({"policy": "SCHED_OTHER", "deadline": 1_000_000});
    assert_error(Bundle::new().set("/process/scheduler", scheduler));
}
