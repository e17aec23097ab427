//! The annotation `rt.volumes.create`: missing sources of bind mounts are made.

use std::fs;
use std::os::unix::fs::{MetadataExt, lchown, symlink};
use std::path::Path;

use serde_json::json;

use crate::harness::{Bundle, HostState, killed_everywhere, only_rt, tree, trials};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        a_missing_source_is_made_with_its_parents,
        an_existing_source_keeps_its_attributes,
        in_a_user_namespace_the_source_belongs_to_its_root,
        without_the_annotation_a_missing_source_is_refused,
        a_failed_run_removes_the_directories_it_made,
        a_failed_run_keeps_directories_that_are_in_use,
        a_link_of_another_user_is_not_followed,
        a_file_on_the_way_is_refused,
        check_accepts_a_source_that_will_be_made,
        a_value_other_than_true_and_false_is_refused,
        after_a_killed_create_no_directory_remains,
    ]
}

const POINTER: &str = "/annotations/rt.volumes.create";

/// A bundle with a bind mount of `source`, a path below the bundle, on /data.
fn with_volume(source: &str) -> Bundle {
    only_rt("the annotation is rt's own");
    let bundle = Bundle::new().folder("data").set(POINTER, json!("true"));
    let source = bundle.path().join(source);
    bundle.bind(&source, "/data", &["rbind"])
}

fn owner_and_mode(path: &Path) -> (u32, u32, u32) {
    let meta = fs::metadata(path).unwrap();
    (meta.uid(), meta.gid(), meta.mode() & 0o7777)
}

fn a_missing_source_is_made_with_its_parents() {
    let bundle = with_volume("a/b/c").sh("echo kept > /data/file");
    let call = bundle.call_through(&["sh", "-c", "umask 077; exec \"$@\"", "sh"], "run", &[]);
    call.run().assert_ok();
    for path in ["a", "a/b", "a/b/c"] {
        assert_eq!(
            owner_and_mode(&bundle.path().join(path)),
            (0, 0, 0o755),
            "{path}"
        );
    }
    let file = fs::read_to_string(bundle.path().join("a/b/c/file")).unwrap();
    assert_eq!(file, "kept\n");
}

fn an_existing_source_keeps_its_attributes() {
    let bundle = with_volume("a").args(&["/bin/true"]);
    fs::create_dir(bundle.path().join("a")).unwrap();
    let before = owner_and_mode(&bundle.path().join("a"));
    bundle.run().assert_ok();
    assert_eq!(owner_and_mode(&bundle.path().join("a")), before);
}

fn in_a_user_namespace_the_source_belongs_to_its_root() {
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    let bundle = with_volume("a/b")
        .namespace("user", None)
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .sh("echo kept > /data/file; stat -c %u:%g /data");
    assert_eq!(bundle.run().assert_ok().stdout, "0:0\n");
    for path in ["a", "a/b"] {
        assert_eq!(
            owner_and_mode(&bundle.path().join(path)),
            (100_000, 100_000, 0o755),
            "{path}"
        );
    }
}

fn without_the_annotation_a_missing_source_is_refused() {
    let bundle = with_volume("a")
        .set(POINTER, json!("false"))
        .args(&["/bin/true"]);
    let path = bundle.path().display().to_string();
    let reason = format!(
        "bind {path}/a on /data: open the source: not found (ENOENT; create it on the host)"
    );
    bundle.assert_refused(&[&reason]);
    bundle.remove(POINTER).assert_refused(&[&reason]);
}

fn a_failed_run_removes_the_directories_it_made() {
    let bundle = with_volume("a/b/c").args(&["/no/such/program"]);
    bundle.write();
    let before = tree(bundle.path());
    bundle.assert_refused(&["process.args[0]: "]);
    assert_eq!(tree(bundle.path()), before);
}

fn a_failed_run_keeps_directories_that_are_in_use() {
    let bundle = with_volume("a/b/c").args(&["/no/such/program"]);
    let file = bundle.path().join("a/b/file");
    let script = format!("echo > {}", file.display());
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
    let bundle = bundle.set("/hooks/createRuntime", hook);
    bundle.run().assert_refused("process.args[0]: ");
    assert!(file.exists());
    assert!(!bundle.path().join("a/b/c").exists());
}

fn a_link_of_another_user_is_not_followed() {
    let bundle = with_volume("home/link/data").args(&["/bin/true"]);
    let home = bundle.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::create_dir(bundle.path().join("elsewhere")).unwrap();
    let link = home.join("link");
    symlink("../elsewhere", &link).unwrap();
    lchown(&link, Some(1000), Some(1000)).unwrap();
    let (shown, source) = (link.display(), link.join("data"));
    bundle.assert_refused(&[&format!(
        ": make the source {}: {shown} is a symbolic link of uid 1000, which rt does not follow to make directories; name the path without it",
        source.display()
    )]);
    assert!(!bundle.path().join("elsewhere/data").exists());
    lchown(&link, Some(0), Some(0)).unwrap();
    bundle.run().assert_ok();
    assert!(bundle.path().join("elsewhere/data").exists());
}

fn a_file_on_the_way_is_refused() {
    let bundle = with_volume("file/data").args(&["/bin/true"]);
    let file = bundle.path().join("file");
    fs::write(&file, "").unwrap();
    let (path, file) = (bundle.path().display().to_string(), file.display());
    bundle.assert_refused(&[&format!(
        ": make the source {path}/file/data: not a directory (ENOTDIR; {file} is not a directory)"
    )]);
}

fn check_accepts_a_source_that_will_be_made() {
    let bundle = with_volume("a/b").args(&["/bin/true"]);
    bundle.write();
    let check = |bundle: &Bundle| {
        let path = bundle.path().to_str().unwrap();
        bundle.runtime().call(&["check", "--bundle", path]).run()
    };
    check(&bundle).assert_ok();
    assert!(!bundle.path().join("a").exists());
    let bundle = bundle.remove(POINTER);
    bundle.write();
    check(&bundle).assert_refused("open the source: not found");
}

fn a_value_other_than_true_and_false_is_refused() {
    let bundle = with_volume("a")
        .set(POINTER, json!("yes"))
        .args(&["/bin/true"]);
    bundle.assert_refused(&[
        ": annotations: rt.volumes.create: \"yes\" is neither \"true\" nor \"false\"",
    ]);
}

fn after_a_killed_create_no_directory_remains() {
    let bundle = with_volume("a/b/c").args(&["/bin/true"]);
    let before = HostState::of(&bundle);
    let top = bundle.path().join("a");
    let call = |strace: &[&str]| bundle.call_through(strace, "create", &[]);
    killed_everywhere(bundle.runtime(), 25, call, |place| {
        let file = bundle.runtime().root().join(bundle.id()).join("state.json");
        let state = fs::read_to_string(file).unwrap_or_default();
        let is_created = !state.is_empty() && !state.contains("\"creating\":true");
        bundle.container().delete_force().assert_ok();
        let left = before.changes_since(&bundle);
        assert!(left.is_empty(), "{place} leaves:\n{left}");
        assert_eq!(top.exists(), is_created, "{place}");
        drop(fs::remove_dir_all(&top));
    });
}
