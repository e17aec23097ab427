//! A conformance suite for any OCI runtime: tests of the requirements that the runtime specification has for runtimes,
//! and the specification's test vectors. `requirements` compares the specification with the list of the tests.
//!
//! `cargo test --test oci-validation` tests `rt`. `RT_UNDER_TEST=runc` or `RT_UNDER_TEST=crun` tests Debian's runtime, a
//! path another one; docs/conformance.md says more. A test that a runtime is known to fail says why (`violates`), counts
//! as skipped, and fails if the runtime passes it.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[allow(
    dead_code,
    unused_imports,
    reason = "shared with the suite, which uses all of it"
)]
#[path = "../suite/harness/mod.rs"]
mod harness;

mod cgroup2;
mod cgroups;
mod common;
mod config;
mod devices;
mod errors;
mod features;
mod hook_kinds;
mod hooks;
mod idmap;
mod intel_rdt;
mod labels;
mod lifecycle;
mod linux;
mod memory_policy;
mod mount_changes;
mod mount_options;
mod mounts;
mod namespaces;
mod net_devices;
mod operations;
mod page;
mod process;
mod processless;
#[path = "../runner/programs.rs"]
mod programs;
mod required;
mod requirements;
mod rlimits;
#[path = "../runner/mod.rs"]
mod runner;
mod runtime_tools;
mod scheduler;
mod seccomp;
mod seccomp_notify;
mod state;
mod vectors;

use std::process::ExitCode;

fn main() -> ExitCode {
    harness::note_failures();
    harness::prepare();
    let tests = tests();
    if harness::is_worker() {
        return harness::work();
    }
    if page::is_asked_for() {
        return page::write();
    }
    let mut arguments = libtest_mimic::Arguments::from_args();
    harness::set_workers(&mut arguments);
    let status = runner::run("oci-validation", arguments, tests);
    page::keep();
    status
}

fn tests() -> Vec<runner::Test> {
    [
        requirements::tests(),
        required::tests(),
        state::tests(),
        lifecycle::tests(),
        operations::tests(),
        processless::tests(),
        errors::tests(),
        config::tests(),
        mounts::tests(),
        mount_options::tests(),
        mount_changes::tests(),
        idmap::tests(),
        process::tests(),
        scheduler::tests(),
        labels::tests(),
        rlimits::tests(),
        hooks::tests(),
        hook_kinds::tests(),
        namespaces::tests(),
        net_devices::tests(),
        devices::tests(),
        cgroups::tests(),
        cgroup2::tests(),
        linux::tests(),
        memory_policy::tests(),
        intel_rdt::tests(),
        seccomp::tests(),
        seccomp_notify::tests(),
        features::tests(),
        vectors::tests(),
        runtime_tools::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
