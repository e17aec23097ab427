//! The lifecycle of a rootless container, and access by other users.

use std::fs;
use std::path::Path;

use crate::runner::Test;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::callers::{ALL, Caller, CallerKind, OTHER, USER};
use crate::harness::{Call, HostState, Kind, View, alive, only_rt, signal, trials, wait_gone};

pub(super) fn tests() -> Vec<Test> {
    trials![
        create_start_kill_and_delete_work,
        list_shows_the_owner,
        signals_are_forwarded,
        delete_force_ends_the_container,
        a_container_runs_with_hidepid,
        a_failed_run_leaves_nothing_behind,
        another_user_cannot_manage_the_container,
        a_user_cannot_manage_a_container_of_root,
        root_does_not_trust_a_state_file_of_a_user,
        namespace_settings_are_applied,
        a_real_time_io_priority_needs_a_capability,
        a_nice_value_below_the_callers_needs_a_capability,
        other_users_cannot_read_a_created_container,
    ]
}

fn create_start_kill_and_delete_work() {
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let bundle = caller.bundle().args(&["/probe", "wait-signal"]);
        let before = HostState::of(&bundle);
        let container = bundle.create();
        assert_eq!(container.status(), "created", "{caller_kind:?}");
        let pid = container.pid();
        container.start().assert_ok();
        container.wait_for("ready");
        assert_eq!(
            (container.status().as_str(), container.pid()),
            ("running", pid)
        );
        container.kill("USR1").assert_ok();
        container.wait_stopped();
        assert_eq!(container.stdout(), "ready\n10\n", "{caller_kind:?}");
        container.delete().assert_ok();
        wait_gone(pid);
        before.assert_unchanged(&bundle);
    }
}

fn list_shows_the_owner() {
    let caller = Caller::new(CallerKind::Plain);
    let bundle = caller.bundle().args(&["/probe", "sleep"]);
    let _container = bundle.run_detached();
    let listed = bundle
        .runtime()
        .call(&["list", "--format", "json"])
        .run()
        .assert_ok();
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(listed[0]["id"], bundle.id());
    assert_eq!(listed[0]["status"], "running");
    if Kind::under_test() == Kind::Rt {
        // The host has no user with this uid.
        assert_eq!(listed[0]["owner"], format!("#{USER}"));
    }
}

fn signals_are_forwarded() {
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let bundle = caller.bundle().args(&["/probe", "wait-signal"]);
        let run = bundle.call("run", &[]).start();
        run.wait_for("ready");
        // None of the commands that start the runtime forks, so this is the runtime's pid.
        signal(run.pid(), Signal::SIGTERM);
        assert_eq!(
            run.wait().assert_ok().stdout,
            "ready\n15\n",
            "{caller_kind:?}"
        );
    }
}

fn delete_force_ends_the_container() {
    for caller_kind in ALL {
        for created in [true, false] {
            let caller = Caller::new(caller_kind);
            let bundle = caller.bundle().args(&["/probe", "spawn-sleep"]);
            let before = HostState::of(&bundle);
            let container = if created {
                bundle.create()
            } else {
                bundle.run_detached()
            };
            let pid = container.pid();
            assert!(alive(pid));
            container.end();
            wait_gone(pid);
            before.assert_unchanged(&bundle);
        }
    }
}

/// Init is not dumpable until it is started, so hidepid hides it from its own user as well.
fn a_container_runs_with_hidepid() {
    const HIDE: &str = "mount -t proc -o hidepid=2 proc /proc && exec \"$@\"";
    let hidepid = ["unshare", "-m", "sh", "-c", HIDE, "sh"];
    let caller = Caller::through(View::Host, CallerKind::Subordinate, &hidepid);
    let bundle = caller.bundle().sh("exit 7");
    bundle.run().assert_code(7);
    only_rt("its waiting init is dumpable");
    let bundle = caller.bundle().args(&["/probe", "sleep"]);
    bundle.call("create", &[]).run().assert_ok();
    let container = bundle.container();
    let why = "is hidden from this user (hidepid, proc(5))";
    container.delete().assert_refused(why).one_line();
    let state = caller.runtime.root().join(bundle.id()).join("state.json");
    let state: Value = serde_json::from_str(&fs::read_to_string(state).unwrap()).unwrap();
    let pid = state["init_process_pid"].as_i64().unwrap() as i32;
    signal(pid, Signal::SIGKILL);
    wait_gone(pid);
    container.delete().assert_ok();
}

fn a_failed_run_leaves_nothing_behind() {
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let bundle = caller.bundle().args(&["/no/such"]);
        let before = HostState::of(&bundle);
        let outcome = bundle.run().assert_refused("/no/such");
        if Kind::under_test() == Kind::Rt {
            assert!(outcome.one_line().contains("process.args[0]"), "{outcome}");
        }
        let mount = json!({ "destination": "/tmp", "type": "nosuchfs", "source": "none" });
        let bundle = bundle.mount(mount).args(&["/bin/true"]);
        bundle.run().assert_refused("o such device");
        before.assert_unchanged(&bundle);
    }
}

/// Calls the runtime as the user `uid`, with the `--root` of `caller`.
fn as_other(caller: &Caller, uid: u32, args: &[&str]) -> Call {
    let root = caller.runtime.root();
    let uid = uid.to_string();
    let (reuid, regid) = (format!("--reuid={uid}"), format!("--regid={uid}"));
    let mut command = vec!["setpriv", &reuid, &regid, "--clear-groups"];
    let program = caller.runtime.program();
    command.extend([program.to_str().unwrap(), "--root", root.to_str().unwrap()]);
    command.extend(args);
    caller.runtime.call_as_is(command)
}

fn another_user_cannot_manage_the_container() {
    let caller = Caller::new(CallerKind::Plain);
    let bundle = caller.bundle().args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    let pid = container.pid();
    for args in [
        &["state", bundle.id()] as &[&str],
        &["kill", bundle.id(), "KILL"],
        &["delete", "--force", bundle.id()],
        &["start", bundle.id()],
    ] {
        let outcome = as_other(&caller, OTHER, args).run();
        if args[0] == "delete" && outcome.code() == 0 {
            // With `--force` it is not an error that a container does not exist.
            continue;
        }
        outcome.assert_refused("");
    }
    assert!(alive(pid));
    assert_eq!(container.status(), "running");
    container.end();
}

fn a_user_cannot_manage_a_container_of_root() {
    let bundle = crate::users::mapped().args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    let pid = container.pid();
    let caller = Caller::new(CallerKind::Plain);
    let program = caller.runtime.program();
    let root = bundle.runtime().root();
    for args in [
        &["state", bundle.id()] as &[&str],
        &["kill", bundle.id(), "KILL"],
    ] {
        let mut command = vec!["setpriv", "--reuid=4001", "--regid=4001", "--clear-groups"];
        command.extend([program.to_str().unwrap(), "--root", root.to_str().unwrap()]);
        command.extend(args);
        caller.runtime.call_as_is(command).run().assert_refused("");
    }
    assert!(alive(pid));
    container.end();
}

/// A user could write any pid there, which root would then kill.
fn root_does_not_trust_a_state_file_of_a_user() {
    only_rt("Debian's do");
    let caller = Caller::new(CallerKind::Plain);
    let bundle = caller.bundle().args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    for args in [
        &["state", bundle.id()] as &[&str],
        &["kill", bundle.id(), "KILL"],
        &["delete", "--force", bundle.id()],
    ] {
        let outcome = as_other(&caller, 0, args).run();
        outcome.assert_refused("belongs to user 4001").one_line();
    }
    assert_eq!(container.status(), "running");
}

fn namespace_settings_are_applied() {
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let table = json!({ "net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1" });
        let rlimits = json!([{ "type": "RLIMIT_NOFILE", "soft": 64, "hard": 128 }]);
        let sys =
            json!({ "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"] });
        let bundle = caller
            .bundle()
            .namespace("network", None)
            .namespace("cgroup", None)
            .hostname("small-room")
            .set("/linux/sysctl", table)
            .set("/process/rlimits", rlimits)
            .set("/process/oomScoreAdj", json!(900))
            .without_mount("/sys/fs/cgroup")
            .without_mount("/sys")
            .mount(sys);
        let seen = bundle.probe();
        assert_eq!(
            seen["interfaces"],
            json!({ "lo": { "up": true } }),
            "{caller_kind:?}"
        );
        assert_eq!(seen["hostname"], "small-room", "{caller_kind:?}");
        assert_eq!(
            seen["rlimits"]["RLIMIT_NOFILE"],
            json!([64, 128]),
            "{caller_kind:?}"
        );
        assert_eq!(seen["oom_score_adj"], "900", "{caller_kind:?}");
        let outcome = bundle
            .args(&["/probe", "sysctl", "net.ipv4.ip_forward"])
            .run();
        assert_eq!(outcome.assert_ok().stdout, "1\n", "{caller_kind:?}");
    }
}

fn a_real_time_io_priority_needs_a_capability() {
    only_rt("Debian's old one lacks process.ioPriority");
    let priority = |class: &str| json!({"class": class, "priority": 3});
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let bundle = |class| caller.bundle().set("/process/ioPriority", priority(class));
        let seen = bundle("IOPRIO_CLASS_IDLE").probe();
        assert_eq!(seen["io_priority"], 3 << 13 | 3, "{caller_kind:?}");
        let refused = bundle("IOPRIO_CLASS_RT").args(&["/bin/true"]);
        refused.assert_refused(&[
            "process.ioPriority: set IOPRIO_CLASS_RT 3: ",
            "CAP_SYS_NICE",
        ]);
    }
}

fn a_nice_value_below_the_callers_needs_a_capability() {
    only_rt("Debian's old one lacks process.scheduler");
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let nice = |nice: i32| {
            let scheduler = json!({"policy": "SCHED_OTHER", "nice": nice});
            caller.bundle().set("/process/scheduler", scheduler)
        };
        let seen = nice(5).probe();
        assert_eq!(seen["scheduler"]["nice"], 5, "{caller_kind:?}");
        nice(-5).assert_refused(&[
            "process.scheduler: set SCHED_OTHER: ",
            "a nice value below the caller's needs CAP_SYS_NICE on the host",
        ]);
    }
}

/// The process still executes the runtime. Its owner gains nothing by controlling it, but other
/// users must not read it.
fn other_users_cannot_read_a_created_container() {
    let caller = Caller::new(CallerKind::Plain);
    let bundle = caller.bundle().args(&["/probe", "sleep"]);
    let container = bundle.create();
    let pid = container.pid();
    for name in ["exe", "root", "fd"] {
        let path = format!("/proc/{pid}/{name}");
        let outcome = caller.runtime.call_as_is(vec![
            "setpriv",
            "--reuid=4002",
            "--regid=4002",
            "--clear-groups",
            "ls",
            "-l",
            &path,
        ]);
        let outcome = outcome.run();
        assert_ne!(outcome.code(), 0, "{path}: {outcome}");
    }
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    assert!(fs::read_to_string(format!("/proc/{pid}/stat")).is_ok());
}
