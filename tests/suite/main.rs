//! The suite: drives the runtime's binary and looks at containers from inside and from outside.
//!
//! `cargo test --test suite` tests ours, `RT_UNDER_TEST=runc` (or `crun`) Debian's:
//! a compatibility test that runc fails is a wrong test, or says why ours differs.
//! The tests watch the whole machine for traces, so they run one after the other.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod apparmor;
mod architecture;
mod binary;
mod cgroups;
mod cli;
mod errors;
mod exec;
mod features;
mod handed;
mod harness;
mod hooks;
mod kernels;
mod leftovers;
mod lifecycle;
mod list;
mod managers;
mod namespaces;
mod pause;
mod pods;
mod process;
mod ps;
mod rootfs;
mod seccomp;
mod security;
mod terminal;
mod update;
mod users;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = libtest_mimic::Arguments::from_args();
    arguments.test_threads.get_or_insert(1);
    harness::note_failures();
    harness::prepare();
    let trials = [
        apparmor::tests(),
        architecture::tests(),
        binary::tests(),
        cgroups::tests(),
        cli::tests(),
        errors::tests(),
        exec::tests(),
        features::tests(),
        handed::tests(),
        hooks::tests(),
        kernels::tests(),
        lifecycle::tests(),
        leftovers::tests(),
        list::tests(),
        managers::tests(),
        namespaces::tests(),
        pause::tests(),
        pods::tests(),
        process::tests(),
        ps::tests(),
        rootfs::tests(),
        seccomp::tests(),
        security::tests(),
        terminal::tests(),
        update::tests(),
        users::tests(),
    ]
    .into_iter()
    .flatten()
    .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
