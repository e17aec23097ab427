//! Container engines: each feature of each engine is tested with `rt` and with runc.
//!
//! `RT_TESTS=all cargo test --test engines` starts the daemons of Debian's packages in directories of their
//! own, once with `rt` and once with runc, and reports each feature as a test. A test fails if it passes with
//! runc and fails twice with `rt`, the second time with no other test running: the engines have races of their
//! own. The first failure is printed and counted. A test that fails with both is reported as skipped, with the
//! message of the run with runc. The counts for both runtimes end the report, and a run without a filter writes them
//! to docs/engines.md.
//!
//! `RT_ENGINES=DIR` takes the engines and runc from another root file system (`elsewhere.rs`).
//!
//! In the virtual machine, `RT_TESTS=installed` selects the lists of the installed engines (`installed.rs`) instead.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test fails by panicking, and asks the environment"
)]

mod buildah;
mod cgroups;
#[path = "../suite/diff/changes.rs"]
mod changes;
mod checkpoint;
mod command;
mod compose;
mod conmon;
mod containerd;
mod cri;
mod docker;
mod dockerd;
mod elsewhere;
mod environment;
mod feature;
mod host;
mod image;
mod installed;
mod layer;
#[path = "../runner/page.rs"]
mod page;
mod podman;
#[path = "../runner/programs.rs"]
mod programs;
#[path = "../runner/record.rs"]
mod record;
mod results;
#[path = "../runner/mod.rs"]
mod runner;
#[path = "../suite/diff/same.rs"]
mod same;
mod slurm;
mod swarm;
mod terminal;
mod user;
mod versions;

use std::process::ExitCode;

use feature::Feature;

/// A small number: an engine's own work takes most of the time, and it uses all processors.
const THREADS: usize = 4;

fn main() -> ExitCode {
    let mut arguments = libtest_mimic::Arguments::from_args();
    if let Some(root) = elsewhere::root() {
        return elsewhere::enter(&root);
    }
    arguments.test_threads.get_or_insert(THREADS);
    if installed::is_asked_for() {
        let features = installed::features(&arguments);
        return feature::run(&arguments, features);
    }
    let mut features: Vec<Feature> = Vec::new();
    let docker = docker::Docker::start(&arguments);
    features.extend(docker.features());
    let swarm = swarm::Swarm::start(&arguments);
    features.extend(swarm.features());
    features.extend(containerd::features(&arguments));
    features.extend(conmon::features(&arguments));
    features.extend(podman::features(&arguments));
    features.extend(buildah::features(&arguments));
    features.extend(slurm::features(&arguments));
    feature::run(&arguments, features)
}
