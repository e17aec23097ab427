//! `exec` killed at each of its system calls: the container keeps running, and no process
//! remains that has joined it only in part.

use crate::runner::Test;

use super::{exec, running, through};
use crate::harness::{Bundle, HostState, Runtime, View, killed_everywhere, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![
        exec_killed_at_any_point_leaves_a_running_process_or_none,
        exec_killed_at_any_point_in_the_v2_view_leaves_a_running_process_or_none,
    ]
}

/// The number of system calls at which the runtime is killed.
const PLACES: usize = 40;

fn sweep(view: View) {
    let (bundle, container) = running(Bundle::with_runtime(&Runtime::new().view(view)));
    let before = HostState::of(&bundle);
    // The process ends by itself, so any process that remains has not called execve(2).
    let args = ["/bin/sh", "-c", "sleep 0.1"];
    let call = |strace: &[&str]| through(&bundle, strace, &[], &args);
    killed_everywhere(bundle.runtime(), PLACES, call, |place| {
        assert_eq!(before.changes_since(&bundle), "", "{place}");
        assert_eq!(container.status(), "running", "{place}");
    });
    exec(&bundle, &[], &["/bin/true"]).assert_ok();
}

fn exec_killed_at_any_point_leaves_a_running_process_or_none() {
    sweep(View::Host);
}

fn exec_killed_at_any_point_in_the_v2_view_leaves_a_running_process_or_none() {
    sweep(View::V2);
}
