//! Concurrent calls of `exec`, and `exec` while the container ends.

use std::time::Duration;

use crate::runner::Test;

use super::{call, running, waiting};
use crate::harness::{Bundle, HostState, Runtime, View, only_rt, trials, wait_gone};

pub(super) fn tests() -> Vec<Test> {
    trials![
        fifty_concurrent_execs_work,
        fifty_concurrent_execs_work_in_the_v2_view,
        exec_fails_cleanly_while_the_container_is_killed,
        exec_fails_cleanly_while_the_container_is_killed_in_the_v2_view,
        exec_fails_cleanly_while_the_container_is_deleted,
        exec_fails_cleanly_while_a_pod_member_is_deleted,
    ]
}

fn run_fifty(view: View) {
    let (bundle, _container) = running(Bundle::with_runtime(&Runtime::new().view(view)));
    let before = HostState::of(&bundle);
    let all: Vec<_> = (0..50)
        .map(|number| {
            let script = format!("echo {number}; exit {number}");
            call(&bundle, &[], &["/bin/sh", "-c", &script]).start()
        })
        .collect();
    for (number, one) in (0..).zip(all) {
        assert_eq!(one.wait().assert_code(number).stdout, format!("{number}\n"));
    }
    before.assert_unchanged(&bundle);
}

fn fifty_concurrent_execs_work() {
    run_fifty(View::Host);
}

fn fifty_concurrent_execs_work_in_the_v2_view() {
    run_fifty(View::V2);
}

/// Runs `exec` while the container is ended by `end`. Each call must succeed, or fail with one
/// of the known errors, or report that its process was killed with the container.
fn run_while_ending(bundle: Bundle, end: &str) {
    only_rt("Debian's old runc leaves zombies, and then cannot delete the container");
    let bundle = waiting(bundle);
    let before = HostState::of(&bundle);
    for round in 0..10u32 {
        let container = bundle.run_detached();
        let pid = container.pid();
        let all: Vec<_> = (0..10)
            .map(|_| call(&bundle, &[], &["/bin/true"]).start())
            .collect();
        std::thread::sleep(Duration::from_millis(3) * round);
        let ended = match end {
            "kill" => container.kill("KILL"),
            _ => container.delete_force(),
        };
        ended.assert_ok();
        for one in all {
            let outcome = one.wait();
            match outcome.code() {
                0 => assert_eq!(outcome.stderr, "", "{outcome}"),
                137 => {}
                255 => {
                    let line = outcome.one_line();
                    let known = [
                        "container not running",
                        "cannot exec in a stopped container",
                        "container does not exist",
                        // The exec process was killed with the container before init was.
                        "process: ended before it was executed",
                    ];
                    assert!(
                        known.iter().any(|message| line.contains(message)),
                        "{outcome}"
                    );
                }
                code => panic!("{code}\n{outcome}"),
            }
        }
        wait_gone(pid);
        container.delete_force().assert_ok();
    }
    before.assert_unchanged(&bundle);
}

fn exec_fails_cleanly_while_the_container_is_killed() {
    run_while_ending(Bundle::new(), "kill");
}

fn exec_fails_cleanly_while_the_container_is_killed_in_the_v2_view() {
    run_while_ending(Bundle::with_runtime(&Runtime::new().view(View::V2)), "kill");
}

fn exec_fails_cleanly_while_the_container_is_deleted() {
    run_while_ending(Bundle::new(), "delete");
}

fn exec_fails_cleanly_while_a_pod_member_is_deleted() {
    let (pod, first) = running(Bundle::new());
    let path = format!("/proc/{}/ns/pid", first.pid());
    run_while_ending(
        Bundle::with_runtime(pod.runtime()).namespace("pid", Some(&path)),
        "delete",
    );
}
