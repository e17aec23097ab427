//! Scheduling policy and memory policy, of init and of processes that exec adds.

use std::path::Path;

use serde_json::{Value, json};

use crate::exec::{described, probe, probe_described, running};
use crate::harness::{Bundle, only_rt, trials};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        every_policy_is_applied,
        deadline_works_beside_a_narrow_caller,
        exec_applies_the_policy_of_its_process,
        a_policy_that_no_kernel_has_is_explained,
        a_hook_that_the_policy_excludes_is_refused,
        with_an_init_the_policy_is_that_of_the_process,
        invalid_attributes_are_refused_by_name,
        the_memory_policy_is_applied,
        exec_applies_the_memory_policy,
        a_memory_policy_that_the_kernel_refuses_is_explained,
    ]
}

const LACKS_SCHEDULER: &str = "Debian's old one lacks process.scheduler";
const LACKS_MEMORY_POLICY: &str = "Debian's old one lacks linux.memoryPolicy";

fn with_scheduler(scheduler: Value) -> Bundle {
    in_real_time_cgroup(Bundle::new().set("/process/scheduler", scheduler))
}

/// With cgroup v1, and CONFIG_RT_GROUP_SCHED, the cgroup of a real-time process needs run time.
fn in_real_time_cgroup(bundle: Bundle) -> Bundle {
    if !Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
        return bundle;
    }
    let time = json!({"realtimeRuntime": 10_000, "realtimePeriod": 1_000_000});
    bundle.set("/linux/resources/cpu", time)
}

fn every_policy_is_applied() {
    only_rt(LACKS_SCHEDULER);
    let reset = json!(["SCHED_FLAG_RESET_ON_FORK"]);
    for (scheduler, (policy, flags, nice, priority)) in [
        (json!({"policy": "SCHED_OTHER", "nice": -7}), (0, 0, -7, 0)),
        (json!({"policy": "SCHED_BATCH", "nice": 19}), (3, 0, 19, 0)),
        (json!({"policy": "SCHED_IDLE"}), (5, 0, 0, 0)),
        (json!({"policy": "SCHED_FIFO", "priority": 1}), (1, 0, 0, 1)),
        (
            json!({"policy": "SCHED_RR", "priority": 99, "flags": reset}),
            (2, 1, 0, 99),
        ),
    ] {
        let seen = with_scheduler(scheduler.clone()).probe();
        let members = ["policy", "flags", "nice", "priority"];
        let seen = members.map(|member| seen["scheduler"][member].clone());
        assert_eq!(seen, [policy, flags, nice, priority], "{scheduler}");
    }
}

fn deadline() -> Value {
    json!({
        "policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_RECLAIM"],
        "runtime": 1_000_000, "deadline": 20_000_000, "period": 30_000_000,
    })
}

/// The kernel gives SCHED_DEADLINE only to a process that may use all CPUs.
fn deadline_works_beside_a_narrow_caller() {
    only_rt(LACKS_SCHEDULER);
    let bundle = Bundle::new().set("/process/scheduler", deadline());
    let call = bundle.probe_call(&["taskset", "-c", "0"], &[]);
    let expected = json!({"policy": 6, "flags": 6, "nice": 0, "priority": 0, "runtime": 1_000_000, "deadline": 20_000_000, "period": 30_000_000});
    assert_eq!(call.assert_report()["scheduler"], expected);
}

fn exec_applies_the_policy_of_its_process() {
    only_rt(LACKS_SCHEDULER);
    let flags = ["SCHED_FLAG_RESET_ON_FORK"];
    let batch = json!({"policy": "SCHED_BATCH", "nice": 3, "flags": flags});
    let (bundle, _container) = running(with_scheduler(batch));
    let seen = probe(&bundle, &[]);
    assert_eq!(
        (&seen["scheduler"]["policy"], &seen["scheduler"]["nice"]),
        (&json!(3), &json!(3))
    );
    for (scheduler, policy) in [
        (json!({"policy": "SCHED_RR", "priority": 4}), 2),
        (deadline(), 6),
    ] {
        let seen = probe_described(&bundle, &[("/scheduler", scheduler)]);
        assert_eq!(seen["scheduler"]["policy"], policy);
    }
    let invalid = json!({"policy": "SCHED_RR"});
    let outcome = described(&bundle, &["/bin/true"], &[("/scheduler", invalid)]).run();
    let message = "process.scheduler.priority: 0 is not between 1 and 99";
    outcome.assert_code(255).assert_refused(message).one_line();
}

fn a_policy_that_no_kernel_has_is_explained() {
    only_rt(LACKS_SCHEDULER);
    let bundle = Bundle::new().set("/process/scheduler", json!({"policy": "SCHED_ISO"}));
    bundle.assert_refused(&[
        "process.scheduler: set SCHED_ISO: invalid argument (EINVAL; no released kernel has",
    ]);
    let long = json!({"policy": "SCHED_DEADLINE", "runtime": 1u64 << 62, "deadline": 1u64 << 62});
    let bundle = Bundle::new().set("/process/scheduler", long);
    bundle.assert_refused(&[
        "process.scheduler: set SCHED_DEADLINE: ",
        "sched_deadline_period_max_us",
    ]);
}

fn a_hook_that_the_policy_excludes_is_refused() {
    only_rt(LACKS_SCHEDULER);
    let hook = json!([{"path": "/bin/true"}]);
    let bundle = Bundle::new().set("/process/scheduler", deadline());
    let refused = bundle.set("/hooks", json!({"startContainer": hook}));
    refused
        .assert_refused(&["hooks.startContainer: a process with SCHED_DEADLINE cannot be forked"]);
    // Init calls these before it has the policy.
    let bundle = Bundle::new().set("/process/scheduler", deadline());
    let bundle = bundle.set(
        "/hooks",
        json!({"createRuntime": hook, "createContainer": hook, "poststart": hook}),
    );
    assert_eq!(bundle.probe()["scheduler"]["policy"], 6);
}

fn with_an_init_the_policy_is_that_of_the_process() {
    only_rt("rt.init is rt's");
    let with_init = |scheduler: Value| {
        let bundle = with_scheduler(scheduler);
        bundle.set("/annotations", json!({"rt.init": "true"}))
    };
    let seen = with_init(json!({"policy": "SCHED_FIFO", "priority": 2})).probe();
    assert_eq!(seen["scheduler"]["policy"], 1);
    let reset =
        json!({"policy": "SCHED_FIFO", "priority": 2, "flags": ["SCHED_FLAG_RESET_ON_FORK"]});
    for scheduler in [deadline(), reset] {
        with_init(scheduler)
            .assert_refused(&["process.scheduler: with rt.init the process is a child"]);
    }
}

fn invalid_attributes_are_refused_by_name() {
    only_rt(LACKS_SCHEDULER);
    for (scheduler, message) in [
        (json!({}), "process.scheduler.policy: required"),
        (
            json!({"policy": "SCHED_OTHER", "nice": 20}),
            "process.scheduler.nice: 20 is not",
        ),
        (
            json!({"policy": "SCHED_OTHER", "priority": 1}),
            "process.scheduler.priority: only",
        ),
        (
            json!({"policy": "SCHED_FIFO", "priority": 1, "runtime": 1}),
            "process.scheduler.runtime: only",
        ),
        (
            json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_RECLAIN"]}),
            "process.scheduler.flags[0]: unknown value \"SCHED_FLAG_RECLAIN\": did you mean \"SCHED_FLAG_RECLAIM\"?",
        ),
    ] {
        let bundle = Bundle::new().set("/process/scheduler", scheduler);
        bundle.assert_refused(&[message]);
    }
}

fn with_policy(policy: Value) -> Bundle {
    Bundle::new().set("/linux/memoryPolicy", policy)
}

/// MPOL_F_STATIC_NODES of set_mempolicy(2).
const STATIC: i64 = 1 << 15;

fn the_memory_policy_is_applied() {
    only_rt(LACKS_MEMORY_POLICY);
    for (policy, mode, nodes) in [
        (json!({"mode": "MPOL_DEFAULT"}), 0, json!([])),
        (
            json!({"mode": "MPOL_PREFERRED", "nodes": "0"}),
            1,
            json!([0]),
        ),
        (json!({"mode": "MPOL_BIND", "nodes": "0"}), 2, json!([0])),
        (
            json!({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}),
            3 | STATIC,
            json!([0]),
        ),
        (json!({"mode": "MPOL_LOCAL"}), 4, json!([])),
    ] {
        let seen = with_policy(policy.clone()).probe();
        assert_eq!(seen["memory_policy"], json!([mode, nodes]), "{policy}");
    }
}

fn exec_applies_the_memory_policy() {
    only_rt(LACKS_MEMORY_POLICY);
    let bind = json!({"mode": "MPOL_BIND", "nodes": "0"});
    let (bundle, _container) = running(with_policy(bind));
    assert_eq!(probe(&bundle, &[])["memory_policy"], json!([2, [0]]));
}

fn a_memory_policy_that_the_kernel_refuses_is_explained() {
    only_rt(LACKS_MEMORY_POLICY);
    for (policy, messages) in [
        (
            json!({"mode": "MPOL_BIND", "nodes": "1000-1023"}),
            [
                "linux.memoryPolicy: set MPOL_BIND, nodes 1000 ",
                "no node of the list",
            ],
        ),
        (
            json!({"nodes": "0"}),
            ["linux.memoryPolicy.mode: required", ""],
        ),
        (
            json!({"mode": "MPOL_BIND"}),
            [
                "linux.memoryPolicy.nodes: MPOL_BIND needs at least one node",
                "",
            ],
        ),
        (
            json!({"mode": "MPOL_LOCAL", "nodes": "x"}),
            [
                "linux.memoryPolicy.nodes: \"x\" is not a list of memory nodes",
                "",
            ],
        ),
    ] {
        with_policy(policy).assert_refused(&messages);
    }
}
