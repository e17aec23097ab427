//! A conformance suite for any OCI runtime: one test for each requirement that the runtime specification has for the
//! lifecycle and the operations (runtime.md), and the specification's test vectors.
//!
//! `cargo test --test oci-validation` tests `rt`. `RT_UNDER_TEST=runc` or `RT_UNDER_TEST=crun` tests Debian's runtime;
//! a test of a requirement that it violates is skipped, with an explanation.
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

mod config;
mod errors;
mod hooks;
mod lifecycle;
mod operations;
#[path = "../runner/programs.rs"]
mod programs;
#[path = "../runner/mod.rs"]
mod runner;
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
    let mut arguments = libtest_mimic::Arguments::from_args();
    harness::set_workers(&mut arguments);
    runner::run("oci-validation", arguments, tests)
}

fn tests() -> Vec<runner::Test> {
    [
        state::tests(),
        lifecycle::tests(),
        operations::tests(),
        errors::tests(),
        config::tests(),
        hooks::tests(),
        vectors::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
