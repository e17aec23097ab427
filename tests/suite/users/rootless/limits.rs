//! Cgroups of rootless containers: none, or below a delegated cgroup.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use crate::runner::Test;
use serde_json::{Value, json};

use super::callers::{ALL, Caller, CallerKind, USER};
use crate::harness::{
    Bundle, HostState, Kind, View, cgroup_of, cgroup_top, differs, on_v2, only_rt, remove_cgroup,
    skip, trials, wait_gone,
};

pub(super) fn tests() -> Vec<Test> {
    trials![
        without_limits_the_container_stays_in_the_callers_cgroups,
        a_container_without_a_cgroup_cannot_be_paused_or_updated,
        rootless_false_makes_a_missing_cgroup_an_error,
        a_cgroups_path_without_permission_is_refused,
        a_limit_without_permission_is_refused_with_a_hint,
        a_limit_without_permission_is_refused_in_the_v2_view,
        device_rules_alone_need_no_permission,
        limits_work_in_delegated_hierarchies,
        limits_work_if_only_some_hierarchies_are_delegated,
        a_limit_in_a_hierarchy_that_is_not_delegated_is_refused,
        a_delegated_cgroup_is_used_in_the_v2_view,
        limits_work_in_a_delegated_cgroup_on_v2,
        delete_removes_only_cgroups_that_the_runtime_created,
    ]
}

fn without_limits_the_container_stays_in_the_callers_cgroups() {
    for view in [View::Host, View::V2] {
        for caller_kind in ALL {
            let caller = Caller::through(view, caller_kind, &[]);
            let bundle = caller.bundle().args(&["/probe", "sleep"]);
            let before = HostState::of(&bundle);
            let container = bundle.run_detached();
            assert_eq!(container.status(), "running", "{caller_kind:?}");
            let pid = container.pid();
            container.kill("KILL").assert_ok();
            wait_gone(pid);
            container.delete().assert_ok();
            before.assert_unchanged(&bundle);
        }
    }
}

/// Pausing its cgroup would pause the caller.
fn a_container_without_a_cgroup_cannot_be_paused_or_updated() {
    only_rt("the error texts are rt's");
    for view in [View::Host, View::V2] {
        let caller = Caller::through(view, CallerKind::Subordinate, &[]);
        let bundle = caller.bundle().args(&["/probe", "sleep"]);
        let container = bundle.run_detached();
        let text = "the container has no cgroup of its own, without which it cannot be paused";
        container.call("pause", &[]).assert_refused(text).one_line();
        assert_eq!(container.status(), "running");
        let resumed = container.call("resume", &[]);
        resumed.assert_refused("container not paused");
        let update = ["update", "--pids-limit=5", bundle.id()];
        let updated = caller.runtime.call(&update).run();
        let text = "linux.resources.pids.limit: the container has no cgroup of its own to limit";
        updated.assert_refused(text).one_line();
        let nothing = caller.runtime.call(&["update", bundle.id()]).run();
        nothing.assert_ok();
        let all = ["kill", "--all", bundle.id(), "TERM"];
        let text = "--all: the container has no cgroup of its own";
        caller.runtime.call(&all).run().assert_refused(text);
        let all = ["kill", "--all", bundle.id(), "KILL"];
        caller.runtime.call(&all).run().assert_ok();
        container.wait_stopped();
    }
}

fn a_cgroups_path_without_permission_is_refused() {
    differs(Kind::Crun, "it runs without a cgroup");
    for view in [View::Host, View::V2] {
        for caller_kind in ALL {
            let caller = Caller::through(view, caller_kind, &[]);
            let bundle = caller
                .bundle()
                .set("/linux/cgroupsPath", json!("/nobodys/box"));
            let bundle = bundle.args(&["/bin/true"]);
            let before = HostState::of(&bundle);
            let outcome = bundle.run().assert_refused("nobodys");
            if Kind::under_test() == Kind::Rt {
                let line = outcome.one_line();
                assert!(line.contains(": linux.cgroupsPath: make cgroup "), "{line}");
            }
            before.assert_unchanged(&bundle);
        }
    }
}

/// `--rootless=false`: a lack of permission is not ignored.
fn rootless_false_makes_a_missing_cgroup_an_error() {
    only_rt("runc does so only if a path is configured, and crun never");
    for view in [View::Host, View::V2] {
        for (flag, code) in [("--rootless=auto", 3), ("--rootless=false", 1)] {
            let mut caller = Caller::through(view, CallerKind::Plain, &[]);
            caller.runtime = caller.runtime.global(flag);
            let bundle = caller.bundle().sh("exit 3");
            let before = HostState::of(&bundle);
            let outcome = bundle.run().assert_code(code);
            before.assert_unchanged(&bundle);
            if code == 1 {
                let line = outcome.one_line();
                assert!(line.contains(": linux.cgroupsPath: make cgroup "), "{line}");
                assert!(line.ends_with(": permission denied (EACCES)"), "{line}");
            }
        }
    }
}

const LIMITS: [(&str, &str, u64); 3] = [
    ("memory", "limit", 64 << 20),
    ("pids", "limit", 100),
    ("cpu", "shares", 512),
];

fn with_limit(bundle: Bundle, (controller, field, value): (&str, &str, u64)) -> Bundle {
    let resources = json!({ controller: { field: value } });
    bundle
        .set("/linux/resources", resources)
        .args(&["/bin/true"])
}

fn a_limit_without_permission_is_refused_with_a_hint() {
    differs(Kind::Crun, "it ignores them");
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        for limit in LIMITS {
            let bundle = with_limit(caller.bundle(), limit);
            let place = format!("linux.resources.{}.{}", limit.0, limit.1);
            bundle.assert_refused(&[&place, "Delegate=yes"]);
        }
    }
}

/// The hierarchy has no controllers in this view, so the limit may be refused for that reason.
fn a_limit_without_permission_is_refused_in_the_v2_view() {
    differs(Kind::Crun, "it ignores them");
    let caller = Caller::in_v2_view(CallerKind::Plain);
    for limit in LIMITS {
        let bundle = with_limit(caller.bundle(), limit);
        bundle.assert_refused(&[&format!("linux.resources.{}.{}", limit.0, limit.1)]);
    }
}

/// A rootless container cannot create devices, and those of the host keep their permissions.
fn device_rules_alone_need_no_permission() {
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let rules = json!([{ "allow": false, "access": "rwm" },
                           { "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm" }]);
        let bundle = caller.bundle().set("/linux/resources/devices", rules);
        let outcome = bundle
            .sh("echo x > /dev/null; /probe mknod /dev/new c 1 3")
            .run();
        assert_eq!(outcome.assert_ok().stdout, "EPERM\n", "{caller_kind:?}");
    }
}

/// A delegated cgroup in the hierarchy of each of these controllers, removed when dropped.
struct Delegated {
    name: String,
}

impl Delegated {
    fn new(controllers: &[&str]) -> Self {
        let name = format!(
            "suite-{}-of-user-{}",
            std::process::id(),
            controllers.join("-")
        );
        for controller in controllers {
            let cgroup = cgroup_top(controller).join(&name);
            fs::create_dir(&cgroup).unwrap_or_else(|e| panic!("make {}: {e}", cgroup.display()));
            delegate(&cgroup);
            // A new cpuset has no CPUs and no memory nodes, and so accepts no process.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if let Ok(all) = fs::read_to_string(cgroup_top(controller).join(file)) {
                    drop(fs::write(cgroup.join(file), all));
                }
            }
        }
        Self { name }
    }

    fn path(&self) -> String {
        format!("/{}/box", self.name)
    }
}

/// Delegates a cgroup as in cgroups(7), "Cgroups delegation": the directory and the files that
/// move processes.
fn delegate(cgroup: &Path) {
    let give = |path: PathBuf| chown(&path, Some(USER), Some(USER));
    give(cgroup.to_owned()).unwrap();
    give(cgroup.join("cgroup.procs")).unwrap();
    for name in ["tasks", "cgroup.threads", "cgroup.subtree_control"] {
        if cgroup.join(name).exists() {
            give(cgroup.join(name)).unwrap();
        }
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        remove_cgroup(&self.name);
    }
}

fn read(pid: i32, controller: &str, file: &str) -> String {
    let text = fs::read_to_string(cgroup_of(pid, controller).join(file));
    text.unwrap_or_default().trim().to_owned()
}

const V1: [&str; 9] = [
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "blkio",
    "pids",
    "name=systemd",
];

#[track_caller]
fn check_limits(delegated: &Delegated) {
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let resources = json!({ "pids": { "limit": 77 }, "memory": { "limit": 64 << 20 } });
        let bundle = caller
            .bundle()
            .set("/linux/cgroupsPath", json!(delegated.path()))
            .set("/linux/resources", resources)
            .args(&["/probe", "sleep"]);
        let before = HostState::of(&bundle);
        let container = bundle.run_detached();
        let pid = container.pid();
        for controller in ["pids", "memory"] {
            let own = cgroup_of(pid, controller);
            assert!(
                own.ends_with(&delegated.path()[1..]),
                "{caller_kind:?}: {}",
                own.display()
            );
        }
        assert_eq!(read(pid, "pids", "pids.max"), "77", "{caller_kind:?}");
        let memory = read(pid, "memory", "memory.limit_in_bytes");
        assert_eq!(memory, (64 << 20).to_string(), "{caller_kind:?}");
        container.end();
        before.assert_unchanged(&bundle);
    }
}

fn limits_work_in_delegated_hierarchies() {
    differs(Kind::Crun, "it ignores limits");
    if on_v2() {
        skip("this host has no cgroup v1");
    }
    check_limits(&Delegated::new(&V1));
}

fn limits_work_if_only_some_hierarchies_are_delegated() {
    only_rt("Debian's require all hierarchies or none");
    if on_v2() {
        skip("this host has no cgroup v1");
    }
    check_limits(&Delegated::new(&["pids", "memory"]));
}

fn a_limit_in_a_hierarchy_that_is_not_delegated_is_refused() {
    only_rt("Debian's require all hierarchies or none");
    if on_v2() {
        skip("this host has no cgroup v1");
    }
    let delegated = Delegated::new(&["pids"]);
    let caller = Caller::new(CallerKind::Plain);
    let resources = json!({ "pids": { "limit": 77 }, "cpu": { "shares": 512 } });
    let bundle = caller
        .bundle()
        .set("/linux/cgroupsPath", json!(delegated.path()))
        .set("/linux/resources", resources)
        .args(&["/bin/true"]);
    bundle.assert_refused(&["linux.resources.cpu.shares"]);
}

/// The caller is in a child of the delegated cgroup, because it may only move processes within
/// the delegated part of the hierarchy.
fn a_delegated_cgroup_is_used_in_the_v2_view() {
    let delegated = Delegated::new(&[""]);
    let session = cgroup_top("").join(&delegated.name).join("session");
    fs::create_dir(&session).unwrap();
    delegate(&session);
    let script = format!(
        "echo $$ > /sys/fs/cgroup/{}/session/cgroup.procs && exec \"$@\"",
        delegated.name
    );
    for caller_kind in ALL {
        let caller = Caller::through(View::V2, caller_kind, &["sh", "-c", &script, "sh"]);
        let bundle = caller
            .bundle()
            .set("/linux/cgroupsPath", json!(delegated.path()))
            .args(&["/probe", "spawn-sleep"]);
        let before = HostState::of(&bundle);
        let container = bundle.run_detached();
        container.wait_for("\n");
        let pid = container.pid();
        assert!(
            cgroup_of(pid, "").ends_with(&delegated.path()[1..]),
            "{caller_kind:?}: {}",
            cgroup_of(pid, "").display()
        );
        container.end();
        before.assert_unchanged(&bundle);
        // Without a path the runtime chooses a cgroup, or uses none.
        let bundle = bundle.set("/linux/cgroupsPath", Value::Null);
        bundle.run_detached().end();
        before.assert_unchanged(&bundle);
    }
}

/// On a host whose controllers are those of cgroup v2.
fn limits_work_in_a_delegated_cgroup_on_v2() {
    if !on_v2() {
        skip("the controllers of this host are those of cgroup v1");
    }
    fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+memory +pids").unwrap();
    let delegated = Delegated::new(&[""]);
    let session = cgroup_top("").join(&delegated.name).join("session");
    fs::create_dir(&session).unwrap();
    delegate(&session);
    let script = format!(
        "echo $$ > {}/cgroup.procs && exec \"$@\"",
        session.display()
    );
    for caller_kind in ALL {
        let caller = Caller::through(View::Host, caller_kind, &["sh", "-c", &script, "sh"]);
        let resources = json!({ "pids": { "limit": 77 }, "memory": { "limit": 64 << 20 } });
        let bundle = caller
            .bundle()
            .set("/linux/cgroupsPath", json!(delegated.path()))
            .set("/linux/resources", resources)
            .args(&["/probe", "spawn-sleep"]);
        let before = HostState::of(&bundle);
        let container = bundle.run_detached();
        container.wait_for("\n");
        let pid = container.pid();
        let own = cgroup_of(pid, "");
        assert!(
            own.ends_with(&delegated.path()[1..]),
            "{caller_kind:?}: {}",
            own.display()
        );
        assert_eq!(read(pid, "", "pids.max"), "77", "{caller_kind:?}");
        assert_eq!(
            read(pid, "", "memory.max"),
            (64 << 20).to_string(),
            "{caller_kind:?}"
        );
        container.end();
        before.assert_unchanged(&bundle);
    }
}

fn delete_removes_only_cgroups_that_the_runtime_created() {
    only_rt("Debian's require all hierarchies or none");
    if on_v2() {
        skip("this host has no cgroup v1");
    }
    let delegated = Delegated::new(&["pids"]);
    let caller = Caller::new(CallerKind::Plain);
    let bundle = caller
        .bundle()
        .set("/linux/cgroupsPath", json!(delegated.path()))
        .set("/linux/resources", json!({ "pids": { "limit": 77 } }))
        .args(&["/probe", "sleep"]);
    let container = bundle.create();
    let top = cgroup_top("pids").join(&delegated.name);
    assert!(top.join("box").exists());
    container.end();
    assert!(top.exists() && !top.join("box").exists());
}
