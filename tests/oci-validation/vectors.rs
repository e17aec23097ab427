//! The test vectors of the specification: rt must read the `good` ones, and refuse the `bad` ones with an error that
//! names the property.
//!
//! The vectors are not part of this repository. The tests are skipped if the specification is not beside it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{Bundle, HostState, Outcome, only_rt, skip, test};
use crate::runner::Test;

const VECTORS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../shared/reference/spec/test/config"
);

/// For each bad vector, the property that the error must name.
const BAD_PROPERTIES: [(&str, &str); 5] = [
    ("freebsd-vnet-disable", "freebsd: "),
    ("invalid-json", "config.json: line 1 column 2: "),
    (
        "linux-hugepage",
        "linux.resources.hugepageLimits[0].pageSize: ",
    ),
    ("linux-netdevice", "linux.netDevices.eth0.name: "),
    ("linux-rdma", "linux.resources.rdma.mlx5_1.hcaHandles: "),
];

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = tests_in("good", assert_read);
    tests.extend(tests_in("bad", assert_refused));
    tests
}

fn tests_in(kind: &'static str, check: fn(&Path)) -> Vec<Test> {
    let entries = fs::read_dir(Path::new(VECTORS).join(kind));
    let mut files: Vec<PathBuf> = entries
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    if files.is_empty() {
        let absent = || skip("the specification is not beside the repository");
        return vec![test(format!("vectors::{kind}"), absent)];
    }
    let of_file = |file: PathBuf| {
        let name = file.file_stem().unwrap_or_default().display().to_string();
        test(format!("vectors::{kind}::{name}"), move || {
            only_rt("other runtimes accept unknown values");
            check(&file);
        })
    };
    files.into_iter().map(of_file).collect()
}

/// Calls `create` with this config.json, and checks that nothing remains after an error.
fn create(file: &Path) -> Outcome {
    let bundle = Bundle::new();
    fs::copy(file, bundle.path().join("config.json")).unwrap();
    let before = HostState::of(&bundle);
    let directory = bundle.path().to_str().unwrap();
    let outcome = bundle
        .runtime()
        .call(&["create", "-b", directory, bundle.id()])
        .run();
    if outcome.code() == 0 {
        bundle.container().delete_force().assert_ok();
    }
    before.assert_unchanged(&bundle);
    outcome
}

/// Checks that the vector is read. rt may still refuse it because of another platform, a property that it does not
/// apply, a namespace that the vector does not ask for, or a controller that the host lacks.
fn assert_read(file: &Path) {
    let outcome = create(file);
    if outcome.code() == 0 {
        return;
    }
    let expected = [
        " but selinux is disabled or not supported",
        ": for a platform other than Linux",
        ": the container shares the host's network; ",
        ": this host has no rdma controller",
    ];
    let line = outcome.one_line();
    assert!(
        expected.iter().any(|reason| line.contains(reason)),
        "{outcome}"
    );
}

fn assert_refused(file: &Path) {
    let outcome = create(file).assert_code(1);
    let line = outcome.one_line();
    let name = file.file_stem().unwrap_or_default();
    let property = BAD_PROPERTIES
        .iter()
        .find(|(known, _)| name == *known)
        .map(|(_, property)| *property);
    let property =
        property.unwrap_or_else(|| panic!("{} is not in BAD_PROPERTIES: {line}", file.display()));
    assert!(line.contains(&format!(": {property}")), "{outcome}");
}
