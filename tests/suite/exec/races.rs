//! Many at once, and a container that goes meanwhile.

use std::time::Duration;

use libtest_mimic::Trial;

use super::{call, running, waiting};
use crate::harness::{Bundle, Runtime, Traces, View, only_rt, trials, wait_gone};

pub(super) fn tests() -> Vec<Trial> {
    trials![
        fifty_at_once,
        fifty_at_once_in_the_v2_view,
        a_container_that_is_killed_meanwhile,
        a_container_that_is_killed_meanwhile_in_the_v2_view,
        a_container_that_is_deleted_meanwhile,
        a_member_of_a_pod_that_is_deleted_meanwhile,
    ]
}

fn many(view: View) {
    let (bundle, _container) = running(Bundle::with_runtime(&Runtime::new().view(view)));
    let before = Traces::of(&bundle);
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

fn fifty_at_once() {
    many(View::Machine);
}

fn fifty_at_once_in_the_v2_view() {
    many(View::V2);
}

/// Each works, or says in one line that there is nothing to join; or the container's end is its own.
fn ends(bundle: Bundle, end: &str) {
    only_rt("Debian's old runc leaves processes that nobody reaps, and cannot delete then");
    let bundle = waiting(bundle);
    let before = Traces::of(&bundle);
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
                        // Killed with the container's others, before their first one was.
                        "process: ended before it was executed",
                    ];
                    assert!(known.iter().any(|words| line.ends_with(words)), "{outcome}");
                }
                code => panic!("{code}\n{outcome}"),
            }
        }
        wait_gone(pid);
        container.delete_force().assert_ok();
    }
    before.assert_unchanged(&bundle);
}

fn a_container_that_is_killed_meanwhile() {
    ends(Bundle::new(), "kill");
}

fn a_container_that_is_killed_meanwhile_in_the_v2_view() {
    ends(Bundle::with_runtime(&Runtime::new().view(View::V2)), "kill");
}

fn a_container_that_is_deleted_meanwhile() {
    ends(Bundle::new(), "delete");
}

fn a_member_of_a_pod_that_is_deleted_meanwhile() {
    let (pod, first) = running(Bundle::new());
    let path = format!("/proc/{}/ns/pid", first.pid());
    ends(
        Bundle::with_runtime(pod.runtime()).namespace("pid", Some(&path)),
        "delete",
    );
}
