//! Read-only root, masked paths and read-only paths.

use std::path::Path;

use crate::runner::Test;
use serde_json::json;

use crate::harness::{Bundle, HostState, Kind, differs, only_rt, trials};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        readonly_root_refuses_writes,
        a_writable_root_accepts_writes,
        mounts_on_a_readonly_root_stay_writable,
        a_masked_file_reads_empty,
        a_masked_directory_is_empty_and_readonly,
        a_missing_masked_path_is_ignored,
        readonly_paths_refuse_writes,
        a_readonly_path_keeps_the_mounts_options,
        a_missing_readonly_path_is_ignored,
        the_root_can_be_a_readonly_path,
        other_names_of_the_root_can_be_a_readonly_path,
        the_root_cannot_be_masked,
        template_masks_and_readonly_paths_are_applied,
        a_path_that_is_listed_twice_is_masked_once,
        paths_below_bind_mounts_are_masked,
        proc_and_sys_can_be_readonly_or_masked_entirely,
    ]
}

fn the_root_can_be_a_readonly_path() {
    root_is_readonly(&["/", "/."]);
}

fn other_names_of_the_root_can_be_a_readonly_path() {
    differs(Kind::Runc, "its root stays writable then");
    root_is_readonly(&["/etc/..", "/self"]);
}

#[track_caller]
fn root_is_readonly(paths: &[&str]) {
    for path in paths {
        let bundle = Bundle::new()
            .writable()
            .symlink("self", "/")
            .set("/linux/readonlyPaths", json!([path]))
            .args(&["/probe", "write", "/tmp/new", "x"]);
        assert_eq!(bundle.run().assert_ok().stdout, "EROFS\n", "{path}");
        let inner = bundle.args(&["/probe", "write", "/dev/shm/new", "x"]);
        assert_eq!(inner.run().assert_ok().stdout, "ok\n", "{path}");
    }
}

fn the_root_cannot_be_masked() {
    only_rt("runc ignores it");
    let bundle = Bundle::new().set("/linux/maskedPaths", json!(["/proc/keys", "/etc/.."]));
    bundle.assert_refused(&["linux.maskedPaths[1]: the root itself cannot be masked"]);
}

fn readonly_root_refuses_writes() {
    let bundle = Bundle::new().args(&["/probe", "write", "/tmp/new", "x"]);
    let before = HostState::of(&bundle);
    assert_eq!(bundle.run().stdout, "EROFS\n");
    before.assert_unchanged(&bundle);
}

fn a_writable_root_accepts_writes() {
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
    let output = bundle.run().assert_ok().stdout;
    assert!(
        output.contains("\"major\":1,\"minor\":3"),
        "not the null device: {output}"
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

fn a_missing_masked_path_is_ignored() {
    let bundle = Bundle::new().set("/linux/maskedPaths", json!(["/no/such", "/etc/nosuch"]));
    let before = HostState::of(&bundle);
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

fn a_missing_readonly_path_is_ignored() {
    let bundle = Bundle::new().set("/linux/readonlyPaths", json!(["/no/such"]));
    let before = HostState::of(&bundle);
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

fn a_path_that_is_listed_twice_is_masked_once() {
    only_rt("Debian's runtimes mask it twice");
    let twice = |paths: [&str; 2]| json!([paths[0], paths[1], paths[0], paths[1]]);
    let seen = Bundle::new()
        .file("etc/secret", "secret")
        .file("srv/inner", "secret")
        .set("/linux/maskedPaths", twice(["/etc/secret", "/srv"]))
        .set("/linux/readonlyPaths", twice(["/etc", "/proc/sys"]))
        .probe();
    for place in ["/etc/secret", "/srv", "/etc", "/proc/sys"] {
        assert_eq!(seen.mounts_at(place).len(), 1, "{place}");
    }
}

/// Container engines configure these binds with the host's pid or network namespace.
fn paths_below_bind_mounts_are_masked() {
    let bundle = Bundle::new()
        .without_namespace("pid")
        .without_mount("/proc")
        .without_mount("/sys")
        .without_mount("/sys/fs/cgroup")
        .bind(Path::new("/proc"), "/proc", &["rbind"])
        .bind(Path::new("/sys"), "/sys", &["rbind", "ro"])
        .set(
            "/linux/maskedPaths",
            json!([
                "/proc/keys",
                "/sys/fs/cgroup",
                "/proc/self/no-such",
                "/sys/no/such"
            ]),
        )
        .set(
            "/linux/readonlyPaths",
            json!(["/proc/cmdline", "/proc/sys"]),
        );
    let seen = bundle.probe();
    assert!(seen.mount("/proc/cmdline").has("ro"));
    assert!(seen.mount("/proc/sys").has("ro"));
    assert_eq!(seen.mount("/sys/fs/cgroup").kind(), "tmpfs");
    let output = bundle.args(&["/probe", "stat", "/proc/keys"]).run();
    let output = output.assert_ok().stdout;
    assert!(output.contains("\"major\":1,\"minor\":3"), "{output}");
}

fn proc_and_sys_can_be_readonly_or_masked_entirely() {
    only_rt("Debian's runtimes fail on a path below a masked file");
    let bundle = Bundle::new()
        .set(
            "/linux/readonlyPaths",
            json!(["/proc", "/proc/cmdline", "/sys"]),
        )
        .set(
            "/linux/maskedPaths",
            json!(["/proc/keys", "/proc/keys/below", "/sys", "/sys/fs"]),
        )
        .sh("/probe stat /proc/keys; ls -A /sys; /probe device /proc/sys/kernel/hostname w");
    let output = bundle.run().assert_ok().stdout;
    assert!(output.contains("\"major\":1,\"minor\":3"), "{output}");
    assert_eq!(output.lines().nth(1), Some("EROFS"), "{output}");
}
