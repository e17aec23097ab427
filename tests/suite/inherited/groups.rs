//! The annotation `run.oci.keep_original_groups`, which Podman sets for `--group-add keep-groups`: the
//! container's process keeps the caller's supplementary groups and their access to files.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};

use crate::runner::Test;
use serde_json::json;

use crate::harness::{Bundle, HostState, Kind, Report, Runtime, differs, only_rt, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![
        the_annotation_keeps_the_groups_of_the_caller,
        other_values_of_the_annotation_do_not_keep_groups,
        kept_groups_give_access_to_files,
        an_unprivileged_user_keeps_groups_in_a_user_namespace,
        root_keeps_an_unmapped_group_in_a_user_namespace,
        exec_keeps_the_groups_of_the_caller,
        the_annotation_overrides_the_groups_of_the_config,
    ]
}

const KEY: &str = "run.oci.keep_original_groups";
const NOT_RUNC: &str = "the annotation is crun's; runc does not implement it";

/// Runs the runtime with two supplementary groups.
const CALLER: [&str; 3] = ["setpriv", "--groups", "10,27"];

fn keeping() -> Bundle {
    Bundle::new().set("/annotations", json!({ KEY: "1" }))
}

fn groups(seen: &Report) -> Vec<u64> {
    let groups = seen["groups"].as_array().unwrap();
    groups.iter().map(|group| group.as_u64().unwrap()).collect()
}

fn the_annotation_keeps_the_groups_of_the_caller() {
    differs(Kind::Runc, NOT_RUNC);
    for (uid, gid) in [(0, 0), (1000, 1000)] {
        let bundle = keeping().user(uid, gid);
        let seen = bundle.probe_call(&CALLER, &[]).assert_report();
        assert_eq!(groups(&seen), [10, 27]);
        assert_eq!((&seen["uid"], &seen["gid"]), (&json!(uid), &json!(gid)));
    }
}

fn other_values_of_the_annotation_do_not_keep_groups() {
    let bundle = Bundle::new().set("/annotations", json!({ KEY: "0" }));
    let seen = bundle.probe_call(&CALLER, &[]).assert_report();
    assert_eq!(groups(&seen), [0u64; 0]);
    only_rt("other runtimes accept every value, or ignore the annotation");
    for value in ["", "true", "yes", " 1"] {
        let bundle = Bundle::new()
            .set("/annotations", json!({ KEY: value }))
            .args(&["/bin/true"]);
        let before = HostState::of(&bundle);
        let refused = bundle.run().assert_code(1);
        let line = format!("annotations: {KEY}: {value:?} is neither \"1\" nor \"0\"");
        assert!(refused.one_line().ends_with(&line), "{refused}");
        before.assert_unchanged(&bundle);
    }
}

/// Podman's users need it for a device or a directory of a group.
fn kept_groups_give_access_to_files() {
    differs(Kind::Runc, NOT_RUNC);
    for (keep, status) in [("1", 0), ("0", 1)] {
        let bundle = Bundle::new()
            .user(1000, 1000)
            .set("/annotations", json!({ KEY: keep }));
        let shared = bundle.runtime().home().join("shared");
        fs::write(&shared, "for group 27").unwrap();
        chown(&shared, Some(0), Some(27)).unwrap();
        fs::set_permissions(&shared, Permissions::from_mode(0o040)).unwrap();
        let bundle = bundle
            .file("shared", "")
            .bind(&shared, "/shared", &["bind"])
            .args(&["/bin/cat", "/shared"]);
        let outcome = bundle.call_through(&CALLER, "run", &[]).run();
        assert_eq!(outcome.code(), status, "{outcome}");
    }
}

/// Rootless Podman: the supplementary group is not mapped in the user namespace, and still gives
/// access to files.
fn an_unprivileged_user_keeps_groups_in_a_user_namespace() {
    differs(Kind::Runc, NOT_RUNC);
    let caller = [
        "setpriv",
        "--reuid=4001",
        "--regid=4001",
        "--groups=4444",
        "--inh-caps=-all",
        "--",
        "env",
        "-i",
        "PATH=/usr/bin:/bin",
        "HOME=~",
        "XDG_RUNTIME_DIR=~",
    ];
    let runtime = Runtime::new().of_caller(4001, &caller);
    let bundle = Bundle::with_runtime(&runtime)
        .namespace("user", None)
        .set(
            "/linux/uidMappings",
            json!([{"containerID": 0, "hostID": 4001, "size": 1}]),
        )
        .set(
            "/linux/gidMappings",
            json!([{"containerID": 0, "hostID": 4001, "size": 1}]),
        )
        .remove("/linux/resources")
        .set("/annotations", json!({ KEY: "1" }));
    chown(bundle.path(), Some(4001), Some(4001)).unwrap();
    let bundle = with_file_of(4444, bundle);
    let outcome = bundle.run().assert_ok();
    assert_eq!(outcome.stdout, "for the group\n0 65534\n");
}

/// Root in a user namespace could drop its groups, including unmapped ones.
fn root_keeps_an_unmapped_group_in_a_user_namespace() {
    differs(Kind::Runc, NOT_RUNC);
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    for (keep, output) in [("1", "for the group\n0 65534\n"), ("0", "0\n")] {
        let bundle = Bundle::new()
            .namespace("user", None)
            .set("/linux/uidMappings", map.clone())
            .set("/linux/gidMappings", map.clone())
            .set("/annotations", json!({ KEY: keep }));
        let bundle = with_file_of(4444, bundle);
        let caller = ["setpriv", "--groups", "4444"];
        let outcome = bundle.call_through(&caller, "run", &[]).run().assert_ok();
        assert_eq!(outcome.stdout, output);
    }
}

/// A bundle that prints a file that only this group may read, and the groups of the process.
fn with_file_of(group: u32, bundle: Bundle) -> Bundle {
    let shared = bundle.runtime().home().join("shared");
    fs::write(&shared, "for the group\n").unwrap();
    chown(&shared, Some(0), Some(group)).unwrap();
    fs::set_permissions(&shared, Permissions::from_mode(0o040)).unwrap();
    bundle
        .set(
            "/mounts",
            json!([
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
            ]),
        )
        .remove("/linux/maskedPaths")
        .remove("/linux/readonlyPaths")
        .file("shared", "")
        .bind(&shared, "/shared", &["rbind"])
        .sh("cat /shared; id -G")
}

fn exec_keeps_the_groups_of_the_caller() {
    differs(Kind::Runc, NOT_RUNC);
    let bundle = keeping().args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    let args = ["exec", bundle.id(), "/probe", "report"];
    let call = bundle.runtime().call_through(&CALLER, &args);
    assert_eq!(groups(&call.assert_report()), [10, 27]);
    container.end();

    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    let args = ["exec", bundle.id(), "/probe", "report"];
    let call = bundle.runtime().call_through(&CALLER, &args);
    assert_eq!(groups(&call.assert_report()), [0u64; 0]);
    container.end();
}

/// crun(1): with the annotation, setgroups(2) is not called. Podman also writes the groups of the
/// image's user, which have no effect then.
fn the_annotation_overrides_the_groups_of_the_config() {
    differs(Kind::Runc, NOT_RUNC);
    let bundle = keeping().set("/process/user/additionalGids", json!([7, 8]));
    let seen = bundle.probe_call(&CALLER, &[]).assert_report();
    assert_eq!(groups(&seen), [10, 27]);
}
