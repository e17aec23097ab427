//! config-linux.md, "Devices" and "Default Devices", and runtime-linux.md, "Dev symbolic links".

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;

use serde_json::{Value, json};

use crate::common::{assert_error, sleeper};
use crate::harness::{Bundle, Kind, trials, violates};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        configured_devices_are_available,
        the_type_is_that_of_the_config,
        the_path_may_be_anywhere,
        the_numbers_are_those_of_the_config,
        a_fifo_needs_no_numbers,
        mode_and_owner_are_those_of_the_config,
        a_file_of_another_kind_at_the_path_is_an_error,
        a_device_with_other_numbers_at_the_path_is_an_error,
        default_devices_are_supplied,
        the_console_is_the_terminal,
        ptmx_is_that_of_the_container,
        the_links_of_dev_are_made,
        a_link_of_dev_without_its_source_is_not_made,
    ]
}

fn device(path: &str, kind: &str, major: u32, minor: u32) -> Value {
    json!({"path": path, "type": kind, "major": major, "minor": minor, "fileMode": 0o640, "uid": 3, "gid": 4})
}

/// The device at `path` of a container that has it in its configuration.
#[track_caller]
fn made(device: &Value) -> Value {
    let name = device["path"]
        .as_str()
        .unwrap()
        .trim_start_matches("/dev/")
        .to_owned();
    Bundle::new().set("/linux/devices", json!([device])).probe()["devices"][name.as_str()].clone()
}

/// "devices (array of objects, OPTIONAL) lists devices that MUST be available in the container."
fn configured_devices_are_available() {
    let allowed = json!({"allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm"});
    let bundle = Bundle::new()
        .set(
            "/linux/devices",
            json!([{"path": "/dev/nought", "type": "c", "major": 1, "minor": 5}]),
        )
        .set("/linux/resources/devices/-", allowed)
        .sh("head -c 3 /dev/nought | busybox wc -c");
    assert_eq!(bundle.run().assert_ok().stdout.trim(), "3");
}

/// "type (string, REQUIRED) - type of device: c, b, u or p."
fn the_type_is_that_of_the_config() {
    for (kind, seen) in [("c", "c"), ("u", "c"), ("b", "b"), ("p", "fifo")] {
        let made = made(&device("/dev/made", kind, 7, 0));
        assert_eq!(made["type"], seen, "{kind}");
    }
}

/// "path (string, REQUIRED) - full path to device inside container."
fn the_path_may_be_anywhere() {
    let bundle = Bundle::new()
        .writable()
        .folder("opt")
        .set("/linux/devices", json!([device("/opt/made", "c", 1, 3)]))
        .sh("stat -c '%F %t:%T' /opt/made");
    assert_eq!(
        bundle.run().assert_ok().stdout,
        "character special file 1:3\n"
    );
}

/// "major, minor (int64, REQUIRED unless type is p) - major, minor numbers for the device."
fn the_numbers_are_those_of_the_config() {
    let made = made(&device("/dev/made", "b", 300, 1000));
    assert_eq!(
        (&made["major"], &made["minor"]),
        (&json!(300), &json!(1000))
    );
}

fn a_fifo_needs_no_numbers() {
    let made = made(&json!({"path": "/dev/made", "type": "p"}));
    assert_eq!(made["type"], "fifo");
}

/// "fileMode (uint32, OPTIONAL) - file mode for the device", "uid … of device owner", "gid … of device group".
fn mode_and_owner_are_those_of_the_config() {
    let made = made(&device("/dev/made", "c", 1, 3));
    assert_eq!(
        (&made["mode"], &made["uid"], &made["gid"]),
        (&json!("0640"), &json!(3), &json!(4))
    );
}

/// "If a file already exists at path that does not match the requested device, the runtime MUST generate an error."
fn a_file_of_another_kind_at_the_path_is_an_error() {
    violates(Kind::Runc, "takes any file that exists");
    violates(Kind::Crun, "takes any file that exists");
    let bundle = Bundle::new().writable().file("opt/made", "a file");
    assert_error(bundle.set("/linux/devices", json!([device("/opt/made", "c", 1, 3)])));
}

fn a_device_with_other_numbers_at_the_path_is_an_error() {
    violates(Kind::Runc, "takes any file that exists");
    violates(Kind::Crun, "takes any file that exists");
    let bundle = Bundle::new().writable().device("opt/made", 1, 5);
    assert_error(bundle.set("/linux/devices", json!([device("/opt/made", "c", 1, 3)])));
}

/// "In addition to any devices configured with this setting, the runtime MUST also supply:" these.
fn default_devices_are_supplied() {
    let seen = Bundle::new().probe();
    for (name, minor) in [
        ("null", 3),
        ("zero", 5),
        ("full", 7),
        ("random", 8),
        ("urandom", 9),
    ] {
        let device = &seen["devices"][name];
        let numbers = (&device["type"], &device["major"], &device["minor"]);
        assert_eq!(numbers, (&json!("c"), &json!(1), &json!(minor)), "{name}");
    }
    let tty = &seen["devices"]["tty"];
    assert_eq!(
        (&tty["type"], &tty["major"], &tty["minor"]),
        (&json!("c"), &json!(5), &json!(0))
    );
    let script = "head -c 2 /dev/zero >/dev/null && head -c 1 /dev/urandom >/dev/null && ! echo x 2>/dev/null >/dev/full";
    Bundle::new().sh(script).run().assert_ok();
}

/// "/dev/console is set up if terminal is enabled in the config by bind mounting the pseudoterminal pty to /dev/console."
fn the_console_is_the_terminal() {
    let bundle = sleeper().set("/process/terminal", json!(true));
    let socket = bundle.path().join("console");
    let _listener = UnixListener::bind(&socket).unwrap();
    let container = bundle.create_with(&["--console-socket", socket.to_str().unwrap()]);
    let console = fs::metadata(format!("/proc/{}/root/dev/console", container.pid())).unwrap();
    assert!(console.file_type().is_char_device());
    // Unix98 pseudoterminals have the numbers 136 to 143 (Documentation/admin-guide/devices.txt).
    assert!((136..=143).contains(&nix::sys::stat::major(console.rdev())));
    container.end();
}

/// "/dev/ptmx. A bind-mount or symlink of the container's /dev/pts/ptmx."
fn ptmx_is_that_of_the_container() {
    let bundle = Bundle::new()
        .sh("stat -L -c %t:%T /dev/ptmx; stat -c %d /dev/pts; stat -L -c %d /dev/ptmx");
    let outcome = bundle.run().assert_ok();
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines[0], "5:2");
    assert_eq!(lines[1], lines[2], "another instance of devpts");
}

/// "runtimes MUST create the following symlinks if the source file exists after processing mounts".
fn the_links_of_dev_are_made() {
    let seen = Bundle::new().probe();
    for (name, target) in [
        ("fd", ""),
        ("stdin", "/0"),
        ("stdout", "/1"),
        ("stderr", "/2"),
    ] {
        let link = &seen["devices"][name]["target"];
        assert_eq!(link, &json!(format!("/proc/self/fd{target}")), "{name}");
    }
}

fn a_link_of_dev_without_its_source_is_not_made() {
    violates(Kind::Runc, "does not run without /proc");
    violates(Kind::Crun, "makes them without /proc too");
    let bundle = Bundle::new()
        .without_mount("/proc")
        .remove("/linux/maskedPaths")
        .remove("/linux/readonlyPaths")
        .sh("for link in fd stdin stdout stderr; do test -L /dev/$link && echo $link; done; true");
    assert_eq!(bundle.run().assert_ok().stdout, "");
}
