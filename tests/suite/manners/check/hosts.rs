//! The answer of `check` depends on the host, the user and the global flags as that of `create` does, and changes
//! nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::json;

use super::{accepted, agreed, check, check_as_written, refused, rt};
use crate::harness::{Bundle, Runtime, View, needs_strace, only_rt, skip, trials};
use crate::runner::Test;
use crate::users::map;
use crate::users::rootless::callers::{ALL, Caller, CallerKind};

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_cgroup_in_use_is_refused_as_by_create,
        a_missing_controller_is_refused_as_by_create,
        cgroup_v2_alone_is_answered_as_by_create,
        global_flags_are_honoured,
        ordinary_users_are_answered_as_by_create,
        nothing_is_made,
    ]
}

fn a_cgroup_in_use_is_refused_as_by_create() {
    let first = rt().args(&["/probe", "sleep"]);
    let path = json!(format!("/{}/shared", first.id()));
    let first = first.set("/linux/cgroupsPath", path.clone());
    let _container = first.run_detached();
    let second = rt().set("/linux/cgroupsPath", path);
    refused(
        &second,
        "linux.cgroupsPath: container's cgroup is not empty: 1 process(es) found",
    );
}

fn a_missing_controller_is_refused_as_by_create() {
    only_rt("other runtimes have no check");
    let bundle = Bundle::with_runtime(&Runtime::new().view(View::V2));
    let lines = agreed(&bundle.set("/linux/resources/memory/limit", json!(1 << 26)));
    if lines.is_empty() {
        skip("cgroup v2 has a memory controller");
    }
    let line = "rt check: linux.resources.memory.limit: this host has no memory controller (cgroup v2: /sys/fs/cgroup/cgroup.controllers)";
    assert_eq!(lines, [line]);
}

fn cgroup_v2_alone_is_answered_as_by_create() {
    only_rt("other runtimes have no check");
    let v2 = || Bundle::with_runtime(&Runtime::new().view(View::V2));
    accepted(&v2());
    let first = v2().args(&["/probe", "sleep"]);
    let path = json!(format!("/{}/shared", first.id()));
    let first = first.set("/linux/cgroupsPath", path.clone());
    let _container = first.run_detached();
    let place = "linux.cgroupsPath: container's cgroup is not empty: 1 process(es) found";
    refused(&v2().set("/linux/cgroupsPath", path), place);
    // A cgroup with processes has no controllers for others.
    let below = json!(format!("/{}/shared/below", first.id()));
    let limited = v2()
        .set("/linux/cgroupsPath", below)
        .set("/linux/resources/pids/limit", json!(9));
    agreed(&limited);
    for kind in ALL {
        let caller = Caller::in_v2_view(kind);
        accepted(&caller.bundle().args(&["/bin/true"]));
        agreed(&caller.bundle().set("/linux/resources/pids/limit", json!(9)));
    }
}

fn global_flags_are_honoured() {
    only_rt("other runtimes have no check");
    let with = |flag: &str| Bundle::with_runtime(&Runtime::new().global(flag));
    let bundle = with("--cgroup-manager=disabled");
    let line = "rt check: linux.resources.pids.limit: the container has no cgroup (--cgroup-manager disabled)";
    assert_eq!(
        agreed(&bundle.set("/linux/resources/pids/limit", json!(9))),
        [line]
    );
    accepted(&with("--rootless=false"));

    let bundle = with("--debug=false");
    let open = bundle.runtime().home().join("open");
    fs::create_dir(&open).unwrap();
    let open_to_all = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(&open, open_to_all).unwrap();
    let root = format!("--root={}", open.display());
    let bundle = with(&root);
    let lines = agreed(&bundle);
    let line = format!(
        "rt check: --root {0}: users other than its owner can write to it (mode 0777): containers cannot be kept there; chmod go-w {0}",
        open.display()
    );
    assert_eq!(lines, [line]);
    assert_eq!(
        fs::metadata(&open).unwrap().nlink(),
        2,
        "something is in it"
    );

    let log = bundle.runtime().home().join("log");
    let bundle = with(&format!("--log={}", log.display())).args(&["nosuch"]);
    check(&bundle).assert_code(1);
    let text = fs::read_to_string(log).unwrap();
    assert!(
        text.contains("level=error msg=\"rt check: process.args[0]: "),
        "{text}"
    );
}

fn ordinary_users_are_answered_as_by_create() {
    only_rt("other runtimes have no check");
    for kind in ALL {
        let caller = Caller::new(kind);
        let bundle = || caller.bundle().args(&["/bin/true"]);
        accepted(&bundle());
        refused(
            &bundle().bind("/no/such".as_ref(), "/a", &["rbind"]),
            "mounts[",
        );
        refused(
            &bundle().args(&["nosuch"]),
            "process.args[0]: exec: \"nosuch\": ",
        );
        refused(&bundle().user(7, 0), "process.user.uid: 7 is not mapped");
        refused(&bundle().set("/root/path", json!("absent")), "root.path: ");
        if kind == CallerKind::Plain {
            let line = agreed(
                &bundle()
                    .without_namespace("user")
                    .remove("/linux/uidMappings")
                    .remove("/linux/gidMappings"),
            );
            assert_eq!(
                line,
                [
                    "rt check: linux.namespaces: run rt as root, or add a user namespace (rt spec --rootless writes a config.json with one)"
                ]
            );
        }
        if !caller.is_namespace_root() {
            let memory = bundle().set("/linux/resources/memory/limit", json!(1 << 26));
            refused(
                &memory,
                "linux.resources.memory.limit: a user needs a delegated cgroup",
            );
            let root = bundle().runtime().home().join("closed");
            fs::create_dir(&root).unwrap();
            let runtime = caller
                .runtime
                .clone()
                .global(&format!("--root={}/new", root.display()));
            let config = bundle().config().clone();
            let closed = Bundle::with_runtime(&runtime).with_config(config);
            refused(
                &closed,
                &format!(
                    "--root {}/new: permission denied (EACCES): user ",
                    root.display()
                ),
            );
            fs::remove_dir(&root).unwrap();
        }
    }
}

/// No file, directory, cgroup or attached mount.
fn nothing_is_made() {
    needs_strace();
    let bundle = rt();
    let source = bundle.rootfs().join("bin");
    let bundle = map(
        bundle.bind(&source, "/a", &["rbind", "ro"]),
        &[(0, 100_000, 65_536)],
    );
    bundle.write();
    let trace = bundle.runtime().home().join("trace");
    let strace = ["strace", "-f", "-o", trace.to_str().unwrap()];
    check_as_written(&bundle, &strace).assert_ok();
    let text = fs::read_to_string(trace).unwrap();
    assert!(text.contains("open_tree("), "the sources are opened");
    for call in [
        "mkdir",
        "mknod",
        "mount(",
        "move_mount(",
        "pivot_root(",
        "symlink",
        "rename",
        "unlink",
        "O_CREAT",
        "O_WRONLY",
        "O_RDWR",
        "execve(\"/usr/bin/new",
    ] {
        let line = text.lines().find(|line| line.contains(call));
        assert_eq!(line, None);
    }
    let written = text.lines().filter(|line| line.contains(" write("));
    assert!(
        written.clone().all(|line| line.contains(" write(1, ")),
        "{written:?}"
    );
}
