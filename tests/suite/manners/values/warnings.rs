//! Values that are accepted with a warning.

use serde_json::json;

use crate::harness::{Bundle, Kind, Runtime, differs, on_v2, only_rt, skip, trials};
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_mistyped_capability_has_a_nearest_one,
        a_relative_destination_is_taken_from_the_root,
        a_cgroup_path_in_systemds_form_is_an_ordinary_path,
        a_mistyped_annotation_has_a_nearest_one,
        a_limit_on_kernel_memory_is_ignored,
    ]
}

/// The container runs, and the runtime says this line.
#[track_caller]
fn assert_warning(bundle: Bundle, line: &str) {
    let outcome = bundle.sh("exit 3").run().assert_code(3);
    if Kind::under_test() == Kind::Rt {
        assert_eq!(outcome.stderr, format!("rt: warning: {line}\n"));
    }
}

fn a_mistyped_capability_has_a_nearest_one() {
    differs(Kind::Crun, "prints no warning");
    assert_warning(
        Bundle::new().capabilities(&["CAP_KILL", "CAP_SYS_ADMN"]),
        "process.capabilities: unknown capability \"CAP_SYS_ADMN\" (did you mean \"CAP_SYS_ADMIN\"?) is ignored",
    );
    assert_warning(
        Bundle::new().capabilities(&["KILL", "CAP_NO_SUCH"]),
        "process.capabilities: unknown capabilities \"KILL\" (did you mean \"CAP_KILL\"?), \"CAP_NO_SUCH\" are ignored",
    );
}

fn a_relative_destination_is_taken_from_the_root() {
    let mount = json!({"destination": "data", "type": "tmpfs", "source": "tmpfs"});
    let bundle = Bundle::new().folder("data").mount(mount);
    let at = bundle.config().items("/mounts").len() - 1;
    assert_warning(
        bundle,
        &format!("mounts[{at}].destination: \"data\" is relative; taken as /data"),
    );
}

fn a_cgroup_path_in_systemds_form_is_an_ordinary_path() {
    if on_v2() {
        skip("on cgroup v2 a relative path starts beside the caller's cgroup");
    }
    let path = "suite.slice:values:1";
    assert_warning(
        Bundle::new().set("/linux/cgroupsPath", json!(path)),
        &format!(
            "linux.cgroupsPath: \"{path}\" is a path for --systemd-cgroup; it is used as an ordinary path"
        ),
    );
    // Without a cgroup the path is not used at all.
    only_rt("runc has no such flag");
    let runtime = Runtime::new();
    let bundle = Bundle::with_runtime(&runtime)
        .set("/linux/cgroupsPath", json!(path))
        .sh("exit 3");
    bundle.write();
    let directory = bundle.path().to_str().unwrap();
    let words = [
        "--cgroup-manager",
        "disabled",
        "run",
        "-b",
        directory,
        bundle.id(),
    ];
    let outcome = bundle.runtime().call(&words).run();
    assert!(!outcome.stderr.contains("cgroupsPath"), "{outcome}");
}

fn a_mistyped_annotation_has_a_nearest_one() {
    for (key, remedy) in [
        ("rt.rootfs.overlai", "did you mean rt.rootfs.overlay?"),
        ("rt.other", "docs/annotations.md lists those that rt knows"),
    ] {
        assert_warning(
            Bundle::new().set("/annotations", json!({ key: "x" })),
            &format!("annotations: {key}: unknown, ignored: {remedy}"),
        );
    }
}

fn a_limit_on_kernel_memory_is_ignored() {
    assert_warning(
        Bundle::new().set("/linux/resources/memory", json!({"kernel": 1 << 30})),
        "linux.resources.memory.kernel: ignored, as by runc: it is counted in memory.limit",
    );
}
