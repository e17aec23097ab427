//! The changes as a layer: applied to the lower layer, it gives the container's files.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use crate::runner::Test;

use super::apply::apply;
use super::changes::{Random, add_sparse, change, fill};
use super::same::{assert_same, copy};
use super::{after, diff, root_of, without_mounts};
use crate::harness::{Bundle, Directory, is_the_matrix, needs, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![
        random_changes_are_the_same_in_the_layer,
        a_sparse_file_and_the_root_are_the_same_in_the_layer,
        sockets_are_listed_but_not_in_the_layer,
        the_layer_goes_to_standard_output,
        a_layer_without_changes_is_an_archive,
    ]
}

/// Makes changes to `/data` through the container's mount, and compares the container's root with the lower layer
/// after the layer was applied to it.
fn check(act: impl FnOnce(&std::path::Path)) {
    needs("setfattr", "attr");
    let bundle = without_mounts(Bundle::new()).folder("data");
    fill(&bundle.rootfs().join("data"));
    let copied = Directory::new();
    let lower = copied.join("lower");
    copy(&bundle.rootfs(), &lower);
    let (bundle, container) = after(bundle, ":");
    let root = root_of(&container);
    act(&root.join("data"));
    let file = copied.join("layer.tar");
    diff(&bundle, &["--tar", file.to_str().unwrap()]).assert_ok();
    apply(&file, &lower);
    // The time of the root itself is not part of a layer.
    let time = fs::metadata(&root).unwrap().modified().unwrap();
    fs::File::open(&lower).unwrap().set_modified(time).unwrap();
    assert_same(&root, &lower);
}

fn random_changes_are_the_same_in_the_layer() {
    let seeds = if is_the_matrix() { 1..=5 } else { 1..=1 };
    for seed in seeds {
        check(|data| change(data, 500, &mut Random::new(seed)));
    }
}

fn a_sparse_file_and_the_root_are_the_same_in_the_layer() {
    check(|data| {
        add_sparse(data);
        // The root itself has an entry if it was changed.
        fs::set_permissions(data.parent().unwrap(), fs::Permissions::from_mode(0o711)).unwrap();
    });
}

fn sockets_are_listed_but_not_in_the_layer() {
    let (bundle, container) = after(without_mounts(Bundle::new()), ":");
    let directory = Directory::new();
    let socket = root_of(&container).join("etc/socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    assert!(
        diff(&bundle, &[])
            .assert_ok()
            .stdout
            .contains("A /etc/socket\n")
    );
    let file = directory.join("layer.tar");
    diff(&bundle, &["--tar", file.to_str().unwrap()]).assert_ok();
    let mut archive = tar::Archive::new(fs::File::open(&file).unwrap());
    let names = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().into_owned());
    let names: Vec<_> = names.collect();
    assert!(names.iter().any(|name| name.ends_with("etc")));
    assert!(!names.iter().any(|name| name.ends_with("socket")));
}

fn the_layer_goes_to_standard_output() {
    let (bundle, _container) = after(
        without_mounts(Bundle::new()),
        "echo in the layer > /etc/new",
    );
    let said = diff(&bundle, &["--tar", "-"]).assert_ok().stdout;
    assert!(said.contains("etc/new\0") && said.contains("in the layer\n"));
}

fn a_layer_without_changes_is_an_archive() {
    let bundle = super::with_overlay(Bundle::new());
    let (bundle, _container) = after(bundle, ":");
    let directory = Directory::new();
    let file = directory.join("layer.tar");
    diff(&bundle, &["--tar", file.to_str().unwrap()]).assert_ok();
    let mut archive = tar::Archive::new(fs::File::open(&file).unwrap());
    assert_eq!(archive.entries().unwrap().count(), 0);
    assert_eq!(fs::metadata(&file).unwrap().size(), 1024);
}
