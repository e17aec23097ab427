//! Mount points at and below symbolic links of the image, some of which are dangling.

use std::fs;
use std::os::unix::fs::symlink;

use crate::runner::Test;
use serde_json::json;

use crate::harness::{Bundle, Directory, HostState, Kind, differs, only_rt, tree, trials};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        a_mount_point_below_a_dangling_link_is_created_at_its_target,
        a_mount_on_a_dangling_link_creates_its_target_and_keeps_the_link,
        a_chain_of_dangling_links_is_followed,
        links_that_loop_are_refused,
        dangling_links_do_not_leave_the_root,
        a_file_where_a_directory_must_be_is_refused,
        a_directory_on_a_file_or_the_reverse_is_enotdir,
    ]
}

/// A directory with a file to bind.
fn volume() -> Directory {
    let volume = Directory::new();
    fs::write(volume.join("file"), "payload\n").unwrap();
    volume
}

fn a_mount_point_below_a_dangling_link_is_created_at_its_target() {
    let volume = volume();
    for (target, place) in [("/srv/made", "/srv/made"), ("made/deep", "/made/deep")] {
        let bundle = Bundle::new()
            .symlink("link", target)
            .bind(&volume.join("file"), "/link/below/file", &["bind"])
            .bind(volume.path(), "/link/directory", &["rbind"]);
        let script = format!(
            "cat {place}/below/file /link/below/file {place}/directory/file; readlink /link"
        );
        let output = bundle.sh(&script).run().assert_ok().stdout;
        assert_eq!(output, format!("payload\npayload\npayload\n{target}\n"));
    }
}

fn a_mount_on_a_dangling_link_creates_its_target_and_keeps_the_link() {
    differs(Kind::Crun, "it mounts on the link itself");
    let volume = volume();
    let bundle = Bundle::new()
        .symlink("etc/localtime", "../usr/share/zone/City")
        .symlink("link", "srv/made")
        .bind(&volume.join("file"), "/etc/localtime", &["bind", "ro"])
        .bind(volume.path(), "/link", &["rbind", "ro"])
        .mount(json!({ "destination": "/tmp/scratch", "type": "tmpfs", "source": "tmpfs" }))
        .symlink("tmp/scratch", "../srv/scratch");
    let script = "cat /etc/localtime /usr/share/zone/City /link/file /srv/made/file; \
                  readlink /etc/localtime; readlink /link; readlink /tmp/scratch; \
                  echo x > /srv/scratch/new && echo made";
    let output = bundle.sh(script).run().assert_ok().stdout;
    let expected = format!(
        "{}../usr/share/zone/City\nsrv/made\n../srv/scratch\nmade\n",
        "payload\n".repeat(4)
    );
    assert_eq!(output, expected);
}

fn a_chain_of_dangling_links_is_followed() {
    let volume = volume();
    let bundle = Bundle::new()
        .symlink("one", "/two")
        .symlink("two", "srv/../srv/three")
        .symlink("srv/three", "/../../end/file")
        .bind(&volume.join("file"), "/one", &["bind"])
        .sh("cat /one /end/file");
    let output = bundle.run().assert_ok().stdout;
    assert_eq!(output, "payload\npayload\n");
    assert!(bundle.rootfs().join("srv/three").is_symlink());
}

fn links_that_loop_are_refused() {
    let volume = volume();
    for place in ["/loop", "/loop/below"] {
        let bundle = Bundle::new()
            .symlink("loop", "pool")
            .symlink("pool", "/loop")
            .bind(volume.path(), place, &["bind"])
            .args(&["/bin/true"]);
        bundle.assert_refused(&["mounts[7]", place, "ELOOP"]);
    }
}

/// A link is resolved inside the root, however many `..` it contains.
fn dangling_links_do_not_leave_the_root() {
    let (volume, outside) = (volume(), Directory::new());
    let untouched = tree(outside.path());
    let deep = outside.path().to_str().unwrap().to_owned();
    let climbing = format!("../../../../../../../../../..{deep}");
    for target in [&deep, &climbing] {
        let bundle = Bundle::new()
            .symlink("link", &format!("{target}/new"))
            .symlink("file", &format!("{target}/other"))
            .bind(volume.path(), "/link/below", &["bind"])
            .bind(&volume.join("file"), "/file", &["bind"])
            .sh("cat /link/below/file /file");
        let output = bundle.run();
        assert_eq!(tree(outside.path()), untouched, "{target}");
        assert_eq!(output.assert_ok().stdout, "payload\npayload\n");
        assert!(bundle.rootfs().join(&deep[1..]).join("new/below").is_dir());
    }
}

fn a_file_where_a_directory_must_be_is_refused() {
    let volume = volume();
    let bundle =
        Bundle::new()
            .symlink("link", "/etc/passwd/below")
            .bind(volume.path(), "/link", &["bind"]);
    let bundle = bundle.args(&["/bin/true"]);
    bundle.assert_refused(&["mounts[7]", "/link", "not a directory (ENOTDIR"]);
}

/// Container engines look for this error and explain it to their users.
fn a_directory_on_a_file_or_the_reverse_is_enotdir() {
    only_rt("other runtimes do not name the field in config.json");
    let volume = volume();
    let tmpfs = json!({ "destination": "/etc/passwd", "type": "tmpfs", "source": "tmpfs" });
    for bundle in [
        Bundle::new().bind(volume.path(), "/etc/passwd", &["rbind"]),
        Bundle::new().bind(&volume.join("file"), "/tmp", &["rbind"]),
        Bundle::new().mount(tmpfs),
    ] {
        let before = HostState::of(&bundle);
        let bundle = bundle.args(&["/bin/true"]);
        bundle.assert_refused(&["mounts[7]", ": not a directory (ENOTDIR"]);
        before.assert_unchanged(&bundle);
    }
    let link = Directory::new();
    symlink("nowhere", link.join("link")).unwrap();
    let bundle = Bundle::new().bind(&link.join("link"), "/tmp", &["bind"]);
    bundle.assert_refused(&["mounts[7]", "open the source", "not found"]);
}
