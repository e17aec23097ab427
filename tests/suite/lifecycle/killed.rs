//! SIGKILL of `run` in the foreground ends the container's process too, so that who reads its output sees the end.

use crate::runner::Test;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Bundle, HostState, only_rt, signal, trials, wait_gone};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        kill_9_of_run_ends_the_container,
        kill_9_of_run_ends_the_container_of_a_user_namespace,
    ]
}

/// The kernel forgets the signal when the process changes its ids, and PID 1 of `rt.init` is another program.
fn kill_9_of_run_ends_the_container() {
    let root: fn(Bundle) -> Bundle = |bundle| bundle;
    let user: fn(Bundle) -> Bundle = |bundle| bundle.user(1000, 1000);
    let init: fn(Bundle) -> Bundle = |bundle| bundle.set("/annotations/rt.init", json!("true"));
    for change in [root, user, init] {
        ends_with_run(&change(waiter()));
    }
}

fn kill_9_of_run_ends_the_container_of_a_user_namespace() {
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    let bundle = waiter()
        .namespace("user", None)
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map);
    ends_with_run(&bundle);
}

fn waiter() -> Bundle {
    Bundle::new().args(&["/probe", "wait-signal"])
}

#[track_caller]
fn ends_with_run(bundle: &Bundle) {
    only_rt("with others the process stays");
    let before = HostState::of(bundle);
    let run = bundle.call("run", &[]).start();
    run.wait_for("ready");
    let container = bundle.container();
    let pid = container.pid();
    signal(run.pid(), Signal::SIGKILL);
    wait_gone(pid);
    run.wait().assert_code(137);
    assert_eq!(container.status(), "stopped");
    container.delete().assert_ok();
    before.assert_unchanged(bundle);
}
