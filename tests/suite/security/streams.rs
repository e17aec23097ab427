//! Standard streams that are the null device, because the caller redirected or closed them. The
//! container gets its own null device, because its root could change the host's.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::runner::Test;
use serde_json::json;

use super::inodes::HostDevices;
use crate::exec;
use crate::harness::{Bundle, Call, Directory, Kind, only_rt, trials, wait_gone, wait_until};
use crate::users::map;

pub(super) fn tests() -> Vec<Test> {
    trials![
        null_streams_of_run_are_not_the_hosts_null_device,
        null_streams_of_run_detached_are_not_the_hosts_null_device,
        null_streams_of_create_are_not_the_hosts_null_device,
        null_streams_of_exec_are_not_the_hosts_null_device,
        null_streams_of_exec_detached_are_not_the_hosts_null_device,
        without_a_null_device_in_the_container_streams_are_private,
        a_link_at_dev_null_is_not_followed_for_streams,
        in_a_user_namespace_the_hosts_null_device_is_not_passed_on,
        a_null_stream_of_an_unmapped_owner_is_kept,
    ]
}

/// How the caller passes the streams.
const NULL_STREAMS: [&str; 2] = [
    "exec \"$@\" </dev/null >/dev/null 2>&1",
    "exec \"$@\" <&- >&- 2>&-",
];

/// Writes to /out/seen which files the streams and the container's /dev/null are.
const REPORT_STREAMS: &str = "(stat -L -c %d:%i /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2 /dev/null > /out/draft); \
                    mv /out/draft /out/seen";

/// Adds a volume for the result.
fn reporting(bundle: Bundle) -> (Bundle, Directory) {
    let out = Directory::new();
    let all = fs::Permissions::from_mode(0o777);
    fs::set_permissions(out.path(), all).unwrap();
    let bundle = bundle
        .folder("out")
        .executable("bin/mv", "#!/bin/sh\nexec busybox mv \"$@\"\n")
        .bind(out.path(), "/out", &["rbind", "rw"])
        .sh(REPORT_STREAMS);
    (bundle, out)
}

/// Waits for the result, and returns the files.
#[track_caller]
fn seen(out: &Directory) -> Vec<String> {
    let path = out.join("seen");
    wait_until("what the container sees", || path.exists());
    let output = fs::read_to_string(&path).unwrap();
    fs::remove_file(path).unwrap();
    output.lines().map(str::to_owned).collect()
}

/// All three streams are the container's /dev/null.
#[track_caller]
fn assert_containers_null_device(out: &Directory) {
    let seen = seen(out);
    let [input, output, error, own] = seen.as_slice() else {
        panic!("expected four files: {seen:?}");
    };
    assert_eq!([input, output, error], [own; 3]);
    assert_ne!(*own, hosts_null_device());
}

fn hosts_null_device() -> String {
    let meta = fs::metadata("/dev/null").unwrap();
    format!("{}:{}", meta.dev(), meta.ino())
}

/// Calls `verb` with redirected and with closed streams. Each process must get the container's null
/// device.
#[track_caller]
fn assert_containers_null_device_in(verb: &str, flags: &[&str]) {
    // Go opens files of its own at the numbers of closed streams.
    let count = if Kind::under_test() == Kind::Rt { 2 } else { 1 };
    for redirect in &NULL_STREAMS[..count] {
        let (bundle, out) = reporting(Bundle::new());
        let call = bundle.call_through(&["sh", "-c", redirect, "sh"], verb, flags);
        call.run().assert_ok();
        if verb == "create" {
            bundle.container().start().assert_ok();
        }
        assert_containers_null_device(&out);
    }
}

fn null_streams_of_run_are_not_the_hosts_null_device() {
    only_rt("Debian's runtimes put pipes in their place");
    assert_containers_null_device_in("run", &[]);
}

fn null_streams_of_run_detached_are_not_the_hosts_null_device() {
    assert_containers_null_device_in("run", &["--detach"]);
}

fn null_streams_of_create_are_not_the_hosts_null_device() {
    assert_containers_null_device_in("create", &[]);
}

#[track_caller]
fn assert_containers_null_device_in_exec(flags: &[&str]) {
    let (bundle, out) = reporting(Bundle::new());
    let (bundle, _container) = exec::running(bundle);
    let pid_file = bundle.runtime().home().join("pid");
    let flags = [flags, &["--pid-file", pid_file.to_str().unwrap()]].concat();
    for redirect in NULL_STREAMS {
        let arguments = ["/bin/sh", "-c", REPORT_STREAMS];
        let before = ["sh", "-c", redirect, "sh"];
        let call = exec::through(&bundle, &before, &flags, &arguments);
        call.run().assert_ok();
        assert_containers_null_device(&out);
        // A detached process is a child of the test, which reaps it.
        wait_gone(fs::read_to_string(&pid_file).unwrap().parse().unwrap());
    }
}

fn null_streams_of_exec_are_not_the_hosts_null_device() {
    only_rt("Debian's runtimes put pipes in their place");
    assert_containers_null_device_in_exec(&[]);
}

fn null_streams_of_exec_detached_are_not_the_hosts_null_device() {
    only_rt("Debian's runtimes keep the host's null device");
    assert_containers_null_device_in_exec(&["--detach"]);
}

/// Binds a host directory on /dev, which may hold another file named null.
fn with_dev(bundle: Bundle, dev: &Path) -> Bundle {
    ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev"]
        .iter()
        .fold(bundle, |bundle, place| bundle.without_mount(place))
        .bind(dev, "/dev", &["rbind"])
        .remove("/linux/maskedPaths")
}

fn through_null(call: Call) -> Call {
    call.with(|command| command.stdin(fs::File::open("/dev/null").unwrap()))
}

/// Standard input is a null device, although the container has none.
const READ: &str = "cat; stat -L -c '%d:%i %t:%T' /proc/$$/fd/0";

#[track_caller]
fn assert_private(output: &str) {
    let (file, device) = output.trim_end().split_once(' ').unwrap();
    assert_eq!(device, "1:3");
    assert_ne!(file, hosts_null_device());
}

#[track_caller]
fn assert_runs_with_a_private_null_device(bundle: &Bundle) {
    let ran = through_null(bundle.call("run", &[])).run();
    assert_private(&ran.assert_ok().stdout);
}

fn without_a_null_device_in_the_container_streams_are_private() {
    only_rt("Debian's runtimes keep the host's null device");
    let host_devices = HostDevices::record();
    let dev = Directory::new();
    let bundle = with_dev(Bundle::new(), dev.path()).sh(READ);
    assert_runs_with_a_private_null_device(&bundle);
    // With a regular file at /dev/null.
    fs::write(dev.join("null"), "text").unwrap();
    assert_runs_with_a_private_null_device(&bundle);
    let (bundle, _container) = exec::running(bundle);
    let script = format!("touch -d '2001-01-01 00:00:00' /proc/self/fd/0; {READ}");
    let arguments = ["/bin/sh", "-c", &script];
    let outcome = through_null(exec::call(&bundle, &[], &arguments)).run();
    assert_private(&outcome.assert_ok().stdout);
    host_devices.assert_unchanged();
    assert_eq!(fs::read_to_string(dev.join("null")).unwrap(), "text");
}

fn a_link_at_dev_null_is_not_followed_for_streams() {
    only_rt("Debian's runtimes follow it");
    let dev = Directory::new();
    std::os::unix::fs::symlink("/proc/self/fd/0", dev.join("null")).unwrap();
    let bundle = with_dev(Bundle::new(), dev.path()).sh(READ);
    assert_runs_with_a_private_null_device(&bundle);
}

/// A user namespace cannot create a null device, and its root could change the host's.
fn in_a_user_namespace_the_hosts_null_device_is_not_passed_on() {
    only_rt("Debian's runtimes pass it on");
    let dev = Directory::new();
    let bundle = map(Bundle::new(), &[(0, 0, 65_536)]);
    let bundle = with_dev(bundle, dev.path()).args(&["/bin/true"]);
    let outcome = through_null(bundle.call("run", &[])).run();
    let outcome = outcome.assert_refused("standard input");
    assert!(outcome.one_line().contains("null device"), "{outcome}");
}

fn a_null_stream_of_an_unmapped_owner_is_kept() {
    only_rt("Debian's runtimes need a null device");
    let dev = Directory::new();
    let bundle = map(Bundle::new(), &[(0, 100_000, 65_536)]);
    let bundle = with_dev(bundle, dev.path()).set(
        "/process/args",
        json!(["/bin/sh", "-c", "chmod 666 /proc/self/fd/0 || cat"]),
    );
    let host_devices = HostDevices::record();
    through_null(bundle.call("run", &[])).run().assert_ok();
    host_devices.assert_unchanged();
}
