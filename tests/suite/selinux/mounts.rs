//! `linux.mountLabel`.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::policy::{label, require_policy};
use super::{CONTAINER, CONTAINER_FILE, in_user_namespace, labelled};
use crate::harness::{Bundle, Container, HostState, only_rt, trials};
use crate::network::Host;
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    trials![
        new_file_systems_have_the_label,
        a_mount_keeps_the_label_of_its_own_options,
        bind_mounts_keep_the_label_of_their_source,
        the_queues_of_the_host_keep_their_label,
        masked_directories_have_the_label,
        a_directory_of_cgroups_has_the_label,
        an_overlay_and_written_files_have_the_label,
        a_user_namespace_changes_nothing,
        a_mount_label_that_the_policy_does_not_have_is_refused,
    ]
}

const FILE: &str = "system_u:object_r:file_t:s0";

fn bundle() -> Bundle {
    labelled(CONTAINER)
        .set("/linux/mountLabel", json!(CONTAINER_FILE))
        .args(&["/bin/sleep", "1000"])
}

/// The label of a file of a running container.
#[track_caller]
fn inside(container: &Container, path: &str) -> String {
    let root = PathBuf::from(format!("/proc/{}/root", container.pid()));
    label(&root.join(path.trim_start_matches('/')))
}

#[track_caller]
fn assert_labels(bundle: &Bundle, labels: &[(&str, &str)]) {
    let container = bundle.run_detached();
    for (path, expected) in labels {
        assert_eq!(inside(&container, path), *expected, "{path}");
    }
}

fn new_file_systems_have_the_label() {
    require_policy();
    let tmpfs = json!({ "destination": "/made", "type": "tmpfs", "source": "tmpfs" });
    let bundle = bundle().mount(tmpfs);
    assert_labels(
        &bundle,
        &[
            ("/made", CONTAINER_FILE),
            ("/dev", CONTAINER_FILE),
            ("/dev/null", CONTAINER_FILE),
            ("/dev/shm", CONTAINER_FILE),
            ("/dev/pts", CONTAINER_FILE),
            ("/dev/pts/ptmx", CONTAINER_FILE),
            ("/dev/mqueue", CONTAINER_FILE),
            // The policy gives these their labels.
            ("/proc", FILE),
            ("/sys", FILE),
            ("/bin/sh", FILE),
        ],
    );
}

fn a_mount_keeps_the_label_of_its_own_options() {
    only_rt("runc sets both, which the kernel refuses");
    require_policy();
    let own = "system_u:object_r:secret_t:s0:c1,c3";
    let option = format!("context=\"{own}\"");
    let tmpfs = json!({
        "destination": "/made", "type": "tmpfs", "source": "tmpfs", "options": [option],
    });
    assert_labels(&bundle().mount(tmpfs), &[("/made", own)]);
}

fn bind_mounts_keep_the_label_of_their_source() {
    require_policy();
    let bundle = bundle().folder("source");
    let source = bundle.rootfs().join("source");
    let bundle = bundle.bind(&source, "/bound", &["bind"]);
    assert_labels(&bundle, &[("/bound", FILE)]);
    assert_eq!(label(&source), FILE);
}

fn the_queues_of_the_host_keep_their_label() {
    only_rt("runc gives the host's queues the label of the container");
    require_policy();
    let before = label(Path::new("/dev/mqueue"));
    let bundle = bundle().without_namespace("ipc");
    assert_labels(
        &bundle,
        &[("/dev/mqueue", &before), ("/dev/shm", CONTAINER_FILE)],
    );
    assert_eq!(label(Path::new("/dev/mqueue")), before);
}

fn masked_directories_have_the_label() {
    require_policy();
    let bundle = bundle()
        .folder("hidden")
        .set("/linux/maskedPaths", json!(["/hidden", "/proc/kcore"]));
    assert_labels(&bundle, &[("/hidden", CONTAINER_FILE)]);
}

fn a_directory_of_cgroups_has_the_label() {
    require_policy();
    let cgroups = json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup" });
    let bundle = bundle().without_mount("/sys/fs/cgroup").mount(cgroups);
    // On v2 it is no tmpfs, and the policy gives it its label.
    assert_labels(&bundle, &[("/sys/fs/cgroup", FILE)]);
}

fn an_overlay_and_written_files_have_the_label() {
    only_rt("the annotations are those of rt");
    require_policy();
    let bundle = bundle().set("/annotations/rt.rootfs.overlay", json!("ephemeral"));
    let labels = ["/", "/bin/sh"].map(|path| (path, CONTAINER_FILE));
    assert_labels(&bundle, &labels);
    let host = Host::new();
    let bundle = host
        .bundle(&[
            ("bridge", "br0"),
            ("subnet", "10.88.0.1/24"),
            ("dns", "192.0.2.53"),
        ])
        .set("/linux/mountLabel", json!(CONTAINER_FILE));
    assert_labels(&bundle, &[("/etc/resolv.conf", CONTAINER_FILE)]);
}

fn a_user_namespace_changes_nothing() {
    require_policy();
    let bundle = in_user_namespace(bundle());
    assert_labels(
        &bundle,
        &[
            ("/dev/shm", CONTAINER_FILE),
            ("/dev/pts", CONTAINER_FILE),
            ("/dev/mqueue", CONTAINER_FILE),
        ],
    );
}

fn a_mount_label_that_the_policy_does_not_have_is_refused() {
    require_policy();
    let bundle = Bundle::new().set("/linux/mountLabel", json!("system_u:object_r:nosuch_t:s0"));
    let before = HostState::of(&bundle);
    let outcome = bundle.call("create", &[]).run().assert_refused("/dev");
    if outcome.stderr.starts_with("rt ") {
        let text = "context=system_u:object_r:nosuch_t:s0";
        assert!(outcome.one_line().contains(text), "{outcome}");
    }
    before.assert_unchanged(&bundle);
}
