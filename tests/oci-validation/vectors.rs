//! The specification's own test vectors: `good` ones are read, `bad` ones refused with their place.
//!
//! They are not part of this repository: where they do not lie beside it, they are skipped.

use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::{Completion, Failed, Trial};

use crate::harness::{Bundle, Kind, Outcome, Traces};

const VECTORS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../shared/reference/spec/test/config"
);

/// What is wrong with each, by its place.
const PLACES: [(&str, &str); 5] = [
    ("freebsd-vnet-disable", "freebsd: "),
    ("invalid-json", "config.json: line 1 column 2: "),
    (
        "linux-hugepage",
        "linux.resources.hugepageLimits[0].pageSize: ",
    ),
    ("linux-netdevice", "linux.netDevices.eth0.name: "),
    ("linux-rdma", "linux.resources.rdma.mlx5_1.hcaHandles: "),
];

pub(crate) fn tests() -> Vec<Trial> {
    let mut trials = trials_in("good", is_read);
    trials.extend(trials_in("bad", is_refused));
    trials
}

fn trials_in(kind: &'static str, check: fn(&Path)) -> Vec<Trial> {
    let entries = fs::read_dir(Path::new(VECTORS).join(kind));
    let mut files: Vec<PathBuf> = entries
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    if files.is_empty() {
        let absent = || Ok(Completion::ignored_with("the specification is not here"));
        return vec![Trial::ignorable_test(format!("vectors::{kind}"), absent)];
    }
    let trial = |file: PathBuf| {
        let name = file.file_stem().unwrap_or_default().display().to_string();
        Trial::ignorable_test(format!("vectors::{kind}::{name}"), move || {
            perform(&file, check)
        })
    };
    files.into_iter().map(trial).collect()
}

fn perform(file: &Path, check: fn(&Path)) -> Result<Completion, Failed> {
    if Kind::under_test() != Kind::Rt {
        return Ok(Completion::ignored_with(
            "only rt: others take what they do not know",
        ));
    }
    if !nix::unistd::geteuid().is_root() {
        return Ok(Completion::ignored_with("only root can make containers"));
    }
    check(file);
    Ok(Completion::Completed)
}

/// `create` with this config.json; nothing may be left when it fails.
fn create(file: &Path) -> Outcome {
    let bundle = Bundle::new();
    fs::copy(file, bundle.path().join("config.json")).unwrap();
    let before = Traces::of(&bundle);
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

/// Or refused by name: for another platform, for a field not applied yet, for want of a process.
fn is_read(file: &Path) {
    let outcome = create(file);
    if outcome.code() == 0 {
        return;
    }
    let by_name = [
        ": not applied by this version",
        ": not applied by this version; set it to false",
        ": for a platform other than Linux",
        ": process: required",
    ];
    let line = outcome.one_line();
    assert!(by_name.iter().any(|end| line.ends_with(end)), "{outcome}");
}

fn is_refused(file: &Path) {
    let outcome = create(file).assert_code(1);
    let line = outcome.one_line();
    let name = file.file_stem().unwrap_or_default();
    let place = PLACES
        .iter()
        .find(|(known, _)| name == *known)
        .map(|(_, place)| *place);
    let place =
        place.unwrap_or_else(|| panic!("say what is wrong with {}: {line}", file.display()));
    assert!(line.contains(&format!(": {place}")), "{outcome}");
}
