//! The list of changes.

use std::fs;

use crate::runner::Test;
use serde_json::{Value, json};

use super::{after, diff, root_of, with_overlay, without_mounts};
use crate::harness::{Bundle, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![
        every_kind_of_change_is_listed,
        only_mount_points_are_listed_of_a_container_that_changes_nothing,
        json_has_the_paths_by_kind,
        a_created_and_a_paused_container_have_changes,
        a_change_cannot_be_hidden_by_its_time,
        a_directory_that_was_replaced_lists_what_is_gone,
        changes_below_a_mount_are_not_listed,
        a_changed_root_is_listed,
        names_cannot_forge_lines,
    ]
}

fn bundle() -> Bundle {
    let bundle = without_mounts(Bundle::new());
    let bundle = bundle.file("data/kept", "kept").file("data/file", "old");
    bundle.file("data/sub/deep", "deep").file("gone", "gone")
}

/// The lines about `/data` and `/gone`: without devices.
fn lines(said: &str) -> Vec<&str> {
    let lines = said.lines();
    lines
        .filter(|line| !line[2..].starts_with("/dev"))
        .collect()
}

fn every_kind_of_change_is_listed() {
    let script = "echo new > /data/file; touch /data/added /new-file; rm /gone; mkdir -p /data/a/b";
    let (bundle, _container) = after(bundle(), script);
    let said = diff(&bundle, &[]).assert_ok().stdout;
    let expected = [
        "C /data",
        "A /data/a",
        "A /data/a/b",
        "A /data/added",
        "C /data/file",
        "D /gone",
        "A /new-file",
    ];
    assert_eq!(lines(&said), expected);
}

fn only_mount_points_are_listed_of_a_container_that_changes_nothing() {
    let (bundle, _container) = after(with_overlay(Bundle::new()), ":");
    assert_eq!(diff(&bundle, &[]).assert_ok().stdout, "");
    let (bundle, _container) = after(
        with_overlay(Bundle::new()).mount(json!({
            "destination": "/mnt/new", "type": "tmpfs", "source": "tmpfs",
        })),
        ":",
    );
    let said = diff(&bundle, &[]).assert_ok().stdout;
    assert_eq!(said, "A /mnt\nA /mnt/new\n");
}

fn json_has_the_paths_by_kind() {
    let (bundle, _container) = after(
        bundle(),
        "echo > /data/file; touch /data/b /data/a; rm /gone",
    );
    let said = diff(&bundle, &["--format", "json"]).assert_ok().stdout;
    let list: Value = serde_json::from_str(&said).unwrap();
    let paths = |kind: &str| {
        let paths = list[kind].as_array().unwrap().iter();
        let paths = paths.map(|path| path.as_str().unwrap().to_owned());
        paths
            .filter(|path| !path.starts_with("/dev"))
            .collect::<Vec<_>>()
    };
    assert_eq!(paths("changed"), ["/data", "/data/file"]);
    assert_eq!(paths("deleted"), ["/gone"]);
    assert_eq!(paths("added"), ["/data/a", "/data/b"]);
    assert_eq!(said.lines().count(), 1);
}

fn a_created_and_a_paused_container_have_changes() {
    let bundle = with_overlay(Bundle::new()).sh("touch /etc/new; echo done; sleep 1000");
    let container = bundle.create();
    assert_eq!(diff(&bundle, &[]).assert_ok().stdout, "");
    container.start().assert_ok();
    container.wait_for("done");
    container.call("pause", &[]).assert_ok();
    let said = diff(&bundle, &[]).assert_ok().stdout;
    container.call("resume", &[]).assert_ok();
    assert_eq!(said, "C /etc\nA /etc/new\n");
}

/// Size and time of modification are as before, but not the content.
fn a_change_cannot_be_hidden_by_its_time() {
    let bundle = bundle();
    let times = fs::metadata(bundle.rootfs().join("data/file"))
        .unwrap()
        .modified()
        .unwrap();
    let (bundle, container) = after(bundle, "printf new > /data/file");
    let file = fs::File::options()
        .write(true)
        .open(root_of(&container).join("data/file"));
    file.unwrap().set_modified(times).unwrap();
    let said = diff(&bundle, &[]).assert_ok().stdout;
    assert_eq!(lines(&said), ["C /data", "C /data/file"]);
}

fn a_directory_that_was_replaced_lists_what_is_gone() {
    let script =
        "rm -r /data/sub; mkdir /data/sub; touch /data/sub/other; rm /data/file; mkdir /data/file";
    let (bundle, _container) = after(bundle(), script);
    let said = diff(&bundle, &[]).assert_ok().stdout;
    let expected = [
        "C /data",
        "C /data/file",
        "C /data/sub",
        "D /data/sub/deep",
        "A /data/sub/other",
    ];
    assert_eq!(lines(&said), expected);
}

fn changes_below_a_mount_are_not_listed() {
    let (bundle, _container) = after(
        with_overlay(Bundle::new()),
        "touch /tmp/x /dev/shm/x /etc/x",
    );
    let said = diff(&bundle, &[]).assert_ok().stdout;
    let on_root: Vec<&str> = said.lines().filter(|line| !line.contains("/tmp")).collect();
    assert_eq!(on_root, ["C /etc", "A /etc/x"]);
}

fn a_changed_root_is_listed() {
    let (bundle, container) = after(bundle(), ":");
    fs::set_permissions(
        root_of(&container),
        std::os::unix::fs::PermissionsExt::from_mode(0o711),
    )
    .unwrap();
    let said = diff(&bundle, &[]).assert_ok().stdout;
    assert_eq!(lines(&said), ["C /"]);
}

fn names_cannot_forge_lines() {
    let (bundle, container) = after(bundle(), ":");
    let data = root_of(&container).join("data/sub");
    fs::write(data.join("a\nD \u{1b}[31m\\"), "").unwrap();
    let said = diff(&bundle, &[]).assert_ok().stdout;
    let expected = [
        "C /data",
        "C /data/sub",
        "A /data/sub/a\\nD \\u{1b}[31m\\\\",
    ];
    assert_eq!(lines(&said), expected);
}
