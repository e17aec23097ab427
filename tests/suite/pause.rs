//! `pause` and `resume`: the freezer stops all processes, and the other commands cope with a
//! paused container.

use std::fs;

use crate::runner::Test;
use serde_json::{Value, json};

use crate::harness::{
    Bundle, Container, HostState, Kind, Runtime, View, alive, cgroup_of, differs, on_v2,
    remove_cgroup, signal, skip, trials, wait_gone, wait_until,
};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        the_processes_of_a_paused_container_do_not_run,
        the_processes_of_a_paused_container_do_not_run_in_the_v2_view,
        a_container_that_keeps_forking_can_be_paused,
        state_and_list_report_paused,
        a_created_container_can_be_paused,
        a_paused_or_stopped_container_cannot_be_paused,
        a_container_that_is_not_paused_cannot_be_resumed,
        signals_are_delivered_after_resume,
        kill_reaches_a_paused_container,
        delete_refuses_a_paused_container_unless_forced,
        processes_frozen_inside_a_container_are_killed_with_it,
        a_frozen_parent_cgroup_does_not_make_a_container_paused,
    ]
}

/// The view, and whether the container shares the pid namespace of the host. In a pid namespace
/// of its own all processes are killed with the first; in a shared one they are killed one by
/// one.
const CASES: [(View, bool); 4] = [
    (View::Host, false),
    (View::Host, true),
    (View::V2, false),
    (View::V2, true),
];

fn busy(view: View, shared: bool) -> Bundle {
    let bundle = in_view(view).sh(BUSY);
    if shared {
        bundle.without_namespace("pid")
    } else {
        bundle
    }
}

/// Debian's runc does not wait for killed processes to leave a v2 cgroup.
fn assert_unchanged(before: &HostState, bundle: &Bundle, case: (View, bool)) {
    if Kind::under_test() != Kind::Runc || case != (View::V2, true) {
        before.assert_unchanged(bundle);
    }
}

fn in_view(view: View) -> Bundle {
    let bundle = Bundle::with_runtime(&Runtime::new().view(view));
    if Kind::under_test() == Kind::Crun && view == View::V2 {
        bundle.remove("/linux/resources")
    } else {
        bundle
    }
}

/// Two processes that write a line every few milliseconds.
const BUSY: &str =
    "while :; do echo line; sleep 0.01; done & while :; do echo line; sleep 0.01; done";

#[track_caller]
fn assert_writes(container: &Container) {
    let before = container.stdout().len();
    wait_until("the container to write", || {
        container.stdout().len() > before
    });
}

/// The kernel says that it has frozen the cgroup: then no process of it runs (freezer-subsystem.rst, cgroup-v2.rst).
#[track_caller]
fn assert_frozen(container: &Container, view: View) {
    let (controller, file, frozen) = if view == View::V2 || on_v2() {
        ("", "cgroup.events", "frozen 1\n")
    } else {
        ("freezer", "freezer.state", "FROZEN\n")
    };
    let file = cgroup_of(container.pid(), controller).join(file);
    let state = fs::read_to_string(&file).unwrap();
    assert!(state.contains(frozen), "{}: {state}", file.display());
    let before = container.stdout().len();
    assert_eq!(container.status(), "paused");
    assert_eq!(
        container.stdout().len(),
        before,
        "the container still writes"
    );
}

fn check_pause(view: View) {
    let bundle = in_view(view).sh(BUSY);
    let before = HostState::of(&bundle);
    let container = bundle.run_detached();
    for _ in 0..3 {
        assert_writes(&container);
        container.call("pause", &[]).assert_ok();
        assert_frozen(&container, view);
        container.call("resume", &[]).assert_ok();
        assert_eq!(container.status(), "running");
    }
    assert_writes(&container);
    container.end();
    before.assert_unchanged(&bundle);
}

fn the_processes_of_a_paused_container_do_not_run() {
    check_pause(View::Host);
}

fn the_processes_of_a_paused_container_do_not_run_in_the_v2_view() {
    check_pause(View::V2);
}

fn a_container_that_keeps_forking_can_be_paused() {
    let forks = "while :; do /bin/true; /bin/true & done";
    for view in [View::Host, View::V2] {
        let bundle = in_view(view).sh(&format!("{forks} & {forks} & echo line; {forks}"));
        let container = bundle.run_detached();
        container.wait_for("line\n");
        for _ in 0..10 {
            container.call("pause", &[]).assert_ok();
            container.call("resume", &[]).assert_ok();
        }
        container.end();
    }
}

fn state_and_list_report_paused() {
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    let pid = container.pid();
    container.call("pause", &[]).assert_ok();
    let state = container.state();
    assert_eq!(
        (&state["status"], &state["pid"]),
        (&json!("paused"), &json!(pid))
    );
    let listed = bundle.runtime().call(&["list", "--format", "json"]).run();
    let listed: Value = serde_json::from_str(&listed.assert_ok().stdout).unwrap();
    assert_eq!(listed[0]["status"], "paused", "{listed}");
}

fn a_created_container_can_be_paused() {
    differs(Kind::Crun, "it refuses to pause a created container");
    for view in [View::Host, View::V2] {
        let bundle = in_view(view).sh("echo executed");
        let container = bundle.create();
        container.call("pause", &[]).assert_ok();
        assert_eq!(container.status(), "paused");
        let text = "cannot start a container in the paused state";
        container.start().assert_refused(text);
        container.call("resume", &[]).assert_ok();
        assert_eq!(container.status(), "created");
        container.start().assert_ok();
        container.wait_for("executed\n");
    }
}

fn a_paused_or_stopped_container_cannot_be_paused() {
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    container.call("pause", &[]).assert_ok();
    differs(Kind::Crun, "it pauses a paused one again");
    let again = container.call("pause", &[]);
    again.assert_refused("container not running");
    container.call("resume", &[]).assert_ok();
    signal(container.pid(), nix::sys::signal::Signal::SIGKILL);
    container.wait_stopped();
    let stopped = container.call("pause", &[]);
    let stopped = stopped.assert_refused("container not running");
    if Kind::under_test() == Kind::Rt {
        let line = format!(
            "rt pause: {}: container not running: stopped\n",
            bundle.id()
        );
        assert_eq!(stopped.stderr, line);
    }
    for verb in ["pause", "resume"] {
        let missing = bundle.runtime().call(&[verb, "missing"]).run();
        missing.assert_refused("does not exist");
    }
}

fn a_container_that_is_not_paused_cannot_be_resumed() {
    differs(Kind::Crun, "it resumes a container in any state");
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let container = bundle.create();
    let refused = |container: &Container| {
        let resumed = container.call("resume", &[]);
        resumed.assert_refused("container not paused");
    };
    refused(&container);
    container.start().assert_ok();
    refused(&container);
    container.kill("KILL").assert_ok();
    container.wait_stopped();
    refused(&container);
}

fn signals_are_delivered_after_resume() {
    for view in [View::Host, View::V2] {
        let bundle = in_view(view).args(&["/probe", "wait-signal"]);
        let container = bundle.run_detached();
        container.wait_for("ready\n");
        container.call("pause", &[]).assert_ok();
        container.kill("USR1").assert_ok();
        assert_frozen(&container, view);
        container.call("resume", &[]).assert_ok();
        container.wait_for("\n10\n");
    }
}

fn kill_reaches_a_paused_container() {
    for case in CASES {
        let bundle = busy(case.0, case.1);
        let before = HostState::of(&bundle);
        let container = bundle.run_detached();
        assert_writes(&container);
        let pid = container.pid();
        container.call("pause", &[]).assert_ok();
        container.kill("KILL").assert_ok();
        wait_gone(pid);
        assert_eq!(container.status(), "stopped");
        container.delete().assert_ok();
        assert_unchanged(&before, &bundle, case);
    }
}

fn delete_refuses_a_paused_container_unless_forced() {
    for case in CASES {
        let bundle = busy(case.0, case.1);
        let before = HostState::of(&bundle);
        let container = bundle.run_detached();
        let pid = container.pid();
        container.call("pause", &[]).assert_ok();
        if Kind::under_test() != Kind::Crun {
            let id = bundle.id();
            let text = format!("cannot delete container {id} that is not stopped: paused");
            container.delete().assert_refused(&text);
            assert_eq!(container.status(), "paused");
        }
        container.delete_force().assert_ok();
        wait_until("the process to end", || !alive(pid));
        assert_unchanged(&before, &bundle, case);
    }
}

/// A paused container inside a container has such processes. v1 keeps a frozen process alive in
/// spite of SIGKILL.
fn processes_frozen_inside_a_container_are_killed_with_it() {
    if on_v2() {
        skip("on cgroup v2 a frozen process dies of SIGKILL");
    }
    differs(Kind::Runc, "delete --force gives up after 10 s");
    differs(Kind::Crun, "it leaves the processes and their cgroup");
    let end_container: [fn(&Container); 2] = [
        |container| drop(container.delete_force().assert_ok()),
        |container| {
            container.kill("KILL").assert_ok();
            container.wait_stopped();
            container.delete().assert_ok();
        },
    ];
    for (shared, end) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        let bundle = busy(View::Host, shared);
        let before = HostState::of(&bundle);
        let container = bundle.run_detached();
        assert_writes(&container);
        let top = cgroup_of(container.pid(), "freezer");
        let below = top.join("inner/innermost");
        fs::create_dir_all(&below).unwrap();
        let processes = fs::read_to_string(top.join("cgroup.procs")).unwrap();
        let child = processes
            .lines()
            .find(|pid| *pid != container.pid().to_string());
        fs::write(below.join("cgroup.procs"), child.unwrap()).unwrap();
        fs::write(top.join("inner/freezer.state"), "FROZEN").unwrap();
        wait_until("the cgroup to freeze", || {
            fs::read_to_string(below.join("freezer.state")).unwrap() == "FROZEN\n"
        });
        end_container[end](&container);
        before.assert_unchanged(&bundle);
    }
}

/// A cgroup above the container's may be frozen by another program. The container is then not
/// paused.
fn a_frozen_parent_cgroup_does_not_make_a_container_paused() {
    if on_v2() {
        skip("on cgroup v2 cgroup.freeze does not change in the cgroups below");
    }
    differs(Kind::Crun, "it reports what freezer.state says");
    struct Thawed;
    impl Drop for Thawed {
        fn drop(&mut self) {
            drop(fs::write(
                "/sys/fs/cgroup/freezer/suite-frozen/freezer.state",
                "THAWED",
            ));
            remove_cgroup("suite-frozen");
        }
    }
    let _parent = Thawed;
    let bundle = Bundle::new()
        .set("/linux/cgroupsPath", json!("/suite-frozen/one"))
        .args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    let own = cgroup_of(container.pid(), "freezer").join("freezer.state");
    fs::write(
        "/sys/fs/cgroup/freezer/suite-frozen/freezer.state",
        "FROZEN",
    )
    .unwrap();
    wait_until("the container's cgroup to freeze", || {
        fs::read_to_string(&own).unwrap() == "FROZEN\n"
    });
    assert_eq!(container.status(), "running");
    container
        .call("resume", &[])
        .assert_refused("container not paused");
    fs::write(
        "/sys/fs/cgroup/freezer/suite-frozen/freezer.state",
        "THAWED",
    )
    .unwrap();
    container.end();
}
