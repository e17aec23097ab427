//! After many runs in a row, the host is unchanged.

use crate::runner::Test;
use serde_json::{Value, json};

use crate::harness::{Bundle, HostState, trials};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        two_hundred_runs_leave_the_host_unchanged,
        fifty_failing_runs_leave_the_host_unchanged,
    ]
}

fn two_hundred_runs_leave_the_host_unchanged() {
    let bundle = Bundle::new().args(&["/bin/true"]);
    let before = HostState::of(&bundle);
    for _ in 0..200 {
        bundle.run().assert_ok();
    }
    before.assert_unchanged(&bundle);
}

/// Five kinds of failure, early and late in the setup.
fn fifty_failing_runs_leave_the_host_unchanged() {
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
        let before = HostState::of(bundle);
        for _ in 0..10 {
            bundle.run().assert_refused("");
        }
        before.assert_unchanged(bundle);
    }
}
