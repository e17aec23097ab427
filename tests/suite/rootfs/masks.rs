//! Readonly root, masked and readonly paths.

use libtest_mimic::Trial;
use serde_json::json;

use crate::harness::{Bundle, Traces, trials};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        readonly_root_refuses_writes,
        a_root_that_is_not_readonly_takes_writes,
        mounts_on_a_readonly_root_stay_writable,
        a_masked_file_reads_empty,
        a_masked_directory_is_empty_and_readonly,
        a_masked_path_that_is_missing_is_no_error,
        readonly_paths_refuse_writes,
        a_readonly_path_keeps_the_mounts_options,
        a_readonly_path_that_is_missing_is_no_error,
        template_masks_and_readonly_paths_are_applied,
    ]
}

fn readonly_root_refuses_writes() {
    let bundle = Bundle::new().args(&["/probe", "write", "/tmp/new", "x"]);
    let before = Traces::of(&bundle);
    assert_eq!(bundle.run().stdout, "EROFS\n");
    before.assert_unchanged(&bundle);
}

fn a_root_that_is_not_readonly_takes_writes() {
    let bundle = Bundle::new()
        .writable()
        .args(&["/probe", "write", "/tmp/new", "text"]);
    assert_eq!(bundle.run().stdout, "ok\n");
    assert_eq!(
        std::fs::read_to_string(bundle.rootfs().join("tmp/new")).unwrap(),
        "text"
    );
}

fn mounts_on_a_readonly_root_stay_writable() {
    let bundle = Bundle::new().args(&["/probe", "write", "/dev/shm/new", "x"]);
    assert_eq!(bundle.run().stdout, "ok\n");
}

fn a_masked_file_reads_empty() {
    let bundle = Bundle::new()
        .file("etc/secret", "secret")
        .set("/linux/maskedPaths", json!(["/etc/secret"]))
        .args(&["/probe", "read", "/etc/secret"]);
    assert_eq!(bundle.run().assert_ok().stdout, "\n");
    let bundle = bundle.args(&["/probe", "stat", "/etc/secret"]);
    let said = bundle.run().assert_ok().stdout;
    assert!(
        said.contains("\"major\":1,\"minor\":3"),
        "it is the null device: {said}"
    );
}

fn a_masked_directory_is_empty_and_readonly() {
    let bundle = Bundle::new()
        .writable()
        .file("srv/inner", "secret")
        .set("/linux/maskedPaths", json!(["/srv"]))
        .sh("ls -A /srv; probe write /srv/new x")
        .executable("bin/probe", "#!/bin/sh\nexec /probe \"$@\"\n");
    assert_eq!(bundle.run().assert_ok().stdout, "EROFS\n");
}

fn a_masked_path_that_is_missing_is_no_error() {
    let bundle = Bundle::new().set("/linux/maskedPaths", json!(["/no/such", "/etc/nosuch"]));
    let before = Traces::of(&bundle);
    bundle.probe();
    before.assert_unchanged(&bundle);
}

fn readonly_paths_refuse_writes() {
    let bundle = Bundle::new()
        .writable()
        .file("srv/file", "old")
        .file("srv/sub/file", "old")
        .set("/linux/readonlyPaths", json!(["/srv/sub", "/srv/file"]))
        .sh("/probe write /srv/sub/file x; /probe write /srv/file x; /probe write /srv/other x");
    assert_eq!(bundle.run().assert_ok().stdout, "EROFS\nEROFS\nok\n");
}

fn a_readonly_path_keeps_the_mounts_options() {
    let mount = json!({
        "destination": "/srv", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "noexec"],
    });
    let seen = Bundle::new()
        .folder("srv")
        .mount(mount)
        .set("/linux/readonlyPaths", json!(["/srv"]))
        .probe();
    seen.mount("/srv")
        .assert_options(&["ro", "nosuid", "nodev", "noexec"]);
}

fn a_readonly_path_that_is_missing_is_no_error() {
    let bundle = Bundle::new().set("/linux/readonlyPaths", json!(["/no/such"]));
    let before = Traces::of(&bundle);
    bundle.probe();
    before.assert_unchanged(&bundle);
}

fn template_masks_and_readonly_paths_are_applied() {
    let bundle = Bundle::new();
    let seen = bundle.probe();
    for path in bundle.config().items("/linux/maskedPaths") {
        let path = path.as_str().unwrap();
        if std::path::Path::new(path).exists() {
            assert!(seen.has_mount(path), "{path} is not masked");
        }
    }
    for path in bundle.config().items("/linux/readonlyPaths") {
        let path = path.as_str().unwrap();
        if std::path::Path::new(path).exists() {
            assert!(
                seen.mount(path).options().contains(&"ro".to_owned()),
                "{path} is writable"
            );
        }
    }
}
