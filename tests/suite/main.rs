//! The suite: drives the runtime's binary and looks at containers from inside and from outside.
//!
//! `cargo test --test suite` tests ours, `RT_UNDER_TEST=runc` (or `crun`) Debian's:
//! a compatibility test that runc fails is a wrong test, or says why ours differs.
//! Each test compares the host before and after, so tests that run at a time are in processes of their own.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod apparmor;
mod binary;
mod cgroups;
mod checkpoint;
mod cli;
mod compared;
mod diff;
mod errors;
mod events;
mod exec;
mod features;
mod harness;
mod hooks;
mod inherited;
mod kernels;
mod leftovers;
mod lifecycle;
mod list;
mod managers;
mod manners;
mod namespaces;
mod nested;
mod network;
mod pause;
mod pods;
mod process;
#[path = "../runner/programs.rs"]
mod programs;
mod ps;
mod resctrl;
mod rootfs;
#[path = "../runner/mod.rs"]
mod runner;
mod seccomp;
mod security;
mod selinux;
mod stats;
mod systemd;
mod terminal;
mod update;
pub(crate) mod users;

use std::process::ExitCode;

use crate::runner::Test;

fn main() -> ExitCode {
    harness::note_failures();
    harness::prepare();
    let tests = tests();
    if harness::is_worker() {
        return harness::work();
    }
    let mut arguments = libtest_mimic::Arguments::from_args();
    harness::set_workers(&mut arguments);
    runner::run("suite", arguments, tests)
}

fn tests() -> Vec<Test> {
    [
        apparmor::tests(),
        checkpoint::tests(),
        selinux::tests(),
        binary::tests(),
        cgroups::tests(),
        cli::tests(),
        compared::tests(),
        diff::tests(),
        errors::tests(),
        events::tests(),
        exec::tests(),
        features::tests(),
        inherited::tests(),
        hooks::tests(),
        kernels::tests(),
        lifecycle::tests(),
        leftovers::tests(),
        list::tests(),
        managers::tests(),
        manners::tests(),
        namespaces::tests(),
        network::tests(),
        nested::tests(),
        pause::tests(),
        pods::tests(),
        process::tests(),
        ps::tests(),
        resctrl::tests(),
        rootfs::tests(),
        seccomp::tests(),
        security::tests(),
        stats::tests(),
        systemd::tests(),
        terminal::tests(),
        update::tests(),
        users::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
