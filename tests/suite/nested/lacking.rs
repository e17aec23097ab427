//! What `rt` says in a container that lacks something it needs: one line, which names the remedy.

use crate::runner::Test;
use serde_json::json;

use crate::harness::{Bundle, Config, HostState, Runtime, View, on_v2, trials};

use super::{inner_with, outer, outer_of_root};

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_missing_capability_is_named,
        a_missing_mount_is_named,
        a_cgroup_that_cannot_be_made_is_explained,
        a_cgroup_that_cannot_be_delegated_is_explained,
        a_masked_proc_is_explained,
        a_filter_that_may_refuse_a_system_call_is_named,
        limits_need_cgroups,
    ]
}

const ADVICE: &str = "in a container, add it to process.capabilities of that container)";

/// Runs `script` in the outer container, and returns what it writes. `rt` in it has written one line.
#[track_caller]
fn assert_said(bundle: Bundle, script: &str, expected: &str) {
    let bundle = bundle.sh(script);
    let before = HostState::of(&bundle);
    let outcome = bundle.run();
    assert_eq!(outcome.one_line(), expected, "{outcome}");
    assert_ne!(outcome.code(), 0, "{outcome}");
    before.assert_unchanged(&bundle);
}

const RUN: &str = "rt run -b /bundle c1";

fn without_capability(bundle: Bundle, name: &str) -> Bundle {
    let mut config = bundle.config().clone();
    for set in ["bounding", "effective", "permitted"] {
        config.retain(&format!("/process/capabilities/{set}"), |one| one != name);
    }
    bundle.with_config(config)
}

/// Adds the inner bundle with another user, and only the capability that every outer container has.
fn plain_inner(bundle: Bundle, change: impl FnOnce(&mut Config)) -> Bundle {
    inner_with(bundle, "bundle", &["sh", "-c", "sleep 1000"], |config| {
        for set in ["bounding", "effective", "permitted"] {
            config.set(&format!("/process/capabilities/{set}"), json!(["CAP_KILL"]));
        }
        change(config);
    })
}

fn user(config: &mut Config) {
    config.set("/process/user", json!({ "uid": 5, "gid": 5 }));
}

fn nothing(_: &mut Config) {}

fn user_namespace(config: &mut Config) {
    config.set("/linux/namespaces/-", json!({ "type": "user" }));
    for list in ["uidMappings", "gidMappings"] {
        let map = json!([{ "containerID": 0, "hostID": 0, "size": 1000 }]);
        config.set(&format!("/linux/{list}"), map);
    }
}

fn a_missing_capability_is_named() {
    let exec =
        "rt run -d -b /bundle c1 && rt exec c1 true; status=$?; rt delete --force c1; exit $status";
    for (name, change, script, error) in [
        (
            "NET_ADMIN",
            nothing as fn(&mut Config),
            RUN,
            "rt run: c1: linux.namespaces: bring up lo",
        ),
        (
            "SETPCAP",
            nothing,
            RUN,
            "rt run: c1: process.capabilities.bounding: drop capabilities that are not listed",
        ),
        (
            "MKNOD",
            nothing,
            RUN,
            "rt run: c1: default devices: make /dev/null",
        ),
        (
            "SETGID",
            nothing,
            RUN,
            "rt run: c1: process.user.additionalGids: set groups",
        ),
        (
            "SETUID",
            user,
            RUN,
            "rt run: c1: process.user.uid: become user 5",
        ),
        (
            "SYS_CHROOT",
            nothing,
            exec,
            "rt exec: c1: container: enter its namespaces",
        ),
    ] {
        let bundle = plain_inner(outer_of_root(&Runtime::new()), change);
        let bundle = without_capability(bundle, &format!("CAP_{name}"));
        let expected =
            format!("{error}: operation not permitted (EPERM; rt has no CAP_{name}; {ADVICE}");
        assert_said(bundle, script, &expected);
    }
}

fn a_missing_mount_is_named() {
    let cgroups =
        "in a container, add a writable mount of type cgroup there to that container's mounts";
    for (mount, error) in [
        ("/proc", "rt: /proc/self/exe: not found (ENOENT; is /proc mounted?)".to_owned()),
        ("/run", "rt run: c1: /run/rt/~c1: read-only file system (EROFS; set --root to a writable directory; \
            in a container, mount a tmpfs on /run of that container)".to_owned()),
        ("/sys/fs/cgroup", format!("rt run: c1: cgroups of the host: no cgroup file system is mounted below \
            /sys/fs/cgroup; {cgroups}")),
        ("/sys", format!("rt run: c1: cgroups of the host: /sys/fs/cgroup: not found (ENOENT; {cgroups})")),
    ] {
        let bundle = outer_of_root(&Runtime::new()).without_mount(mount);
        let bundle = match mount {
            "/sys" => bundle.without_mount("/sys/fs/cgroup"),
            _ => bundle,
        };
        let bundle = plain_inner(bundle, nothing);
        assert_said(bundle, RUN, &error);
    }
}

fn a_cgroup_that_cannot_be_made_is_explained() {
    let views = [View::Host, View::V2]
        .into_iter()
        .filter(|view| !on_v2() || *view == View::V2);
    for view in views {
        let runtime = Runtime::new().view(view);
        let mut config = outer_of_root(&runtime).config().clone();
        config.retain("/mounts", |mount| mount["destination"] != "/sys/fs/cgroup");
        let mount = json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro"] });
        config.set("/mounts/-", mount);
        let bundle = outer_of_root(&runtime).with_config(config);
        let bundle = plain_inner(bundle, nothing);
        let bundle = bundle.sh(RUN);
        let outcome = bundle.run();
        let end = "c1: read-only file system (EROFS; in a container, the option of that container's cgroup \
            mount must be \"rw\", not \"ro\")";
        let outcome =
            outcome.assert_refused("rt run: c1: linux.cgroupsPath: make cgroup /sys/fs/cgroup/");
        assert!(outcome.one_line().ends_with(end), "{outcome}");

        let rules = match view {
            View::Host => "write \"a\" to devices.deny",
            View::V2 => "load the program",
        };
        let bundle = plain_inner(outer_of_root(&runtime), nothing);
        let bundle = without_capability(bundle, "CAP_SYS_ADMIN");
        let expected = format!(
            "rt run: c1: linux.resources.devices: {rules}: operation not permitted (EPERM; rt has no CAP_SYS_ADMIN; {ADVICE}"
        );
        assert_said(bundle, RUN, &expected);
    }
}

fn a_cgroup_that_cannot_be_delegated_is_explained() {
    let runtime = Runtime::new().view(View::V2);
    for (name, error) in [
        (
            "CHOWN",
            "linux.cgroupsPath: delegate /sys/fs/cgroup/c1: operation not permitted (EPERM",
        ),
        (
            "DAC_OVERRIDE",
            "linux.namespaces: make a process in them: permission denied (EACCES",
        ),
    ] {
        let bundle = plain_inner(outer_of_root(&runtime), |config| {
            user_namespace(config);
            config.set("/linux/uidMappings/0/hostID", json!(1000));
        });
        let bundle = without_capability(bundle, &format!("CAP_{name}"));
        let expected = format!("rt run: c1: {error}; rt has no CAP_{name}; {ADVICE}");
        assert_said(bundle, RUN, &expected);
    }
}

fn a_masked_proc_is_explained() {
    // The kernel does not count masks that the inner container may remove, as those of a copy of "/".
    let with_root = |config: &mut Config| {
        config.set("/root/path", json!("rootfs"));
        user_namespace(config);
    };
    let bundle = plain_inner(outer(&Runtime::new()), with_root);
    let masked = bundle
        .folder("bundle/rootfs/proc")
        .set("/linux/readonlyPaths", json!(["/proc/sys"]));
    assert_said(
        masked,
        RUN,
        "rt run: c1: mounts[0]: mount proc on /proc: operation not permitted (EPERM; a user namespace can mount it \
         with a pid namespace of its own, while all of /proc is visible: in a container, without maskedPaths and \
         readonlyPaths of that container)",
    );
    let bundle = plain_inner(outer(&Runtime::new()), user_namespace);
    let bundle = without_capability(bundle, "CAP_SETFCAP").sh(RUN);
    let outcome = bundle
        .run()
        .assert_refused("rt run: c1: linux.uidMappings: write to /proc/");
    let end = format!("/uid_map: operation not permitted (EPERM; rt has no CAP_SETFCAP; {ADVICE}");
    assert!(outcome.one_line().ends_with(&end), "{outcome}");
}

fn a_filter_that_may_refuse_a_system_call_is_named() {
    let bundle = plain_inner(outer(&Runtime::new()), nothing);
    let filter = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        { "names": ["sethostname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 },
    ]});
    assert_said(
        bundle.set("/linux/seccomp", filter),
        RUN,
        "rt run: c1: hostname: set \"inner\": operation not permitted (EPERM; does the seccomp filter that rt runs \
         under forbid the system call?)",
    );
}

fn limits_need_cgroups() {
    if on_v2() {
        return;
    }
    let bundle = plain_inner(outer(&Runtime::new()), |config| {
        config.set("/linux/resources/pids/limit", json!(9));
    });
    let bundle = bundle.sh(RUN);
    let expected = "rt run: c1: linux.resources.pids.limit: root of a user namespace needs a delegated cgroup: ";
    let outcome = bundle.run().assert_refused(expected);
    outcome.one_line();
}
