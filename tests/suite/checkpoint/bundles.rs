//! What a container has is restored: namespaces, mounts, masks, terminals, connections.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::json;

use super::{Counter, in_user_namespace};
use crate::harness::{
    Bundle, Call, Directory, Holder, HostState, Kind, differs, namespace_of, needs, only_rt, trials,
};
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    trials![
        bind_mounts_and_those_below_them,
        a_joined_network_namespace,
        the_network_namespace_of_the_host,
        a_link_out_of_the_network_namespace_is_left_to_hooks,
        a_user_namespace,
        a_user_namespace_with_other_ids,
        a_configuration_of_docker,
        an_overlay_that_keeps_its_changes,
        a_stream_that_is_a_file_has_to_be_passed_again,
        what_criu_cannot_do_is_refused_by_name,
    ]
}

fn bind_mounts_and_those_below_them() {
    let (outer, inner) = (Directory::new(), Directory::new());
    fs::create_dir(outer.join("below")).unwrap();
    fs::write(inner.join("file"), "inner\n").unwrap();
    fs::write(outer.join("file"), "outer\n").unwrap();
    let bundle = Bundle::new()
        .bind(outer.path(), "/outer", &["bind", "ro"])
        .bind(inner.path(), "/outer/below", &["bind"])
        .bind(&outer.join("file"), "/one", &["bind"]);
    let mut counter = Counter::new(bundle);
    counter.start();
    counter.round();
    let (runtime, id) = (counter.bundle.runtime(), counter.bundle.id());
    let script =
        "cat /outer/file /outer/below/file /one; echo x > /outer/new; echo x > /outer/below/new";
    let seen = runtime.call(&["exec", id, "/bin/sh", "-c", script]).run();
    assert_eq!(seen.stdout, "outer\ninner\nouter\n");
    assert!(seen.stderr.contains("Read-only file system"), "{seen}");
    assert!(inner.join("new").exists() && !outer.join("new").exists());
}

fn a_joined_network_namespace() {
    let holder = Holder::new(&["--net"]);
    let bundle = Bundle::new().namespace("network", Some(&holder.path("net")));
    let mut counter = Counter::new(bundle);
    counter.start();
    counter.round();
    let pid = counter.bundle.container().pid().to_string();
    assert_eq!(
        namespace_of(&pid, "net"),
        namespace_of(&holder.pid().to_string(), "net")
    );
}

fn the_network_namespace_of_the_host() {
    let mut counter = Counter::new(Bundle::new().without_namespace("network"));
    counter.start();
    counter.round();
    let pid = counter.bundle.container().pid().to_string();
    assert_eq!(namespace_of(&pid, "net"), namespace_of("self", "net"));
}

/// An engine makes it again. CRIU could not, because the other end is not in the container.
fn a_link_out_of_the_network_namespace_is_left_to_hooks() {
    needs("ip", "iproute2");
    let mut counter = Counter::new(Bundle::new());
    let pid = counter.start().pid().to_string();
    let name = format!("rtckpt{pid}");
    let mut add = Command::new("ip");
    add.args(["link", "add", &name, "type", "veth"]);
    add.args(["peer", "name", "eth0", "netns", &pid]);
    assert!(add.status().unwrap().success());
    counter.checkpoint(&[]).assert_ok();
    counter.assert_gone();
    counter.restore(&[]).assert_ok();
    counter.wait_for_more();
    let pid = counter.bundle.container().pid();
    let seen = |file: &str| fs::read_to_string(format!("/proc/{pid}/net/{file}")).unwrap();
    let links = seen("dev");
    assert!(links.contains("lo:") && !links.contains("eth0:"), "{links}");
    if Kind::under_test() == Kind::Rt {
        // The kernel has this route while lo is up.
        let routes = seen("fib_trie");
        assert!(routes.contains("127.0.0.1"), "{routes}");
    }
}

fn a_user_namespace() {
    differs(
        Kind::Runc,
        "does not always restore the devices of a user namespace",
    );
    let mut counter = Counter::new(in_user_namespace(Bundle::new()));
    counter.start();
    counter.round();
    let pid = counter.bundle.container().pid().to_string();
    assert_ne!(namespace_of(&pid, "user"), namespace_of("self", "user"));
}

/// CRIU then looks for everything as a user without rights on the host, also for the images.
fn a_user_namespace_with_other_ids() {
    differs(
        Kind::Runc,
        "Debian's does not checkpoint it with CRIU 3.17 on cgroup v2",
    );
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    let bundle = Bundle::new().namespace("user", None);
    let bundle = bundle.set("/linux/uidMappings", map.clone());
    let mut counter = Counter::new(bundle.set("/linux/gidMappings", map));
    let images = counter.images();
    fs::create_dir(&images).unwrap();
    for (directory, mode) in [(images.as_path(), 0o711), (counter.files.path(), 0o777)] {
        fs::set_permissions(directory, fs::Permissions::from_mode(mode)).unwrap();
    }
    counter.start();
    counter.round();
    let pid = counter.bundle.container().pid();
    let map = fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
    assert!(map.contains(" 100000 "), "{map}");
}

/// With its masks, capabilities and seccomp filter.
fn a_configuration_of_docker() {
    let docker = include_str!("../configs/docker-plain.json");
    let docker: serde_json::Value = serde_json::from_str(docker).unwrap();
    let linux = &docker["linux"];
    let bundle = Bundle::new()
        .set("/linux/seccomp", linux["seccomp"].clone())
        .set("/linux/maskedPaths", linux["maskedPaths"].clone())
        .set("/linux/readonlyPaths", linux["readonlyPaths"].clone())
        .set(
            "/process/capabilities",
            docker["process"]["capabilities"].clone(),
        );
    let mut counter = Counter::new(bundle);
    counter.start();
    counter.round();
    let pid = counter.bundle.container().pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("Seccomp:\t2\n"), "{status}");
    let root = format!("/proc/{pid}/root");
    assert_eq!(fs::read_to_string(format!("{root}/proc/keys")).unwrap(), "");
}

fn an_overlay_that_keeps_its_changes() {
    only_rt("the annotation is rt's");
    let layer = Directory::new();
    let bundle = Bundle::new().writable();
    let bundle = bundle.set("/annotations/rt.rootfs.overlay", json!(layer.path()));
    let mut counter = Counter::new(bundle);
    counter.start();
    let (runtime, id) = (counter.bundle.runtime(), counter.bundle.id());
    let write = runtime.call(&["exec", id, "/bin/sh", "-c", "echo kept > /tmp/file"]);
    write.run().assert_ok();
    counter.checkpoint(&[]).assert_ok();
    counter.assert_gone();
    counter.restore(&[]).assert_ok();
    counter.wait_for_more();
    let (runtime, id) = (counter.bundle.runtime(), counter.bundle.id());
    let read = runtime.call(&["exec", id, "/bin/cat", "/tmp/file"]).run();
    assert_eq!(read.assert_ok().stdout, "kept\n");
}

fn a_stream_that_is_a_file_has_to_be_passed_again() {
    only_rt("runc does not checkpoint it");
    let mut counter = Counter::new(Bundle::new());
    let files = Directory::new();
    let file = || File::create(files.join("output")).unwrap();
    let to_file = |call: Call| call.with(|command| command.stdout(file()).stderr(file()));
    let call = to_file(counter.bundle.call("run", &["--detach"]));
    call.run().assert_ok();
    counter.wait_for_more();
    counter.checkpoint(&[]).assert_ok();
    counter.assert_gone();
    let before = HostState::of(&counter.bundle);
    let refused = counter.restore(&[]).assert_code(1);
    let text = "; a standard stream was a file of the host: the caller has to pass the same one, with the same size)";
    assert!(refused.one_line().ends_with(text), "{refused}");
    before.assert_unchanged(&counter.bundle);
    let call = to_file(counter.restore_call(&[], "images", &[]));
    call.run().assert_ok();
    counter.wait_for_more();
}

fn what_criu_cannot_do_is_refused_by_name() {
    only_rt("the annotations and texts are rt's");
    for (key, value, text) in [
        (
            "rt.rootfs.overlay",
            "ephemeral",
            "changes that are in memory",
        ),
        (
            "rt.init",
            "true",
            "PID 1, whose file is not in the container",
        ),
    ] {
        let bundle = Bundle::new().set(&format!("/annotations/{key}"), json!(value));
        let mut counter = Counter::new(bundle);
        let container = counter.start();
        let refused = counter.checkpoint(&[]).assert_code(1);
        assert!(
            refused
                .one_line()
                .contains(&format!("annotations: {key}: ")),
            "{refused}"
        );
        assert!(refused.one_line().contains(text), "{refused}");
        assert!(!counter.images().exists());
        assert_eq!(container.status(), "running");
        counter.wait_for_more();
    }
}
