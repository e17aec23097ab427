//! `process.selinuxLabel` and `linux.mountLabel`.
//!
//! Most tests load a small policy, and are skipped on a host whose SELinux is off or has a policy of its own.

mod mounts;
mod policy;

use serde_json::{Value, json};

use crate::exec::{exec, running};
use crate::harness::{Bundle, HostState, Kind, only_rt, skip, trials, violates};
use crate::runner::Test;
use policy::{is_on, require_policy, set_label};

pub(crate) fn tests() -> Vec<Test> {
    let process = trials![
        a_label_is_refused_without_selinux,
        a_mount_label_is_refused_without_selinux,
        a_label_of_exec_is_refused_without_selinux,
        an_empty_label_is_no_label,
        the_process_has_the_label,
        the_policy_confines_the_process,
        a_process_that_start_executes_has_the_label,
        the_session_keyring_has_the_label,
        a_process_of_exec_has_the_label_of_the_container_or_its_own,
        pid_1_and_its_child_have_the_label,
        a_seccomp_filter_and_a_label_can_be_combined,
        a_label_that_the_policy_does_not_have_is_refused,
        a_label_without_entry_point_is_refused_by_execve,
        no_new_privileges_needs_a_permission_of_the_policy,
        without_a_label_the_process_has_that_of_the_caller,
    ];
    process.into_iter().chain(mounts::tests()).collect()
}

const REFUSED: &str =
    "selinux label is specified in config, but selinux is disabled or not supported";

/// A process may have this label; a file, that of the second.
const CONTAINER: &str = "system_u:system_r:container_t:s0:c1,c2";
const CONTAINER_FILE: &str = "system_u:object_r:container_file_t:s0:c1,c2";

const LOOK: &str = "cat /proc/self/attr/current";

fn labelled(label: &str) -> Bundle {
    Bundle::new()
        .symlink("bin/cat", "busybox")
        .set("/process/selinuxLabel", json!(label))
}

fn in_user_namespace(bundle: Bundle) -> Bundle {
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    let bundle = bundle.namespace("user", None);
    let bundle = bundle.set("/linux/uidMappings", map.clone());
    bundle.set("/linux/gidMappings", map)
}

fn needs_no_selinux() {
    if is_on() {
        skip("SELinux is on here");
    }
}

fn a_label_is_refused_without_selinux() {
    needs_no_selinux();
    let bundle = labelled(CONTAINER);
    let before = HostState::of(&bundle);
    for verb in ["create", "run"] {
        let outcome = bundle.call(verb, &[]).run().assert_refused(REFUSED);
        if outcome.stderr.starts_with("rt ") {
            let line = format!(
                "rt {verb}: {}: process.selinuxLabel: {REFUSED}",
                bundle.id()
            );
            assert_eq!(outcome.one_line(), line);
        }
        before.assert_unchanged(&bundle);
    }
}

fn a_mount_label_is_refused_without_selinux() {
    violates(
        Kind::Runc,
        "passes it to the kernel, which refuses an unknown option",
    );
    violates(Kind::Crun, "ignores it");
    needs_no_selinux();
    let bundle = Bundle::new().set("/linux/mountLabel", json!(CONTAINER_FILE));
    let before = HostState::of(&bundle);
    let outcome = bundle.call("create", &[]).run().assert_refused(REFUSED);
    let line = format!("rt create: {}: linux.mountLabel: {REFUSED}", bundle.id());
    assert_eq!(outcome.one_line(), line);
    before.assert_unchanged(&bundle);
}

fn a_label_of_exec_is_refused_without_selinux() {
    only_rt("runc ignores it");
    needs_no_selinux();
    let (bundle, _container) = running(Bundle::new());
    let outcome = exec(&bundle, &["--process-label", CONTAINER], &["/bin/true"]);
    let outcome = outcome.assert_code(255);
    assert!(
        outcome
            .one_line()
            .ends_with(&format!(": process.selinuxLabel: {REFUSED}")),
        "{outcome}"
    );
}

fn an_empty_label_is_no_label() {
    let bundle = labelled("").set("/linux/mountLabel", json!(""));
    bundle.args(&["/bin/true"]).run().assert_ok();
}

/// The label as a program reads it from /proc: with a NUL at the end.
fn shown(label: &str) -> String {
    format!("{label}\0")
}

fn the_process_has_the_label() {
    require_policy();
    for uid in [0, 1000] {
        for none in [true, false] {
            let bundle = labelled(CONTAINER).sh(LOOK).user(uid, uid);
            let bundle = bundle.set("/process/noNewPrivileges", json!(none));
            assert_eq!(bundle.run().assert_ok().stdout, shown(CONTAINER));
        }
    }
}

/// A file with a label that the policy hides from containers.
fn with_secret(bundle: Bundle) -> Bundle {
    let bundle = bundle.file("secret", "plain\n").sh("cat /secret; echo $?");
    set_label(
        &bundle.rootfs().join("secret"),
        "system_u:object_r:secret_t:s0",
    );
    bundle
}

fn the_policy_confines_the_process() {
    require_policy();
    let outcome = with_secret(labelled(CONTAINER)).run();
    assert_eq!(outcome.stdout, "1\n", "{outcome}");
    assert!(outcome.stderr.contains("Permission denied"), "{outcome}");
    let outcome = with_secret(labelled("")).run();
    assert_eq!(outcome.stdout, "plain\n0\n", "{outcome}");
}

fn a_process_that_start_executes_has_the_label() {
    require_policy();
    let bundle = labelled(CONTAINER).sh(LOOK);
    let container = bundle.create();
    container.start().assert_ok();
    container.wait_stopped();
    assert_eq!(container.stdout(), shown(CONTAINER));
    container.delete().assert_ok();
}

fn the_session_keyring_has_the_label() {
    require_policy();
    let bundle = labelled(CONTAINER).args(&["/probe", "keyring-label"]);
    assert_eq!(bundle.run().assert_ok().stdout, format!("{CONTAINER}\n"));
}

fn a_process_of_exec_has_the_label_of_the_container_or_its_own() {
    require_policy();
    for bundle in [labelled(CONTAINER), in_user_namespace(labelled(CONTAINER))] {
        let (bundle, _container) = running(bundle);
        let outcome = exec(&bundle, &[], &["/bin/sh", "-c", LOOK]).assert_ok();
        assert_eq!(outcome.stdout, shown(CONTAINER));
        let other = "system_u:system_r:container_t:s0:c3";
        let flags = ["--process-label", other];
        let outcome = exec(&bundle, &flags, &["/bin/sh", "-c", LOOK]);
        assert_eq!(outcome.assert_ok().stdout, shown(other));
        let outcome = exec(&bundle, &[], &["/probe", "keyring-label"]).assert_ok();
        assert_eq!(outcome.stdout, format!("{CONTAINER}\n"));
    }
}

fn pid_1_and_its_child_have_the_label() {
    only_rt("rt.init is an annotation of rt");
    require_policy();
    let bundle = labelled(CONTAINER).sh("cat /proc/1/attr/current /proc/self/attr/current");
    let bundle = bundle.set("/annotations/rt.init", json!("true"));
    assert_eq!(bundle.run().assert_ok().stdout, shown(CONTAINER).repeat(2));
}

fn a_seccomp_filter_and_a_label_can_be_combined() {
    require_policy();
    let docker = include_str!("../configs/docker-plain.json");
    let docker: Value = serde_json::from_str(docker).unwrap();
    for none in [true, false] {
        let bundle = labelled(CONTAINER)
            .sh(LOOK)
            .set("/process/noNewPrivileges", json!(none))
            .set("/linux/seccomp", docker["linux"]["seccomp"].clone());
        assert_eq!(bundle.run().assert_ok().stdout, shown(CONTAINER));
    }
}

fn a_label_that_the_policy_does_not_have_is_refused() {
    require_policy();
    let bundle = labelled("system_u:system_r:nosuch_t:s0");
    let before = HostState::of(&bundle);
    let outcome = bundle.call("create", &[]).run().assert_refused("/attr/");
    if outcome.stderr.starts_with("rt ") {
        let id = bundle.id();
        let text = format!(
            "process.selinuxLabel: write \"system_u:system_r:nosuch_t:s0\" to `/proc/self/attr/keycreate` and join \
             session keyring _ses.{id}: invalid argument (EINVAL; the policy that is loaded does not have this label)"
        );
        assert_eq!(outcome.one_line(), format!("rt create: {id}: {text}"));
    }
    before.assert_unchanged(&bundle);
    let outcome = bundle.call("create", &["--no-new-keyring"]).run();
    if outcome.stderr.starts_with("rt ") {
        let text = "process.selinuxLabel: write \"system_u:system_r:nosuch_t:s0\" to `/proc/self/attr/exec`: \
                    invalid argument (EINVAL; the policy that is loaded does not have this label)";
        assert_eq!(
            outcome.one_line(),
            format!("rt create: {}: {text}", bundle.id())
        );
    }
    before.assert_unchanged(&bundle);
}

fn a_label_without_entry_point_is_refused_by_execve() {
    require_policy();
    let bundle = labelled("system_u:system_r:locked_t:s0").args(&["/bin/true"]);
    let bundle = bundle.set("/process/noNewPrivileges", json!(false));
    let before = HostState::of(&bundle);
    let outcome = bundle.run();
    assert_ne!(outcome.code(), 0, "{outcome}");
    assert!(
        outcome.stderr.to_lowercase().contains("permission denied"),
        "{outcome}"
    );
    before.assert_unchanged(&bundle);
}

fn no_new_privileges_needs_a_permission_of_the_policy() {
    require_policy();
    let confined = "system_u:system_r:confined_t:s0";
    let bundle = labelled(confined).sh(LOOK);
    let bundle = bundle.set("/process/noNewPrivileges", json!(false));
    assert_eq!(bundle.run().assert_ok().stdout, shown(confined));
    let bundle = bundle.set("/process/noNewPrivileges", json!(true));
    let outcome = bundle.run();
    assert_ne!(outcome.code(), 0, "{outcome}");
    if Kind::under_test() == Kind::Rt {
        let text = "exec /bin/sh: operation not permitted (does the policy let rt start it with \
                    process.selinuxLabel? see ausearch -m avc)";
        assert_eq!(outcome.one_line(), text);
    }
}

fn without_a_label_the_process_has_that_of_the_caller() {
    require_policy();
    let bundle = labelled("").sh(LOOK);
    let own = std::fs::read_to_string("/proc/self/attr/current").unwrap();
    assert_eq!(bundle.run().assert_ok().stdout, own);
}
