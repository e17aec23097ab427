//! The annotation `rt.rootfs.lower`: layers above `root.path`, which overlayfs merges.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::harness::{Bundle, Container, HostState, only_rt, trials};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        the_top_layer_comes_first,
        without_an_upper_layer_the_root_is_read_only,
        whiteouts_and_opaque_directories_hide_what_is_below,
        a_hundred_layers_are_merged,
        lower_layers_never_change,
        a_mount_point_that_no_layer_has_names_the_remedy,
        layers_that_cannot_be_merged_are_refused_by_name,
        a_layer_that_root_of_a_user_namespace_cannot_read_is_refused,
        the_state_names_the_layers,
        check_finds_what_create_refuses,
    ]
}

const LOWER: &str = "/annotations/rt.rootfs.lower";
const OVERLAY: &str = "/annotations/rt.rootfs.overlay";

/// A bundle with these layers, each of which has its own name in /which.
fn with_layers(names: &[&str]) -> Bundle {
    only_rt("the annotation is rt's own");
    let bundle = Bundle::new().writable();
    for name in names {
        let layer = bundle.path().join(name);
        fs::create_dir_all(&layer).unwrap();
        fs::write(layer.join("which"), format!("{name}\n")).unwrap();
    }
    bundle
        .set(LOWER, json!(names.join(", ")))
        .set(OVERLAY, json!("ephemeral"))
}

fn the_top_layer_comes_first() {
    let bundle = with_layers(&["top", "middle"])
        .file("which", "root\n")
        .sh("cat /which /only; ls -d /etc");
    fs::write(bundle.path().join("middle/only"), "middle\n").unwrap();
    let before = HostState::of(&bundle);
    assert_eq!(bundle.run().assert_ok().stdout, "top\nmiddle\n/etc\n");
    before.assert_unchanged(&bundle);
}

fn without_an_upper_layer_the_root_is_read_only() {
    let bundle = with_layers(&["top"])
        .remove(OVERLAY)
        .sh("cat /which; /probe write /new x; /probe write /which x");
    let refused = bundle.run().assert_refused(
        "annotations: rt.rootfs.lower: nothing takes the container's changes; set rt.rootfs.overlay, or root.readonly",
    );
    refused.one_line();
    let bundle = bundle.set("/root/readonly", json!(true));
    let before = HostState::of(&bundle);
    assert_eq!(bundle.run().stdout, "top\nEROFS\nEROFS\n");
    before.assert_unchanged(&bundle);
}

/// The upper layer of one container is a lower layer of the next.
fn whiteouts_and_opaque_directories_hide_what_is_below() {
    for in_user_namespace in [false, true] {
        let bundle = with_layers(&[])
            .remove(LOWER)
            .set(OVERLAY, json!("changes"))
            .file("gone", "")
            .file("opaque/below", "")
            .file("merged/below", "");
        let bundle = if in_user_namespace {
            let owner = "100000:100000";
            let given = Command::new("chown")
                .args(["-hR", owner])
                .arg(bundle.rootfs())
                .status();
            assert!(given.unwrap().success());
            in_namespace(bundle)
        } else {
            bundle
        };
        let script = "rm -r /gone /opaque; mkdir /opaque; touch /opaque/above /merged/above";
        let bundle = bundle.sh(script);
        bundle.run().assert_ok();
        let bundle = bundle
            .set(LOWER, json!("changes/upper"))
            .set(OVERLAY, json!("ephemeral"))
            .sh("ls /opaque /merged; ls -d /gone");
        let output = bundle.run();
        let expected = "/merged:\nabove\nbelow\n\n/opaque:\nabove\n";
        assert_eq!(output.stdout, expected, "{output}");
        assert!(
            output.stderr.contains("/gone: No such file or directory"),
            "{output}"
        );
    }
}

/// The same container with a user namespace, whose root is uid 100000 on the host.
fn in_namespace(bundle: Bundle) -> Bundle {
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    bundle
        .namespace("user", None)
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
}

fn a_hundred_layers_are_merged() {
    let names: Vec<String> = (0..100).map(|number| format!("layers/{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let bundle = with_layers(&names).sh("cat /which; ls -d /own-* | wc -l; ls -d /etc");
    for name in &names {
        let file = format!("own-{}", name.replace('/', "-"));
        fs::write(bundle.path().join(name).join(file), "").unwrap();
    }
    let before = HostState::of(&bundle);
    assert_eq!(bundle.run().assert_ok().stdout, "layers/0\n100\n/etc\n");
    before.assert_unchanged(&bundle);
    let too_many = vec!["a"; 500].join(",");
    let refused = bundle.set(LOWER, json!(too_many)).run().assert_refused(
        "annotations: rt.rootfs.lower: 500 layers; overlayfs takes at most 500, with root.path",
    );
    refused.one_line();
}

fn lower_layers_never_change() {
    let change =
        "echo new > /etc/old; rm /which /etc/passwd; chmod 700 /bin; chown 7 /etc; mv /bin/sh /sh";
    let layered = || with_layers(&["top"]).file("etc/old", "old").sh(change);
    let layers = |bundle: &Bundle| {
        let top = bundle.path().join("top");
        (inventory(&bundle.rootfs()), inventory(&top))
    };
    for overlay in ["ephemeral", "changes"] {
        let bundle = layered().set(OVERLAY, json!(overlay));
        let before = layers(&bundle);
        bundle.run().assert_ok();
        assert_eq!(before, layers(&bundle), "with {overlay}");
    }
}

/// Every file below a directory, with its metadata and content.
fn inventory(top: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![top.to_owned()];
    while let Some(path) = waiting.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_file() {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        let owner = format!("{} {}:{}", path.display(), meta.uid(), meta.gid());
        let times = (
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
        );
        let size = (
            meta.nlink(),
            content.len(),
            content.iter().map(|byte| u64::from(*byte)).sum::<u64>(),
        );
        found.insert(format!(
            "{owner} {:o} {} {times:?} {size:?}",
            meta.mode(),
            meta.rdev()
        ));
        if meta.is_dir() {
            waiting.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
    }
    found
}

fn a_mount_point_that_no_layer_has_names_the_remedy() {
    let bundle = with_layers(&["top"])
        .remove(OVERLAY)
        .set("/root/readonly", json!(true))
        .mount(json!({"destination": "/no/such", "type": "tmpfs", "source": "tmpfs"}))
        .args(&["/bin/true"]);
    bundle.assert_refused(&[
        "/no/such: make the mount point: read-only file system (EROFS; no layer of the root has it, and there is no upper layer to make it in; make it in a layer, or set rt.rootfs.overlay to \"ephemeral\")",
    ]);
}

fn layers_that_cannot_be_merged_are_refused_by_name() {
    let bundle = with_layers(&["top", "middle", "top/inner"]).args(&["/bin/true"]);
    let path = bundle.path().display().to_string();
    symlink("top", bundle.path().join("link")).unwrap();
    fs::write(bundle.path().join("file"), "").unwrap();
    let mut bundle = Some(bundle);
    for (value, reason) in [
        ("", "\"\": an element of the list is empty".to_owned()),
        (
            "top,,middle",
            "\"top,,middle\": an element of the list is empty".to_owned(),
        ),
        (
            "top,middle,top",
            "\"top\": is there twice; name each layer once".to_owned(),
        ),
        (
            "rootfs",
            "\"rootfs\": is root.path; name each layer once".to_owned(),
        ),
        (
            "top,link",
            format!("{path}/link: is the same directory as {path}/top; name each layer once"),
        ),
        (
            "no/such",
            format!("{path}/no/such: not found (ENOENT; there is no {path}/no)"),
        ),
        (
            "top,file",
            format!("{path}/file: not a directory (ENOTDIR)"),
        ),
        (
            "top,top/inner",
            format!(
                "{path}/top/inner: lies in the layer {path}/top; overlayfs takes no layer inside of another"
            ),
        ),
        (
            "rootfs/etc",
            format!(
                "{path}/rootfs/etc: lies in the layer {path}/rootfs; overlayfs takes no layer inside of another"
            ),
        ),
    ] {
        let changed = bundle.take().unwrap().set(LOWER, json!(value));
        changed.assert_refused(&[&format!(": annotations: rt.rootfs.lower: {reason}")]);
        bundle = Some(changed);
    }
}

fn a_layer_that_root_of_a_user_namespace_cannot_read_is_refused() {
    let bundle = in_namespace(with_layers(&["top"])).sh("cat /which");
    assert_eq!(bundle.run().assert_ok().stdout, "top\n");
    let top = bundle.path().join("top");
    fs::set_permissions(&top, fs::Permissions::from_mode(0o700)).unwrap();
    let path = top.display();
    bundle.assert_refused(&[&format!(
        ": annotations: rt.rootfs.lower: {path}: permission denied (EACCES; {path} has mode 0700, owner 0:0; the container's root, uid 100000 on the host, needs the r bit)"
    )]);
}

fn the_state_names_the_layers() {
    let bundle = with_layers(&["top"]).args(&["/bin/true"]);
    let path = bundle.path().display().to_string();
    let lower = json!([format!("{path}/top"), format!("{path}/rootfs")]);
    let container = bundle.create();
    assert_eq!(
        layers_of(&container, &bundle),
        json!({ "lower": lower, "upper": null })
    );
    container.end();
    let bundle = bundle.set(OVERLAY, json!("changes"));
    let container = bundle.create();
    let upper = format!("{path}/changes/upper");
    assert_eq!(
        layers_of(&container, &bundle),
        json!({ "lower": lower, "upper": upper })
    );
    container.end();
    let bundle = bundle.remove(LOWER).remove(OVERLAY);
    let container = bundle.create();
    assert_eq!(layers_of(&container, &bundle), json!(null));
    container.end();
}

fn layers_of(container: &Container, bundle: &Bundle) -> serde_json::Value {
    let file = bundle
        .runtime()
        .root()
        .join(container.id())
        .join("state.json");
    let state: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    state["layers"].clone()
}

fn check_finds_what_create_refuses() {
    let bundle = with_layers(&["top"]).set(LOWER, json!("top,top/no"));
    bundle.write();
    let path = bundle.path().display().to_string();
    let path = path.as_str();
    let check = |bundle: &Bundle| bundle.runtime().call(&["check", "--bundle", path]).run();
    check(&bundle).assert_refused(&format!(
        "rt check: annotations: rt.rootfs.lower: {path}/top/no: not found (ENOENT)"
    ));
    fs::create_dir(bundle.path().join("top/no")).unwrap();
    check(&bundle).assert_refused("top/no: lies in the layer ");
    let bundle = bundle.set(LOWER, json!("top"));
    bundle.write();
    let plan = bundle
        .runtime()
        .call(&["check", "--plan", "--bundle", path])
        .run();
    let text = plan.assert_ok().stdout;
    assert!(
        text.contains(&format!("{path}/rootfs, below an overlay on a tmpfs\n"))
            && text.contains(&format!("between them, the top layer first: {path}/top\n")),
        "{text}"
    );
}
