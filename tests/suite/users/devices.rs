//! Devices in a user namespace. mknod(2) is not permitted there, so the runtime binds those of
//! the host.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::runner::Test;
use serde_json::{Value, json};

use super::{mapped, owned};
use crate::harness::{Bundle, HostState, Kind, Report, differs, only_rt, trials};
use crate::rootfs::DEFAULT_DEVICES;

pub(super) fn tests() -> Vec<Test> {
    trials![
        default_devices_are_bound_from_the_host,
        default_devices_work,
        default_symlinks_exist,
        configured_devices_are_bound_from_the_host,
        a_device_in_a_subdirectory_of_dev_is_bound,
        a_device_outside_of_dev_that_the_host_lacks_is_refused,
        a_configured_fifo_is_created,
        a_device_that_the_host_lacks_is_refused,
        a_device_with_another_number_on_the_host_is_refused,
        without_a_mount_on_dev_devices_are_bound_in_the_rootfs,
        a_symlink_in_place_of_a_device_is_not_followed,
        a_file_of_another_kind_at_the_path_of_a_device_is_refused,
        the_hosts_null_device_keeps_its_owner,
    ]
}

#[track_caller]
fn assert_default_devices(seen: &Report) {
    for (name, major, minor) in DEFAULT_DEVICES {
        let device = &seen["devices"][name];
        assert_eq!(device["type"], "c", "{name}: {device}");
        let number = (&device["major"], &device["minor"]);
        assert_eq!(number, (&json!(major), &json!(minor)), "{name}");
        assert_eq!(device["mode"], "0666", "{name}");
        let mount = seen.mount(&format!("/dev/{name}"));
        assert_eq!(mount.root(), format!("/{name}"));
        assert!(!mount.has("nodev"), "{name}: {:?}", mount.options());
    }
}

fn default_devices_are_bound_from_the_host() {
    let bundle = mapped();
    let before = HostState::of(&bundle);
    assert_default_devices(&bundle.probe());
    before.assert_unchanged(&bundle);
}

fn default_devices_work() {
    let script = "echo x > /dev/null && cat /dev/null && head -c 3 /dev/zero | busybox od -An -tx1 \
                  && head -c 2 /dev/random | busybox wc -c && head -c 2 /dev/urandom | busybox wc -c; \
                  echo x > /dev/full; /probe device /dev/tty r";
    let outcome = mapped().sh(script).run().assert_ok();
    let said: Vec<&str> = outcome.stdout.lines().map(str::trim).collect();
    // ENXIO: there is no controlling terminal, but neither the device cgroup nor `nodev` forbids
    // the access.
    assert_eq!(said, ["00 00 00", "2", "2", "ENXIO"], "{outcome}");
    assert!(outcome.stderr.contains("No space left"), "{outcome}");
    let outcome = mapped()
        .user(1000, 1000)
        .sh("echo x > /dev/null; cat /dev/null")
        .run();
    assert_eq!(outcome.assert_ok().stdout, "");
}

fn default_symlinks_exist() {
    let seen = mapped().probe();
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("ptmx", "pts/ptmx"),
    ] {
        assert_eq!(seen["devices"][name]["target"], target, "{name}");
        assert_eq!(seen["devices"][name]["uid"], 0, "{name}");
    }
    assert_eq!(seen["devices"]["console"], Value::Null);
}

fn device(path: &str, (major, minor): (u32, u32)) -> Value {
    json!({ "path": path, "type": "c", "major": major, "minor": minor, "fileMode": 0o666, "uid": 0, "gid": 0 })
}

fn allowed(bundle: Bundle, (major, minor): (u32, u32)) -> Bundle {
    let rule =
        json!({ "allow": true, "type": "c", "major": major, "minor": minor, "access": "rwm" });
    bundle.set("/linux/resources/devices/-", rule)
}

const FUSE: (u32, u32) = (10, 229);
const TUN: (u32, u32) = (10, 200);

fn configured_devices_are_bound_from_the_host() {
    let bundle = mapped().set("/linux/devices", json!([device("/dev/fuse", FUSE)]));
    let bundle = allowed(bundle, FUSE);
    let seen = bundle.probe();
    let fuse = &seen["devices"]["fuse"];
    assert_eq!(
        (&fuse["major"], &fuse["minor"]),
        (&json!(10), &json!(229)),
        "{fuse}"
    );
    assert_eq!(seen.mount("/dev/fuse").root(), "/fuse");
    let said = bundle.args(&["/probe", "device", "/dev/fuse", "r"]).run();
    assert_eq!(said.assert_ok().stdout, "ok\n");
}

fn a_device_in_a_subdirectory_of_dev_is_bound() {
    let bundle = mapped().set("/linux/devices", json!([device("/dev/net/tun", TUN)]));
    let bundle = allowed(bundle, TUN).sh("/probe device /dev/net/tun r; stat -c %u /dev/net");
    assert_eq!(bundle.run().assert_ok().stdout, "ok\n0\n");
}

/// A device is bound from the same path on the host, and the host has no /srv/null.
fn a_device_outside_of_dev_that_the_host_lacks_is_refused() {
    only_rt("Debian's look for it in the container's root");
    let bundle = owned(mapped()).writable();
    let bundle = bundle.set("/linux/devices", json!([device("/srv/null", (1, 3))]));
    let before = HostState::of(&bundle);
    let bundle = bundle.args(&["/bin/true"]);
    let outcome = bundle.run();
    outcome.assert_refused("linux.devices[0]").one_line();
    before.assert_unchanged(&bundle);
}

fn a_configured_fifo_is_created() {
    differs(Kind::Runc, "it binds a fifo of the host");
    differs(Kind::Crun, "it binds a fifo of the host");
    let fifo = json!({ "path": "/dev/pipe", "type": "p", "fileMode": 0o640, "uid": 7, "gid": 8 });
    let seen = mapped().set("/linux/devices", json!([fifo])).probe();
    let fifo = &seen["devices"]["pipe"];
    assert_eq!(
        (&fifo["type"], &fifo["mode"]),
        (&json!("fifo"), &json!("0640"))
    );
    assert_eq!((&fifo["uid"], &fifo["gid"]), (&json!(7), &json!(8)));
}

#[track_caller]
fn refused(device: &Value, texts: &[&str]) {
    super::refused(mapped().set("/linux/devices", json!([device])), texts);
}

fn a_device_that_the_host_lacks_is_refused() {
    refused(
        &device("/dev/nothing-here", (1, 3)),
        &["linux.devices[0]", "/dev/nothing-here"],
    );
}

/// The configuration allows 1:3, and another device at this path is not allowed by that.
fn a_device_with_another_number_on_the_host_is_refused() {
    only_rt("Debian's bind any file that is there");
    refused(
        &device("/dev/fuse", (1, 3)),
        &["linux.devices[0]", "/dev/fuse"],
    );
    refused(
        &device("/dev/shm", (1, 3)),
        &["linux.devices[0]", "/dev/shm"],
    );
    let mut block = device("/dev/null", (1, 3));
    block["type"] = json!("b");
    refused(&block, &["linux.devices[0]", "/dev/null"]);
}

/// With a writable root, and no mount on /dev or below.
fn without_dev_mounts() -> Bundle {
    ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev"]
        .iter()
        .fold(mapped().writable(), |bundle, place| {
            bundle.without_mount(place)
        })
}

/// The mount points are files that the runtime creates in a root that the container owns.
fn without_a_mount_on_dev_devices_are_bound_in_the_rootfs() {
    let bundle = owned(without_dev_mounts());
    for _ in 0..2 {
        let seen = bundle.probe();
        assert_default_devices(&seen);
        assert_eq!(seen["devices"]["fd"]["target"], "/proc/self/fd");
    }
    let before = HostState::of(&bundle);
    bundle.probe();
    before.assert_unchanged(&bundle);
}

/// A bind that followed it would be mounted on its target.
fn a_symlink_in_place_of_a_device_is_not_followed() {
    only_rt("Debian's runc follows it within the root");
    let bundle = without_dev_mounts()
        .file("etc/target", "precious\n")
        .symlink("dev/null", "/etc/target");
    let bundle = owned(bundle).args(&["/bin/cat", "/etc/target"]);
    let outcome = bundle.run();
    if outcome.code() == 0 {
        assert_eq!(outcome.stdout, "precious\n", "{outcome}");
    } else {
        assert!(outcome.one_line().contains("null"), "{outcome}");
    }
}

/// config-linux.md: "If a file already exists at path that does not match the requested device, the
/// runtime MUST generate an error." The mount point of an earlier run is an empty file.
fn a_file_of_another_kind_at_the_path_of_a_device_is_refused() {
    only_rt("Debian's mount the device on any file");
    let devices = json!([device("/dev/fuse", FUSE)]);
    for bundle in [
        without_dev_mounts().file("dev/fuse", "a file"),
        without_dev_mounts().device("dev/fuse", 1, 5),
    ] {
        let bundle = owned(bundle).set("/linux/devices", devices.clone());
        let outcome = bundle.args(&["/bin/true"]).run();
        let outcome = outcome.assert_refused("linux.devices[0]");
        let line = outcome.one_line();
        assert!(line.contains("another file is there"), "{line}");
    }
    let (major, minor) = FUSE;
    let same = without_dev_mounts().device("dev/fuse", major.into(), minor.into());
    let same = owned(same).set("/linux/devices", devices.clone());
    same.args(&["/bin/true"]).run().assert_ok();
    super::refused(
        owned(without_dev_mounts().file("dev/null", "a file")),
        &["default devices", "another file is there"],
    );
}

/// The runtime gives standard input to the process's user, but here it is /dev/null.
fn the_hosts_null_device_keeps_its_owner() {
    differs(Kind::Crun, "it changes the owner");
    let owner = || {
        let meta = fs::metadata("/dev/null").unwrap();
        (meta.uid(), meta.gid(), meta.mode())
    };
    let before = owner();
    let bundle = mapped().user(1000, 1000);
    let input = bundle.probe()["fds"]["0"].clone();
    assert!(
        input == "/dev/null" || Kind::under_test() != Kind::Rt,
        "{input}"
    );
    assert_eq!(owner(), before);
}
