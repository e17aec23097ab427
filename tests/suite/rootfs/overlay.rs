//! The annotation `rt.rootfs.overlay`: a container can write everywhere, and its bundle does not
//! change.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::runner::Test;
use serde_json::json;

use crate::harness::{Bundle, HostState, Mount, on_overlay, only_rt, skip, trials};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        writes_end_with_the_container,
        only_the_overlay_is_mounted_on_the_root,
        the_root_keeps_its_mode_and_owner,
        a_readonly_root_stays_readonly,
        devices_and_mount_points_are_created_in_the_overlay,
        no_pivot_works_with_an_overlay,
        the_hosts_root_requires_an_overlay_or_readonly,
        an_overlay_on_two_overlays_is_refused,
        a_missing_root_is_refused,
        an_overlay_without_a_mount_namespace_is_refused,
        the_size_of_the_layer_is_limited,
        a_size_that_a_tmpfs_does_not_take_is_refused,
        a_size_without_an_ephemeral_layer_is_refused,
        an_unknown_annotation_is_a_warning,
        an_error_is_one_line_even_after_a_warning,
    ]
}

const POINTER: &str = "/annotations/rt.rootfs.overlay";

fn with_overlay() -> Bundle {
    only_rt("the annotation is rt's own");
    Bundle::new().writable().set(POINTER, json!("ephemeral"))
}

fn writes_end_with_the_container() {
    let bundle = with_overlay().file("etc/old", "old").sh(
        "echo new > /etc/old; cat /etc/old; touch /x; rm /etc/passwd; mkdir -p /srv/deep; ls /x",
    );
    let before = HostState::of(&bundle);
    for _ in 0..2 {
        assert_eq!(bundle.run().assert_ok().stdout, "new\n/x\n");
    }
    before.assert_unchanged(&bundle);
    let old = fs::read_to_string(bundle.rootfs().join("etc/old")).unwrap();
    assert_eq!(old, "old");
}

fn only_the_overlay_is_mounted_on_the_root() {
    let seen = with_overlay().probe();
    assert_eq!(
        seen.mounts_at("/").len(),
        1,
        "the old root is still mounted: {}",
        seen["mounts"]
    );
    let mounts = seen.mounts();
    let kinds: Vec<&str> = mounts.iter().map(Mount::kind).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "overlay").count(), 1);
    assert!(!kinds.contains(&"ext4"), "{kinds:?}");
}

fn the_root_keeps_its_mode_and_owner() {
    let bundle = with_overlay().args(&["/bin/stat", "-c", "%a %u %g", "/"]);
    let rootfs = bundle.rootfs();
    fs::set_permissions(&rootfs, fs::Permissions::from_mode(0o1751)).unwrap();
    std::os::unix::fs::chown(&rootfs, Some(3), Some(4)).unwrap();
    assert_eq!(bundle.run().assert_ok().stdout, "1751 3 4\n");
    assert_eq!(fs::metadata(rootfs).unwrap().uid(), 3);
}

fn a_readonly_root_stays_readonly() {
    let bundle = with_overlay()
        .set("/root/readonly", json!(true))
        .args(&["/probe", "write", "/tmp/new", "x"]);
    assert_eq!(bundle.run().stdout, "EROFS\n");
}

fn devices_and_mount_points_are_created_in_the_overlay() {
    let bundle = with_overlay()
        .without_mount("/dev")
        .mount(json!({"destination": "/made/here", "type": "tmpfs", "source": "tmpfs"}))
        .sh("ls -l /dev/null; ls -d /made/here");
    let before = HostState::of(&bundle);
    let output = bundle.run().assert_ok().stdout;
    assert!(
        output.contains("1,   3") && output.contains("/made/here"),
        "{output}"
    );
    before.assert_unchanged(&bundle);
}

fn no_pivot_works_with_an_overlay() {
    let bundle = with_overlay().sh("touch /x; ls /x");
    let before = HostState::of(&bundle);
    let output = bundle.call("run", &["--no-pivot"]).run().assert_ok().stdout;
    assert_eq!(output, "/x\n");
    before.assert_unchanged(&bundle);
}

fn the_hosts_root_requires_an_overlay_or_readonly() {
    let bundle = with_overlay()
        .set("/root/path", json!("/"))
        .args(&["/bin/true"]);
    let before = HostState::of(&bundle);
    bundle.run().assert_ok();
    let bare = bundle.remove(POINTER);
    let refused = bare.run().assert_refused(
        "root.path: /: is the host's own root; set root.readonly, or the annotation rt.rootfs.overlay to \"ephemeral\"",
    );
    refused.one_line();
    let readonly = bare.set("/root/readonly", json!(true));
    readonly.run().assert_ok();
    before.assert_unchanged(&readonly);
}

fn an_overlay_on_two_overlays_is_refused() {
    if on_overlay(&std::env::temp_dir()) {
        skip("the host's file system is an overlay, and the kernel stacks at most two");
    }
    let bundle = with_overlay().args(&["/bin/true"]);
    let rootfs = bundle.rootfs();
    let rootfs = rootfs.to_str().unwrap();
    // In a temporary mount namespace: an overlay of the root, and an overlay of that.
    let script = format!(
        "mount -t tmpfs none /mnt && mkdir /mnt/1 /mnt/2 /mnt/u /mnt/w /mnt/v /mnt/x && \
         mount -t overlay -o lowerdir={rootfs},upperdir=/mnt/u,workdir=/mnt/w none /mnt/1 && \
         if [ $DEPTH = 2 ]; then mount -t overlay -o lowerdir=/mnt/1,upperdir=/mnt/v,workdir=/mnt/x none {rootfs}; \
         else mount --bind /mnt/1 {rootfs}; fi && exec \"$@\""
    );
    let before = HostState::of(&bundle);
    let nested = |depth: &str| {
        let arguments = ["unshare", "-m", "sh", "-c", &script, "sh"];
        bundle
            .call_through(&arguments, "run", &[])
            .with(|command| command.env("DEPTH", depth))
            .run()
    };
    nested("1").assert_ok();
    let refused = nested("2").assert_refused(
        "(EINVAL; is the root already an overlay on an overlay? the kernel stacks two)",
    );
    assert!(
        refused
            .one_line()
            .contains(": annotations: rt.rootfs.overlay: overlay on ")
    );
    before.assert_unchanged(&bundle);
}

fn a_missing_root_is_refused() {
    let bundle = with_overlay()
        .set("/root/path", json!("nowhere"))
        .args(&["/bin/true"]);
    let before = HostState::of(&bundle);
    bundle.run().assert_refused("root.path: ").one_line();
    before.assert_unchanged(&bundle);
}

fn an_overlay_without_a_mount_namespace_is_refused() {
    let bundle = with_overlay()
        .without_namespace("mount")
        .remove("/mounts")
        .remove("/linux/maskedPaths")
        .remove("/linux/readonlyPaths")
        .args(&["/bin/true"]);
    let before = HostState::of(&bundle);
    bundle
        .run()
        .assert_refused("annotations: rt.rootfs.overlay: needs a new mount namespace");
    before.assert_unchanged(&bundle);
}

const SIZE: &str = "/annotations/rt.rootfs.size";

fn the_size_of_the_layer_is_limited() {
    let fill = "dd if=/dev/zero of=/big bs=65536 count=64; stat -c %s /big";
    for size in ["1m", "1M", "1024k", "1048576"] {
        let bundle = with_overlay().set(SIZE, json!(size)).sh(fill);
        let before = HostState::of(&bundle);
        let output = bundle.run();
        assert!(
            output.stderr.contains("No space left on device"),
            "{size}: {output}"
        );
        let written: u64 = output.stdout.trim().parse().unwrap();
        assert!((900_000..=1_048_576).contains(&written), "{size}: {output}");
        before.assert_unchanged(&bundle);
    }
    with_overlay()
        .set(SIZE, json!("10%"))
        .sh(fill)
        .run()
        .assert_ok();
}

fn a_size_that_a_tmpfs_does_not_take_is_refused() {
    let mut bundle = with_overlay().args(&["/bin/true"]);
    for size in [
        "",
        "0",
        "-1",
        "1t",
        "m",
        "1mm",
        "1.5g",
        "9999999999g",
        "99999999999999999999",
    ] {
        bundle = bundle.set(SIZE, json!(size));
        bundle.assert_refused(&[&format!(
            ": annotations: rt.rootfs.size: \"{size}\": is no size of a tmpfs; write 64m, 1g, a number of bytes, or 10% of the memory"
        )]);
    }
}

fn a_size_without_an_ephemeral_layer_is_refused() {
    let reason = ": annotations: rt.rootfs.size: \"1m\": has an effect with rt.rootfs.overlay \"ephemeral\" only";
    let bundle = with_overlay().set(SIZE, json!("1m")).args(&["/bin/true"]);
    let bundle = bundle.set(POINTER, json!("changes"));
    bundle.assert_refused(&[reason]);
    bundle.remove(POINTER).assert_refused(&[reason]);
}

fn an_unknown_annotation_is_a_warning() {
    let bundle = with_overlay()
        .remove(POINTER)
        .set("/annotations/rt.rootfs.overlai", json!("ephemeral"))
        .args(&["/bin/true"]);
    let output = bundle.run().assert_ok();
    assert_eq!(
        output.stderr,
        "rt: warning: annotations: rt.rootfs.overlai: unknown, ignored: did you mean rt.rootfs.overlay?\n"
    );
}

fn an_error_is_one_line_even_after_a_warning() {
    let bundle = with_overlay()
        .set("/annotations/rt.unknown", json!("x"))
        .args(&["/no/such/program"]);
    bundle
        .run()
        .assert_refused("no such file or directory")
        .one_line();
}
