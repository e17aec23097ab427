//! The global flags for cgroups: runc's `--rootless` and crun's `--cgroup-manager`.

use std::fs;

use crate::runner::Test;
use serde_json::json;

use crate::harness::{
    Bundle, HostState, Kind, Runtime, View, cgroup_of, differs, needs, on_v2, only_rt, trials,
    wait_gone,
};

pub(super) fn tests() -> Vec<Test> {
    trials![
        rootless_accepts_the_values_of_runc,
        rootless_refuses_any_other_value,
        with_rootless_a_container_runs_without_permission_for_cgroups,
        with_rootless_a_limit_that_cannot_be_set_is_an_error,
        without_rootless_a_cgroup_that_cannot_be_created_is_an_error,
        without_cgroups_a_container_stays_in_the_cgroups_of_the_caller,
        without_cgroups_every_operation_of_the_lifecycle_works,
        without_cgroups_kill_reaches_the_first_process,
        without_cgroups_a_limit_is_refused,
        without_cgroups_a_container_cannot_change_the_cgroups_of_the_caller,
        unknown_and_unsupported_cgroup_managers_are_refused,
    ]
}

/// Remounts every cgroup file system read-only, as inside a container of another runtime.
const READONLY: &str = "for place in $(awk '$5 ~ /^\\/sys\\/fs\\/cgroup/ {print $5}' \
                        /proc/self/mountinfo); do mount -o remount,bind,ro $place; done; \
                        exec \"$@\"";
const WITH_READONLY_CGROUPS: [&str; 5] = ["unshare", "-m", "sh", "-c", READONLY];

fn sleeper(flags: &[&str], view: View) -> Bundle {
    let runtime = Runtime::new().view(view);
    let runtime = flags.iter().fold(runtime, |all, flag| all.global(flag));
    Bundle::with_runtime(&runtime).args(&["/probe", "sleep"])
}

fn readonly(flags: &[&str]) -> (Bundle, Vec<&'static str>) {
    let bundle = sleeper(flags, View::Host).sh("cat /proc/self/cgroup");
    (
        bundle,
        WITH_READONLY_CGROUPS.into_iter().chain(["sh"]).collect(),
    )
}

fn rootless_accepts_the_values_of_runc() {
    for value in ["true", "false", "auto", "1", "F", "Auto"] {
        let bundle = sleeper(&[&format!("--rootless={value}")], View::Host);
        let container = bundle.create();
        let own = cgroup_of(container.pid(), "memory");
        assert!(own.ends_with(container.id()), "{value}: {}", own.display());
    }
}

fn rootless_refuses_any_other_value() {
    differs(Kind::Crun, "its error text differs");
    for value in ["maybe", "2", "tRUE"] {
        let bundle = sleeper(&[&format!("--rootless={value}")], View::Host);
        let before = HostState::of(&bundle);
        let outcome = bundle.call("create", &[]).run().assert_code(1);
        before.assert_unchanged(&bundle);
        // runc quotes the message again in its log line.
        let line = outcome.one_line().replace('\\', "");
        let text = format!("parsing \"{value}\": invalid syntax");
        assert!(line.contains(&text), "{line}");
        if Kind::under_test() == Kind::Rt {
            assert!(line.starts_with(&format!("rt: --rootless: {text}: ")));
        }
    }
}

fn with_rootless_a_container_runs_without_permission_for_cgroups() {
    differs(
        Kind::Crun,
        "it applies the flag only to its own default root",
    );
    let (bundle, wrapper) = readonly(&["--rootless=true"]);
    let before = HostState::of(&bundle);
    let outcome = bundle.call_through(&wrapper, "run", &[]).run().assert_ok();
    before.assert_unchanged(&bundle);
    assert!(!outcome.stdout.contains(bundle.id()), "{outcome}");
    if Kind::under_test() == Kind::Rt {
        let prefix = "rt: warning: linux.resources.devices: not kept: linux.cgroupsPath: ";
        assert!(outcome.one_line().starts_with(prefix), "{outcome}");
    }
}

fn with_rootless_a_limit_that_cannot_be_set_is_an_error() {
    differs(
        Kind::Crun,
        "it applies the flag only to its own default root",
    );
    let (bundle, wrapper) = readonly(&["--rootless=true"]);
    let bundle = bundle.set("/linux/resources/pids", json!({"limit": 50}));
    let before = HostState::of(&bundle);
    let outcome = bundle.call_through(&wrapper, "run", &[]).run();
    before.assert_unchanged(&bundle);
    outcome.assert_refused("pids");
}

fn without_rootless_a_cgroup_that_cannot_be_created_is_an_error() {
    for flags in [&[] as &[&str], &["--rootless=false"], &["--rootless=auto"]] {
        let (bundle, wrapper) = readonly(flags);
        let before = HostState::of(&bundle);
        let outcome = bundle.call_through(&wrapper, "run", &[]).run();
        before.assert_unchanged(&bundle);
        let outcome = outcome.assert_refused("cgroup");
        if Kind::under_test() == Kind::Rt {
            let reason = ": read-only file system (EROFS; in a container, ";
            assert!(outcome.one_line().contains(reason), "{outcome}");
        }
    }
}

const DISABLED: &str = "--cgroup-manager=disabled";

fn views() -> Vec<View> {
    if on_v2() {
        vec![View::Host]
    } else {
        vec![View::Host, View::V2]
    }
}

fn without_cgroups_a_container_stays_in_the_cgroups_of_the_caller() {
    differs(Kind::Runc, "has no --cgroup-manager");
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    for view in views() {
        let bundle = sleeper(&[DISABLED], view).without_namespace("cgroup");
        let before = HostState::of(&bundle);
        let bundle = bundle.sh("cat /proc/self/cgroup");
        let outcome = bundle.run().assert_ok();
        before.assert_unchanged(&bundle);
        assert_eq!(outcome.stdout, own);
    }
}

fn without_cgroups_every_operation_of_the_lifecycle_works() {
    differs(Kind::Runc, "has no --cgroup-manager");
    for view in views() {
        let bundle = sleeper(&[DISABLED], view);
        let before = HostState::of(&bundle);
        let container = bundle.create();
        let runtime = bundle.runtime();
        let pid = container.pid();
        assert_eq!(container.status(), "created");
        container.start().assert_ok();
        assert_eq!(container.status(), "running");
        if runtime.kind() == Kind::Rt {
            needs("ps", "procps");
            let listed = runtime.call(&["ps", "-f", "json", container.id()]).run();
            assert_eq!(listed.assert_ok().stdout, format!("[{pid}]\n"));
        }
        let exec = ["exec", container.id(), "/bin/sh", "-c", "exit 5"];
        runtime.call(&exec).run().assert_code(5);
        container.kill("KILL").assert_ok();
        container.wait_stopped();
        container.delete().assert_ok();
        let forced = bundle.create();
        forced.start().assert_ok();
        forced.delete_force().assert_ok();
        before.assert_unchanged(&bundle);
    }
}

/// Without a cgroup, only the first process of the container is known.
fn without_cgroups_kill_reaches_the_first_process() {
    differs(Kind::Runc, "has no --cgroup-manager");
    let bundle = sleeper(&[DISABLED], View::Host).without_namespace("pid");
    let container = bundle.run_detached();
    let pid = container.pid();
    container.kill("KILL").assert_ok();
    wait_gone(pid);
    container.delete().assert_ok();
}

fn without_cgroups_a_limit_is_refused() {
    only_rt("crun ignores the limit");
    let limits = [
        ("memory", json!({"limit": 100_000_000}), "memory.limit"),
        ("pids", json!({"limit": 50}), "pids.limit"),
        ("cpu", json!({"shares": 100}), "cpu.shares"),
    ];
    for view in views() {
        for (name, value, field) in &limits {
            let pointer = format!("/linux/resources/{name}");
            let bundle = sleeper(&[DISABLED], view).set(&pointer, value.clone());
            let before = HostState::of(&bundle);
            let outcome = bundle.call("create", &[]).run().assert_code(1);
            before.assert_unchanged(&bundle);
            let line = format!(
                "rt create: {}: linux.resources.{field}: the container has no cgroup (--cgroup-manager disabled)\n",
                bundle.id()
            );
            assert_eq!(outcome.stderr, line);
        }
    }
}

fn without_cgroups_a_container_cannot_change_the_cgroups_of_the_caller() {
    only_rt("crun lets root in the container change them");
    let mount = json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"],
    });
    let script = "cd /sys/fs/cgroup; ls cgroup.procs 2>/dev/null; find . -name cgroup.procs | while read file; do \
                  mkdir ${file%procs}new 2>/dev/null && echo made $file; \
                  echo 1 2>/dev/null >$file && echo wrote $file; done; true";
    for view in views() {
        let bundle = sleeper(&[DISABLED], view).namespace("cgroup", None);
        let bundle = bundle.without_mount("/sys/fs/cgroup").mount(mount.clone());
        let outcome = bundle.sh(script).run().assert_ok();
        let expected = if on_v2() || view == View::V2 {
            "cgroup.procs\n"
        } else {
            ""
        };
        assert_eq!(outcome.stdout, expected, "{outcome}");
    }
}

fn unknown_and_unsupported_cgroup_managers_are_refused() {
    differs(Kind::Runc, "has no --cgroup-manager");
    let call = |name: &str| {
        let runtime = Runtime::new().global("--cgroup-manager").global(name);
        fs::create_dir_all(runtime.root()).unwrap();
        runtime.call(&["list"]).run()
    };
    call("cgroupfs").assert_ok();
    let outcome = call("unknown");
    assert_ne!(outcome.code(), 0, "{outcome}");
    if Kind::under_test() == Kind::Rt {
        let line = "rt: --cgroup-manager: unknown value \"unknown\": expected cgroupfs, systemd or disabled\n";
        assert_eq!(outcome.stderr, line);
        // Only commands that make a container look for systemd.
        call("systemd").assert_ok();
    }
}
