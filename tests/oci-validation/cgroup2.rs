//! config-linux.md, "Cgroup ownership" and "Unified": requirements for cgroup v2.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::common::{FIRST, assert_error, mapped};
use crate::harness::{Bundle, Kind, Runtime, View, cgroup_of, on_v2, skip, trials, violates};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        the_cgroup_belongs_to_root_of_the_container,
        the_cgroup_belongs_to_the_user_of_the_process,
        the_cgroup_keeps_its_owner_without_a_writable_mount,
        files_that_are_not_delegated_keep_their_owner,
        a_delegated_file_that_is_absent_is_no_failure,
        without_the_list_of_files_the_three_are_delegated,
        unified_values_are_written,
        an_unknown_unified_file_is_written,
        a_unified_file_of_an_absent_controller_is_an_error,
        a_limit_that_v2_does_not_have_is_an_error,
    ]
}

/// A container that sees cgroup v2 alone.
fn v2() -> Bundle {
    let bundle = Bundle::with_runtime(&Runtime::new().view(View::V2));
    let bundle = bundle
        .remove("/linux/resources")
        .without_mount("/sys/fs/cgroup");
    bundle.args(&["/probe", "sleep"])
}

/// One that root of its user namespace may divide further.
fn delegated() -> Bundle {
    v2_mount(mapped(v2()).namespace("cgroup", None), "rw")
}

/// Adds a mount of the cgroup that is read-only or writable.
fn v2_mount(bundle: Bundle, access: &str) -> Bundle {
    bundle.mount(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", access],
    }))
}

/// What Debian's runc does.
const WITH_SYSTEMD: &str = "changes owners only where systemd makes the cgroup";

fn owner(file: PathBuf) -> u32 {
    fs::metadata(&file)
        .unwrap_or_else(|e| panic!("{}: {e}", file.display()))
        .uid()
}

/// "Runtimes SHOULD change the cgroup ownership if and only if the cgroup filesystem is to be mounted read/write".
fn the_cgroup_belongs_to_root_of_the_container() {
    violates(Kind::Runc, WITH_SYSTEMD);
    let bundle = delegated();
    let cgroup = cgroup_of(bundle.create().pid(), "");
    assert_eq!(owner(cgroup.clone()), FIRST);
    assert_eq!(owner(cgroup.join("cgroup.procs")), FIRST);
}

/// "the host uid that maps to the value of process.user.uid in the container namespace"
fn the_cgroup_belongs_to_the_user_of_the_process() {
    violates(Kind::Runc, WITH_SYSTEMD);
    violates(Kind::Crun, "gives it to root of the container");
    let bundle = delegated().user(1000, 1000);
    let cgroup = cgroup_of(bundle.create().pid(), "");
    assert_eq!(owner(cgroup.clone()), FIRST + 1000);
    assert_eq!(owner(cgroup.join("cgroup.procs")), FIRST + 1000);
}

/// "if and only if the cgroup filesystem is to be mounted read/write", and "unless it will also create a new cgroup
/// namespace for the container".
fn the_cgroup_keeps_its_owner_without_a_writable_mount() {
    violates(Kind::Crun, "changes the owner of every cgroup");
    let mapped = || mapped(v2());
    for (case, bundle) in [
        (
            "read-only",
            v2_mount(mapped().namespace("cgroup", None), "ro"),
        ),
        ("no mount", mapped().namespace("cgroup", None)),
        ("no new cgroup namespace", v2_mount(mapped(), "rw")),
    ] {
        let cgroup = cgroup_of(bundle.create().pid(), "");
        assert_eq!(owner(cgroup.clone()), 0, "{case}");
        assert_eq!(owner(cgroup.join("cgroup.procs")), 0, "{case}");
    }
}

/// "The runtime SHOULD NOT change the ownership of any other files."
fn files_that_are_not_delegated_keep_their_owner() {
    violates(Kind::Runc, WITH_SYSTEMD);
    let list = fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap_or_default();
    let bundle = delegated();
    let cgroup = cgroup_of(bundle.create().pid(), "");
    for file in fs::read_dir(&cgroup).unwrap().flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        let expected = if list.lines().any(|line| line == name) {
            FIRST
        } else {
            0
        };
        assert_eq!(owner(file.path()), expected, "{name}");
    }
}

/// "not all files listed in /sys/kernel/cgroup/delegate necessarily exist in every cgroup. Runtimes MUST NOT fail in this
/// scenario": the kernel lists files of controllers that the cgroup does not have.
fn a_delegated_file_that_is_absent_is_no_failure() {
    let Ok(list) = fs::read_to_string("/sys/kernel/cgroup/delegate") else {
        skip("the kernel has no /sys/kernel/cgroup/delegate");
    };
    let bundle = delegated();
    let cgroup = cgroup_of(bundle.create().pid(), "");
    if list.lines().all(|name| cgroup.join(name).exists()) {
        skip("the cgroup has every file that the kernel delegates");
    }
}

/// "If the /sys/kernel/cgroup/delegate file does not exist, the runtime MUST fall back to using the following list of
/// files": cgroup.procs, cgroup.subtree_control, cgroup.threads.
fn without_the_list_of_files_the_three_are_delegated() {
    violates(Kind::Runc, WITH_SYSTEMD);
    violates(Kind::Crun, "changes no owner then");
    // A user namespace cannot mount a sysfs of which the host's is covered.
    let bundle = delegated().without_mount("/sys").folder("sys/fs/cgroup");
    let hide = "mount -t tmpfs none /sys/kernel/cgroup && exec \"$@\"";
    let hidden = ["unshare", "-m", "sh", "-c", hide, "sh"];
    bundle
        .call_through(&hidden, "create", &[])
        .run()
        .assert_ok();
    let cgroup = cgroup_of(bundle.container().pid(), "");
    for name in ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
        assert_eq!(owner(cgroup.join(name)), FIRST, "{name}");
    }
    assert_eq!(owner(cgroup.join("cgroup.max.depth")), 0);
}

/// What files of the cgroup say, with these values in `unified`.
#[track_caller]
fn unified(values: Value, names: &[&str]) -> Vec<String> {
    let bundle = v2().set("/linux/resources/unified", values);
    let cgroup = cgroup_of(bundle.create().pid(), "");
    let read = |name: &&str| {
        fs::read_to_string(cgroup.join(name))
            .unwrap()
            .trim()
            .to_owned()
    };
    names.iter().map(read).collect()
}

/// "The OCI runtime MUST ensure that the needed cgroup controllers are enabled for the cgroup."
fn unified_values_are_written() {
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    if !on_v2() || !controllers.contains("memory") {
        skip("this host does not use cgroup v2 alone, so v1 has the controllers");
    }
    let seen = unified(
        json!({"memory.high": "67108864", "pids.max": "44"}),
        &["memory.high", "pids.max"],
    );
    assert_eq!(seen, ["67108864", "44"]);
}

/// "Configuration unknown to the runtime MUST still be written to the relevant file."
fn an_unknown_unified_file_is_written() {
    let seen = unified(json!({"cgroup.max.depth": "5"}), &["cgroup.max.depth"]);
    assert_eq!(seen, ["5"]);
}

/// "The runtime MUST generate an error when the configuration refers to a cgroup controller that is not present or that
/// cannot be enabled."
fn a_unified_file_of_an_absent_controller_is_an_error() {
    violates(Kind::Crun, "leaves its cgroup behind");
    assert_error(v2().set("/linux/resources/unified", json!({"unheard_of.max": "1"})));
}

/// "If a controller is enabled on the cgroup v2 hierarchy but the configuration is provided for the cgroup v1 equivalent
/// controller, the runtime MAY attempt a conversion. If the conversion is not possible the runtime MUST generate an error."
fn a_limit_that_v2_does_not_have_is_an_error() {
    violates(Kind::Runc, "ignores it");
    violates(Kind::Crun, "leaves its cgroup behind");
    assert_error(v2().set("/linux/resources/memory", json!({"swappiness": 10})));
}
