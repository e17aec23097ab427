//! Many runs in a row: the host stays as it was.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::harness::{Bundle, Traces, trials};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        two_hundred_runs_leave_no_trace,
        fifty_failing_runs_leave_no_trace,
    ]
}

fn two_hundred_runs_leave_no_trace() {
    let bundle = Bundle::new().args(&["/bin/true"]);
    let before = Traces::of(&bundle);
    for _ in 0..200 {
        bundle.run().assert_ok();
    }
    before.assert_unchanged(&bundle);
}

/// Five ways to fail, at the beginning, in the middle and at the end of the set-up.
fn fifty_failing_runs_leave_no_trace() {
    let mount =
        |kind: &str, source: &str| json!({ "destination": "/tmp", "type": kind, "source": source });
    let failures: [(&str, Value); 5] = [
        ("/process/args", json!(["/no/such/program"])),
        ("/mounts/-", mount("nosuchfs", "none")),
        ("/mounts/-", mount("bind", "/no/such/source")),
        ("/linux/sysctl", json!({ "net.no_such_key": "1" })),
        (
            "/linux/namespaces/-",
            json!({ "type": "cgroup", "path": "/proc/1/ns/net" }),
        ),
    ];
    let bundles = failures.map(|(pointer, value)| Bundle::new().set(pointer, value));
    for bundle in &bundles {
        let before = Traces::of(bundle);
        for _ in 0..10 {
            bundle.run().assert_refused("");
        }
        before.assert_unchanged(bundle);
    }
}
