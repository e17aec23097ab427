//! What has no changes to show, and what a layer cannot hold.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::runner::Test;

use super::{after, diff, root_of, with_overlay, without_mounts};
use crate::harness::{Bundle, Directory, needs, only_rt, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_container_without_an_overlay_is_refused,
        a_stopped_container_on_a_tmpfs_is_refused,
        a_missing_container_and_a_bad_format_are_refused,
        a_name_that_marks_deletions_is_refused,
        an_attribute_name_that_a_layer_cannot_hold_is_refused,
        a_missing_directory_for_the_layer_is_refused,
    ]
}

fn a_container_without_an_overlay_is_refused() {
    only_rt("the command is rt's own");
    let bundle = Bundle::new().args(&["/bin/sleep", "1000"]);
    let _container = bundle.run_detached();
    let said = diff(&bundle, &[]).assert_refused("has no overlay");
    assert!(said.one_line().contains("rt.rootfs.overlay"));
}

fn a_stopped_container_on_a_tmpfs_is_refused() {
    let bundle = with_overlay(Bundle::new()).args(&["/bin/true"]);
    let container = bundle.run_detached();
    container.wait_stopped();
    diff(&bundle, &[]).assert_refused("is stopped, and its changes ended with it");
}

fn a_missing_container_and_a_bad_format_are_refused() {
    let (bundle, _container) = after(with_overlay(Bundle::new()), ":");
    let call = |args: &[&str]| bundle.runtime().call(args).run();
    call(&["diff", "no-such"]).assert_refused("container does not exist");
    diff(&bundle, &["--format", "jsn"]).assert_refused("did you mean json?");
    diff(&bundle, &["--format", "json", "--tar", "-"]).assert_refused("--format: has no effect");
}

/// The file that the layer was to go to stays as it was.
fn a_name_that_marks_deletions_is_refused() {
    let (bundle, container) = after(without_mounts(Bundle::new()), "touch /etc/.wh.passwd");
    let directory = Directory::new();
    let file = directory.join("layer.tar");
    fs::write(&file, "old").unwrap();
    let said = diff(&bundle, &["--tar", file.to_str().unwrap()]);
    let said = said.assert_refused("/etc/.wh.passwd: a layer cannot hold it");
    said.one_line();
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    fs::remove_file(root_of(&container).join("etc/.wh.passwd")).unwrap();
    diff(&bundle, &["--tar", file.to_str().unwrap()]).assert_ok();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    assert!(fs::metadata(&file).unwrap().len() > 1000);
}

fn an_attribute_name_that_a_layer_cannot_hold_is_refused() {
    needs("setfattr", "attr");
    let (bundle, container) = after(without_mounts(Bundle::new()), ":");
    let file = root_of(&container).join("etc/passwd");
    let mut setfattr = Command::new("setfattr");
    setfattr.args(["-n", "user.a=b", "-v", "1"]).arg(file);
    assert!(setfattr.status().unwrap().success());
    diff(&bundle, &["--tar", "/dev/null"])
        .assert_refused("/etc/passwd: a layer cannot hold the name of the extended attribute");
}

fn a_missing_directory_for_the_layer_is_refused() {
    let (bundle, _container) = after(with_overlay(Bundle::new()), ":");
    let directory = Directory::new();
    let missing = directory.join("missing/layer.tar");
    let said = diff(&bundle, &["--tar", missing.to_str().unwrap()]);
    said.assert_refused("missing/layer.tar: not found (ENOENT)");
    // A link at the end is replaced, like any file of this name.
    let link = directory.join("link");
    symlink("elsewhere", &link).unwrap();
    diff(&bundle, &["--tar", link.to_str().unwrap()]).assert_ok();
    assert!(fs::symlink_metadata(&link).unwrap().is_file());
}
