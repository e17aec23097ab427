//! Volumes and mount propagation.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{Container, Pod};
use crate::command;
use crate::containerd::{Containerd, Test};

pub(super) const TESTS: &[Test] = &[
    ("mount", mount),
    ("mount_file", mount_file),
    ("mount_read_only", mount_read_only),
    ("mount_creates_the_source", mount_creates_the_source),
    ("mount_private", mount_private),
    ("mount_to_container", mount_to_container),
    ("mount_bidirectional", mount_bidirectional),
    ("mount_shared_between", mount_shared_between),
];

fn volume(source: &Path, mut more: Value) -> Value {
    more["host_path"] = source.display().to_string().into();
    more["container_path"] = "/data".into();
    json!({ "mounts": [more] })
}

fn mount(daemon: &Containerd) {
    let source = daemon.scratch("mount_source");
    fs::write(source.join("given"), "content").unwrap();
    let pod = Pod::new(daemon, "mount");
    let container = pod.idle(volume(&source, json!({})));
    assert_eq!(
        container.sh("cat /data/given; echo -n back > /data/returned"),
        "content"
    );
    assert_eq!(fs::read_to_string(source.join("returned")).unwrap(), "back");
}

fn mount_file(daemon: &Containerd) {
    let source = daemon.scratch("mount_file_source").join("file");
    fs::write(&source, "content").unwrap();
    let pod = Pod::new(daemon, "mount_file");
    assert_eq!(
        pod.idle(volume(&source, json!({})))
            .sh("cat /data; stat -c %F /data"),
        "contentregular file"
    );
}

fn mount_read_only(daemon: &Containerd) {
    let source = daemon.scratch("mount_read_only_source");
    let pod = Pod::new(daemon, "mount_read_only");
    let container = pod.idle(volume(&source, json!({ "readonly": true })));
    assert!(container.sh_fails("touch /data/file").contains("Read-only"));
}

/// containerd creates a missing source as a directory.
fn mount_creates_the_source(daemon: &Containerd) {
    let source = daemon.scratch("mount_made_source").join("not/there");
    let pod = Pod::new(daemon, "mount_creates_the_source");
    pod.idle(volume(&source, json!({}))).sh("touch /data/file");
    assert!(source.join("file").exists());
}

/// Mounts a tmpfs in the daemon's mount namespace, which is the host's from the view of the pods.
fn mount_on_host(container: &Container, place: &Path) {
    let shim = parent(container.pid());
    let mut nsenter = std::process::Command::new("nsenter");
    nsenter.args(["--target", &shim, "--mount", "mount", "-t", "tmpfs", "none"]);
    command::run(nsenter.arg(place)).ok();
}

fn parent(pid: u32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))
        .unwrap();
    line.trim().to_owned()
}

fn is_mounted(container: &Container) -> bool {
    container
        .sh("cat /proc/mounts")
        .contains(" /data/later tmpfs")
}

fn propagated(daemon: &Containerd, name: &str, propagation: &str) -> bool {
    let source = daemon.scratch(&format!("{name}_source"));
    let place = source.join("later");
    fs::create_dir_all(&place).unwrap();
    let pod = Pod::new(daemon, name);
    let container = pod.idle(volume(&source, json!({ "propagation": propagation })));
    assert!(!is_mounted(&container));
    mount_on_host(&container, &place);
    is_mounted(&container)
}

fn mount_private(daemon: &Containerd) {
    assert!(!propagated(daemon, "mount_private", "PROPAGATION_PRIVATE"));
}

fn mount_to_container(daemon: &Containerd) {
    assert!(propagated(
        daemon,
        "mount_to_container",
        "PROPAGATION_HOST_TO_CONTAINER"
    ));
}

/// Mounts of the container propagate to the host, and from there to other containers.
fn mount_bidirectional(daemon: &Containerd) {
    let source = daemon.scratch("mount_both_ways_source");
    fs::create_dir_all(source.join("later")).unwrap();
    let privileged = json!({ "security_context": { "privileged": true } });
    let pod = Pod::with(
        daemon,
        "mount_bidirectional",
        json!({ "linux": privileged }),
    );
    let mut more = volume(
        &source,
        json!({ "propagation": "PROPAGATION_BIDIRECTIONAL" }),
    );
    more["linux"] = privileged;
    let first = pod.run("first", more);
    let propagation = json!({ "propagation": "PROPAGATION_HOST_TO_CONTAINER" });
    let second = pod.run("second", volume(&source, propagation));
    first.sh("mount -t tmpfs none /data/later && echo there > /data/later/file");
    assert_eq!(second.sh("cat /data/later/file"), "there");
}

fn mount_shared_between(daemon: &Containerd) {
    let source = daemon.scratch("mount_shared_between_source");
    let pod = Pod::new(daemon, "mount_shared_between");
    let [one, two] = ["one", "two"].map(|name| pod.run(name, volume(&source, json!({}))));
    one.sh("echo word > /data/file");
    assert_eq!(two.sh("cat /data/file"), "word");
}
