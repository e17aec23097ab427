//! /dev: the default devices and links, and those of config.json.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::runner::Test;
use serde_json::json;

use crate::harness::{Bundle, HostState, Kind, differs, trials};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        default_devices_exist,
        default_links_exist,
        without_a_terminal_there_is_no_console,
        configured_devices_are_created,
        a_file_mode_can_include_the_file_type,
        a_file_mode_of_another_type_is_refused,
        a_configured_device_replaces_a_default_one,
        without_a_dev_mount_devices_are_created_in_the_rootfs,
        a_default_device_that_is_another_file_is_refused,
        devices_outside_of_a_bind_mount_on_dev_are_created,
        devices_that_a_bind_mount_on_dev_lacks_are_refused,
    ]
}

pub(crate) const DEFAULT_DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

fn default_devices_exist() {
    let seen = Bundle::new().probe();
    for (name, major, minor) in DEFAULT_DEVICES {
        let device = &seen["devices"][name];
        assert_eq!(device["type"], "c", "{name}: {device}");
        assert_eq!(
            (&device["major"], &device["minor"]),
            (&json!(major), &json!(minor)),
            "{name}"
        );
        assert_eq!(device["mode"], "0666", "{name}");
        assert_eq!(
            (&device["uid"], &device["gid"]),
            (&json!(0), &json!(0)),
            "{name}"
        );
    }
}

fn default_links_exist() {
    let seen = Bundle::new().probe();
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ];
    for (name, target) in links {
        assert_eq!(seen["devices"][name]["target"], target, "{name}");
    }
    // A kernel may be built without it (CONFIG_PROC_KCORE).
    let core = Path::new("/proc/kcore").exists().then_some("/proc/kcore");
    assert_eq!(seen["devices"]["core"]["target"], json!(core));
}

fn without_a_terminal_there_is_no_console() {
    assert!(Bundle::new().probe()["devices"]["console"].is_null());
}

fn fuse() -> serde_json::Value {
    json!({
        "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229,
        "fileMode": 0o640, "uid": 7, "gid": 8,
    })
}

fn configured_devices_are_created() {
    let fifo = json!({ "path": "/dev/sub/pipe", "type": "p", "fileMode": 0o600 });
    let block = json!({ "path": "/dev/disk", "type": "b", "major": 7, "minor": 200 });
    let bundle = Bundle::new().set("/linux/devices", json!([fuse(), fifo, block]));
    let seen = bundle.probe();
    let device = &seen["devices"]["fuse"];
    assert_eq!(
        (&device["major"], &device["minor"]),
        (&json!(10), &json!(229))
    );
    assert_eq!(
        (&device["mode"], &device["uid"], &device["gid"]),
        (&json!("0640"), &json!(7), &json!(8))
    );
    let disk = &seen["devices"]["disk"];
    assert_eq!(
        (&disk["type"], &disk["major"], &disk["minor"]),
        (&json!("b"), &json!(7), &json!(200))
    );
    let output = bundle
        .args(&["/probe", "stat", "/dev/sub/pipe"])
        .run()
        .assert_ok()
        .stdout;
    assert!(
        output.contains("\"type\":\"fifo\"") && output.contains("\"mode\":\"0600\""),
        "{output}"
    );
}

/// Podman passes the whole st_mode of the host's device.
fn a_file_mode_can_include_the_file_type() {
    let mut device = fuse();
    device["fileMode"] = json!(0o020640);
    let bundle = Bundle::new().set("/linux/devices", json!([device]));
    assert_eq!(bundle.probe()["devices"]["fuse"]["mode"], "0640");
}

fn a_file_mode_of_another_type_is_refused() {
    differs(Kind::Runc, "creates a device of neither type");
    differs(Kind::Crun, "creates a device of neither type");
    let mut device = fuse();
    device["fileMode"] = json!(0o060640);
    Bundle::new()
        .set("/linux/devices", json!([device]))
        .run()
        .assert_refused("linux.devices[0]");
}

/// config-linux.md allows a default device in `linux.devices` too.
fn a_configured_device_replaces_a_default_one() {
    let device =
        json!({ "path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o622 });
    let rule = json!({ "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm" });
    let seen = Bundle::new()
        .set("/linux/resources/devices/-", rule)
        .set("/linux/devices", json!([device]))
        .probe();
    let device = &seen["devices"]["null"];
    assert_eq!(
        (&device["minor"], &device["mode"]),
        (&json!(3), &json!("0622"))
    );
}

/// The template without the mounts on /dev and below.
fn without_dev_mounts() -> Bundle {
    ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev"]
        .iter()
        .fold(Bundle::new(), |bundle, place| bundle.without_mount(place))
}

/// The devices are created in the rootfs itself, where a second run finds them.
fn without_a_dev_mount_devices_are_created_in_the_rootfs() {
    let bundle = without_dev_mounts();
    for _ in 0..2 {
        let seen = bundle.probe();
        for (name, major, minor) in DEFAULT_DEVICES {
            let device = &seen["devices"][name];
            assert_eq!(
                (&device["major"], &device["minor"]),
                (&json!(major), &json!(minor)),
                "{name}"
            );
        }
    }
    let before = HostState::of(&bundle);
    bundle.probe();
    before.assert_unchanged(&bundle);
}

fn a_default_device_that_is_another_file_is_refused() {
    differs(Kind::Runc, "it takes any file that is there");
    differs(Kind::Crun, "it takes any file that is there");
    for bundle in [
        without_dev_mounts().file("dev/null", "a file"),
        without_dev_mounts().device("dev/null", 1, 5),
    ] {
        bundle.assert_refused(&["default devices", "/dev/null", "another file is there"]);
    }
}

/// A directory with a null device and a link to it is mounted on /dev.
fn with_a_bind_mount_on_dev(devices: serde_json::Value) -> Bundle {
    let bundle = without_dev_mounts().device("../devices/null", 1, 3);
    let source = bundle.path().join("devices");
    symlink("null", source.join("link")).unwrap();
    bundle
        .bind(&source, "/dev", &["bind"])
        .folder("opt")
        .set("/linux/devices", devices)
}

fn null_device(path: &str) -> serde_json::Value {
    json!({ "path": path, "type": "c", "major": 1, "minor": 3 })
}

/// Nothing is created in the directory of the host.
fn devices_outside_of_a_bind_mount_on_dev_are_created() {
    differs(Kind::Runc, "it creates no devices then");
    differs(Kind::Crun, "it creates no devices then");
    let devices = ["/opt/made", "/dev/null", "/dev/link"].map(null_device);
    let bundle = with_a_bind_mount_on_dev(json!(devices));
    let bundle = bundle.sh("stat -c %t:%T /opt/made; ls /dev");
    for _ in 0..2 {
        assert_eq!(bundle.run().assert_ok().stdout, "1:3\nlink\nnull\n");
    }
}

fn devices_that_a_bind_mount_on_dev_lacks_are_refused() {
    differs(Kind::Runc, "it creates no devices then");
    differs(Kind::Crun, "it creates no devices then");
    let full = json!({ "path": "/dev/null", "type": "c", "major": 1, "minor": 7 });
    for device in [null_device("/dev/sub/made"), full] {
        let path = device["path"].as_str().unwrap().to_owned();
        let bundle = with_a_bind_mount_on_dev(json!([device]));
        let mount = "which is a bind mount (mounts[3])";
        bundle.assert_refused(&["linux.devices[0]", &path, mount, "is not in it"]);
    }
}
