//! Buildah as root, with the default cgroup manager.

use libtest_mimic::Arguments;

use super::{features_of, select};
use crate::buildah::{self, Store};
use crate::feature::Feature;
use crate::podman::Mode;

/// The tests that also run in a store of their own.
const COMMON: &[&str] = &[
    "run",
    "run_exit_status",
    "run_user",
    "run_capabilities",
    "run_volume",
    "run_stdin",
    "run_tty",
    "run_again",
    "run_namespaces",
    "commit",
    "bud",
    "bud_limits",
];

pub(super) fn features(arguments: &Arguments) -> Vec<Feature> {
    let tests = select(&buildah::all(), COMMON);
    features_of(arguments, "buildah", tests, || {
        Store(super::podman::start(Mode::Root))
    })
}
