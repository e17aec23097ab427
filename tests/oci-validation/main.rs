//! Our conformance suite: a test for each requirement of the runtime specification's
//! lifecycle and operations (runtime.md), for any runtime, and its test vectors.
//!
//! `cargo test --test oci-validation` tests ours, `RT_UNDER_TEST=runc` (or `crun`)
//! Debian's: where they fall short of the specification the test says so and is skipped.
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
mod state;
mod vectors;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = libtest_mimic::Arguments::from_args();
    arguments.test_threads.get_or_insert(1);
    harness::note_failures();
    harness::prepare();
    let trials = [
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
    .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
