//! The real managers: each feature of each engine, driven through `rt` and through runc.
//!
//! `RT_TESTS=all cargo test --test engines` starts the daemons of Debian's packages in directories of their
//! own, once with `rt` and once with runc, and gives each feature a line. A feature fails where runc passes and
//! `rt` does not, twice, the second time alone: the engines have races of their own. The first failure is
//! printed and counted. Where both fail it is reported as skipped, with what runc's engine said. The counts of
//! both close the run.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test fails by panicking, and asks the environment"
)]

mod buildah;
mod call;
mod cgroup;
mod compose;
mod conmon;
mod containerd;
mod cri;
mod docker;
mod dockerd;
mod feature;
mod ground;
mod image;
mod machine;
mod podman;
mod swarm;
mod terminal;
mod user;

use std::process::ExitCode;

use feature::Feature;

/// Few: an engine's own work is what takes time, on all processors already.
const THREADS: usize = 4;

fn main() -> ExitCode {
    let mut arguments = libtest_mimic::Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let mut features: Vec<Feature> = Vec::new();
    let docker = docker::Docker::start(&arguments);
    features.extend(docker.features());
    let swarm = swarm::Swarm::start(&arguments);
    features.extend(swarm.features());
    features.extend(containerd::features(&arguments));
    features.extend(conmon::features(&arguments));
    features.extend(podman::features(&arguments));
    features.extend(buildah::features(&arguments));
    feature::run(&arguments, features)
}
