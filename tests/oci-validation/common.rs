//! What the tests of several documents share.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Bundle, Container, HostState, Kind, on_v2, skip, violates, wait_gone};

/// A container whose process sleeps.
pub(crate) fn sleeper() -> Bundle {
    Bundle::new().args(&["/probe", "sleep"])
}

/// A stopped container.
pub(crate) fn stopped(bundle: &Bundle) -> Container {
    let container = bundle.create();
    let pid = container.pid();
    container.kill("KILL").assert_ok();
    wait_gone(pid);
    assert_eq!(container.status(), "stopped");
    container
}

/// Asserts that the runtime generates an error, by `create` or by `start`, and leaves nothing (runtime.md, "Errors").
#[track_caller]
pub(crate) fn assert_error(bundle: Bundle) {
    let bundle = bundle.sh("echo executed");
    assert_error_with_its_args(&bundle);
}

/// The same for a configuration whose `process.args` count.
#[track_caller]
pub(crate) fn assert_error_with_its_args(bundle: &Bundle) {
    let before = HostState::of(bundle);
    let outcome = bundle.run();
    assert_ne!(outcome.code(), 0, "an error is required: {outcome}");
    assert_eq!(outcome.stdout, "", "the process was executed: {outcome}");
    assert!(!outcome.stderr.is_empty(), "no error is written: {outcome}");
    before.assert_unchanged(bundle);
}

/// Tests that a runtime fails: each name with the reason.
pub(crate) type Known = &'static [(&'static str, &'static str)];

/// Expects the test `name` to fail if it is in the list of the runtime under test.
pub(crate) fn expect_known(name: &str, runc: Known, crun: Known) {
    for (kind, known) in [(Kind::Runc, runc), (Kind::Crun, crun)] {
        for (_, how) in known.iter().filter(|(test, _)| *test == name) {
            violates(kind, how);
        }
    }
}

/// Skips the test on a kernel that is older.
pub(crate) fn needs_kernel(major: u32, minor: u32, what: &str) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|n| n.parse::<u32>().ok());
    let version = (numbers.next().unwrap(), numbers.next().unwrap());
    if version < (major, minor) {
        skip(&format!("{what} needs Linux {major}.{minor}"));
    }
}

/// Controllers that a host may lack.
const OPTIONAL_CONTROLLERS: [&str; 4] = ["hugetlb", "net_cls", "net_prio", "rdma"];

/// Skips the test where the host has no such controller. The reason names all that it lacks.
pub(crate) fn needs_controller(name: &str) {
    let text = if on_v2() {
        fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap()
    } else {
        let lines = fs::read_to_string("/proc/self/cgroup").unwrap();
        let names = lines.lines().filter_map(|line| line.split(':').nth(1));
        names.collect::<Vec<_>>().join(" ").replace(',', " ")
    };
    let lacks = |name: &&str| !text.split_whitespace().any(|one| one == *name);
    if lacks(&name) {
        let (mut all, other) = (OPTIONAL_CONTROLLERS.to_vec(), [name]);
        all.extend(
            other
                .iter()
                .filter(|name| !OPTIONAL_CONTROLLERS.contains(name)),
        );
        all.retain(lacks);
        skip(&format!(
            "the host has no cgroup controller {}",
            all.join(", ")
        ));
    }
}

/// The first id of the host that root of a container with `mapped` has.
pub(crate) const FIRST: u32 = 100_000;

/// Adds a new user namespace, in which 65536 ids are mapped.
pub(crate) fn mapped(bundle: Bundle) -> Bundle {
    let mappings = json!([{"containerID": 0, "hostID": FIRST, "size": 65_536}]);
    bundle
        .namespace("user", None)
        .set("/linux/uidMappings", mappings.clone())
        .set("/linux/gidMappings", mappings)
}

/// A tmpfs at `place`.
pub(crate) fn tmpfs(place: &str, options: &[&str]) -> Value {
    json!({"destination": place, "type": "tmpfs", "source": "tmpfs", "options": options})
}
