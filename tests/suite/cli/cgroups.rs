//! The global flags about cgroups: `--rootless`, which is runc's, and crun's `--cgroup-manager`.

use std::fs;

use libtest_mimic::Trial;
use serde_json::json;

use crate::harness::{
    Bundle, Kind, Runtime, Traces, View, cgroup_of, differs, on_v2, only_rt, trials, wait_gone,
};

pub(super) fn tests() -> Vec<Trial> {
    trials![
        rootless_takes_the_words_of_runc,
        rootless_wants_no_other_words,
        rootless_goes_on_where_no_cgroup_may_be_made,
        rootless_keeps_every_limit,
        without_rootless_a_cgroup_is_made_or_it_is_an_error,
        without_cgroups_it_stays_in_those_of_the_caller,
        without_cgroups_a_life_is_whole,
        without_cgroups_kill_reaches_the_process,
        without_cgroups_a_limit_is_refused,
        without_cgroups_those_of_the_caller_cannot_be_changed,
        other_managers_of_cgroups_are_refused,
    ]
}

/// Every file system of cgroups read-only, as in a container of somebody else's.
const READONLY: &str = "for place in $(awk '$5 ~ /^\\/sys\\/fs\\/cgroup/ {print $5}' \
                        /proc/self/mountinfo); do mount -o remount,bind,ro $place; done; \
                        exec \"$@\"";
const BEHIND: [&str; 5] = ["unshare", "-m", "sh", "-c", READONLY];

fn sleeper(flags: &[&str], view: View) -> Bundle {
    let runtime = Runtime::new().view(view);
    let runtime = flags.iter().fold(runtime, |all, flag| all.global(flag));
    Bundle::with_runtime(&runtime).args(&["/probe", "sleep"])
}

fn readonly(flags: &[&str]) -> (Bundle, Vec<&'static str>) {
    let bundle = sleeper(flags, View::Machine).sh("cat /proc/self/cgroup");
    (bundle, BEHIND.into_iter().chain(["sh"]).collect())
}

fn rootless_takes_the_words_of_runc() {
    for word in ["true", "false", "auto", "1", "F", "Auto"] {
        let bundle = sleeper(&[&format!("--rootless={word}")], View::Machine);
        let container = bundle.create();
        let own = cgroup_of(container.pid(), "memory");
        assert!(own.ends_with(container.id()), "{word}: {}", own.display());
    }
}

fn rootless_wants_no_other_words() {
    differs(Kind::Crun, "its text is another");
    for word in ["maybe", "2", "tRUE"] {
        let bundle = sleeper(&[&format!("--rootless={word}")], View::Machine);
        let before = Traces::of(&bundle);
        let outcome = bundle.call("create", &[]).run().assert_code(1);
        before.assert_unchanged(&bundle);
        // runc quotes its log line once more.
        let line = outcome.one_line().replace('\\', "");
        let text = format!("parsing \"{word}\": invalid syntax");
        assert!(line.contains(&text), "{line}");
        if Kind::under_test() == Kind::Rt {
            let line = format!("rt: --rootless: {text} (true, false or auto)\n");
            assert_eq!(outcome.stderr, line);
        }
    }
}

fn rootless_goes_on_where_no_cgroup_may_be_made() {
    differs(Kind::Crun, "it takes it for nothing but its own root");
    let (bundle, behind) = readonly(&["--rootless=true"]);
    let before = Traces::of(&bundle);
    let outcome = bundle.call_through(&behind, "run", &[]).run().assert_ok();
    before.assert_unchanged(&bundle);
    assert!(!outcome.stdout.contains(bundle.id()), "{outcome}");
    if Kind::under_test() == Kind::Rt {
        let place = "rt: warning: linux.resources.devices: not kept: linux.cgroupsPath: ";
        assert!(outcome.one_line().starts_with(place), "{outcome}");
    }
}

fn rootless_keeps_every_limit() {
    differs(Kind::Crun, "it takes it for nothing but its own root");
    let (bundle, behind) = readonly(&["--rootless=true"]);
    let bundle = bundle.set("/linux/resources/pids", json!({"limit": 50}));
    let before = Traces::of(&bundle);
    let outcome = bundle.call_through(&behind, "run", &[]).run();
    before.assert_unchanged(&bundle);
    outcome.assert_refused("pids");
}

fn without_rootless_a_cgroup_is_made_or_it_is_an_error() {
    for flags in [&[] as &[&str], &["--rootless=false"], &["--rootless=auto"]] {
        let (bundle, behind) = readonly(flags);
        let before = Traces::of(&bundle);
        let outcome = bundle.call_through(&behind, "run", &[]).run();
        before.assert_unchanged(&bundle);
        let outcome = outcome.assert_refused("cgroup");
        if Kind::under_test() == Kind::Rt {
            let end = "read-only file system (EROFS)";
            assert!(outcome.one_line().ends_with(end), "{outcome}");
        }
    }
}

const DISABLED: &str = "--cgroup-manager=disabled";

fn views() -> Vec<View> {
    match on_v2() {
        true => vec![View::Machine],
        false => vec![View::Machine, View::V2],
    }
}

fn without_cgroups_it_stays_in_those_of_the_caller() {
    differs(Kind::Runc, "has no --cgroup-manager");
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    for view in views() {
        let bundle = sleeper(&[DISABLED], view).without_namespace("cgroup");
        let before = Traces::of(&bundle);
        let bundle = bundle.sh("cat /proc/self/cgroup");
        let outcome = bundle.run().assert_ok();
        before.assert_unchanged(&bundle);
        assert_eq!(outcome.stdout, own);
    }
}

fn without_cgroups_a_life_is_whole() {
    differs(Kind::Runc, "has no --cgroup-manager");
    for view in views() {
        let bundle = sleeper(&[DISABLED], view);
        let before = Traces::of(&bundle);
        let container = bundle.create();
        let runtime = bundle.runtime();
        let pid = container.pid();
        assert_eq!(container.status(), "created");
        container.start().assert_ok();
        assert_eq!(container.status(), "running");
        if runtime.kind() == Kind::Rt {
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

/// There is no cgroup to find the others by.
fn without_cgroups_kill_reaches_the_process() {
    differs(Kind::Runc, "has no --cgroup-manager");
    let bundle = sleeper(&[DISABLED], View::Machine).without_namespace("pid");
    let container = bundle.run_detached();
    let pid = container.pid();
    container.kill("KILL").assert_ok();
    wait_gone(pid);
    container.delete().assert_ok();
}

fn without_cgroups_a_limit_is_refused() {
    only_rt("crun forgets it");
    let limits = [
        ("memory", json!({"limit": 100_000_000}), "memory.limit"),
        ("pids", json!({"limit": 50}), "pids.limit"),
        ("cpu", json!({"shares": 100}), "cpu.shares"),
    ];
    for view in views() {
        for (name, value, place) in &limits {
            let pointer = format!("/linux/resources/{name}");
            let bundle = sleeper(&[DISABLED], view).set(&pointer, value.clone());
            let before = Traces::of(&bundle);
            let outcome = bundle.call("create", &[]).run().assert_code(1);
            before.assert_unchanged(&bundle);
            let line = format!(
                "rt create: {}: linux.resources.{place}: the container has no cgroup (--cgroup-manager disabled)\n",
                bundle.id()
            );
            assert_eq!(outcome.stderr, line);
        }
    }
}

fn without_cgroups_those_of_the_caller_cannot_be_changed() {
    only_rt("crun leaves them open to root");
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
        let seen = match on_v2() || view == View::V2 {
            true => "cgroup.procs\n",
            false => "",
        };
        assert_eq!(outcome.stdout, seen, "{outcome}");
    }
}

fn other_managers_of_cgroups_are_refused() {
    differs(Kind::Runc, "has no --cgroup-manager");
    let call = |name: &str| {
        let runtime = Runtime::new().global("--cgroup-manager").global(name);
        fs::create_dir_all(runtime.root()).unwrap();
        runtime.call(&["list"]).run()
    };
    call("cgroupfs").assert_ok();
    let outcome = call("nobodys");
    assert_ne!(outcome.code(), 0, "{outcome}");
    if Kind::under_test() == Kind::Rt {
        let line = "rt: --cgroup-manager: unknown value \"nobodys\": cgroupfs or disabled\n";
        assert_eq!(outcome.stderr, line);
        let line = "rt: --cgroup-manager systemd: not applied by this version\n";
        assert_eq!(call("systemd").assert_code(1).stderr, line);
    }
}
