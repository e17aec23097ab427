//! Standard streams that are the null device, because the caller says so or had them closed: they
//! are the container's own, for the machine's would be its root's to change.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use libtest_mimic::Trial;
use serde_json::json;

use super::inodes::Machine;
use crate::exec;
use crate::harness::{Bundle, Call, Directory, Kind, only_rt, trials, wait_gone, wait_until};
use crate::users::map;

pub(super) fn tests() -> Vec<Trial> {
    trials![
        null_streams_of_run_are_not_the_machines_null,
        null_streams_of_run_detached_are_not_the_machines_null,
        null_streams_of_create_are_not_the_machines_null,
        null_streams_of_exec_are_not_the_machines_null,
        null_streams_of_exec_detached_are_not_the_machines_null,
        without_a_null_device_inside_the_streams_are_private,
        a_link_in_place_of_the_null_device_leads_to_no_stream,
        without_one_in_a_user_namespace_the_machines_is_not_handed_out,
        without_one_a_stream_whose_owner_is_nobody_stays,
    ]
}

/// How the caller has them.
const WAYS: [&str; 2] = [
    "exec \"$@\" </dev/null >/dev/null 2>&1",
    "exec \"$@\" <&- >&- 2>&-",
];

/// Writes to /out/seen which files the three streams are, and the null device that the container has.
const LOOK: &str = "(stat -L -c %d:%i /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2 /dev/null > /out/draft); \
                    mv /out/draft /out/seen";

/// A bundle that can write to a directory of the test.
fn looking(bundle: Bundle) -> (Bundle, Directory) {
    let out = Directory::new();
    let all = fs::Permissions::from_mode(0o777);
    fs::set_permissions(out.path(), all).unwrap();
    let bundle = bundle
        .folder("out")
        .executable("bin/mv", "#!/bin/sh\nexec busybox mv \"$@\"\n")
        .bind(out.path(), "/out", &["rbind", "rw"])
        .sh(LOOK);
    (bundle, out)
}

/// The files that were seen, once they were.
#[track_caller]
fn seen(out: &Directory) -> Vec<String> {
    let path = out.join("seen");
    wait_until("what the container sees", || path.exists());
    let said = fs::read_to_string(&path).unwrap();
    fs::remove_file(path).unwrap();
    said.lines().map(str::to_owned).collect()
}

/// All three are the null device that the container has at /dev/null.
#[track_caller]
fn assert_own(out: &Directory) {
    let seen = seen(out);
    let [input, output, error, own] = seen.as_slice() else {
        panic!("four files: {seen:?}");
    };
    assert_eq!([input, output, error], [own; 3]);
    assert_ne!(*own, machines_null());
}

fn machines_null() -> String {
    let meta = fs::metadata("/dev/null").unwrap();
    format!("{}:{}", meta.dev(), meta.ino())
}

/// `verb` is called in both ways, and every process sees its own null device.
#[track_caller]
fn assert_own_in(verb: &str, flags: &[&str]) {
    // Go's own files take the places of what was closed.
    let known = if Kind::under_test() == Kind::Rt { 2 } else { 1 };
    for way in &WAYS[..known] {
        let (bundle, out) = looking(Bundle::new());
        let call = bundle.call_through(&["sh", "-c", way, "sh"], verb, flags);
        call.run().assert_ok();
        if verb == "create" {
            bundle.container().start().assert_ok();
        }
        assert_own(&out);
    }
}

fn null_streams_of_run_are_not_the_machines_null() {
    only_rt("Debian's put pipes in their place");
    assert_own_in("run", &[]);
}

fn null_streams_of_run_detached_are_not_the_machines_null() {
    assert_own_in("run", &["--detach"]);
}

fn null_streams_of_create_are_not_the_machines_null() {
    assert_own_in("create", &[]);
}

#[track_caller]
fn assert_own_in_exec(flags: &[&str]) {
    let (bundle, out) = looking(Bundle::new());
    let (bundle, _container) = exec::running(bundle);
    let pid_file = bundle.runtime().home().join("pid");
    let flags = [flags, &["--pid-file", pid_file.to_str().unwrap()]].concat();
    for way in WAYS {
        let words = ["/bin/sh", "-c", LOOK];
        let before = ["sh", "-c", way, "sh"];
        let call = exec::through(&bundle, &before, &flags, &words);
        call.run().assert_ok();
        assert_own(&out);
        // One that was left alone is this test's to reap.
        wait_gone(fs::read_to_string(&pid_file).unwrap().parse().unwrap());
    }
}

fn null_streams_of_exec_are_not_the_machines_null() {
    only_rt("Debian's put pipes in their place");
    assert_own_in_exec(&[]);
}

fn null_streams_of_exec_detached_are_not_the_machines_null() {
    only_rt("Debian's leave them on the machine's");
    assert_own_in_exec(&["--detach"]);
}

/// /dev is a directory of the machine, in which there may be something else called null.
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

/// Standard input is a null device, though the container has none.
const READ: &str = "cat; stat -L -c '%d:%i %t:%T' /proc/$$/fd/0";

#[track_caller]
fn assert_private(said: &str) {
    let (file, device) = said.trim_end().split_once(' ').unwrap();
    assert_eq!(device, "1:3");
    assert_ne!(file, machines_null());
}

#[track_caller]
fn assert_runs_with_a_private_one(bundle: &Bundle) {
    let ran = through_null(bundle.call("run", &[])).run();
    assert_private(&ran.assert_ok().stdout);
}

fn without_a_null_device_inside_the_streams_are_private() {
    only_rt("Debian's leave them on the machine's");
    let machine = Machine::now();
    let dev = Directory::new();
    let bundle = with_dev(Bundle::new(), dev.path()).sh(READ);
    assert_runs_with_a_private_one(&bundle);
    // A file, and a node of another device.
    fs::write(dev.join("null"), "text").unwrap();
    assert_runs_with_a_private_one(&bundle);
    let (bundle, _container) = exec::running(bundle);
    let script = format!("touch -d '2001-01-01 00:00:00' /proc/self/fd/0; {READ}");
    let words = ["/bin/sh", "-c", &script];
    let outcome = through_null(exec::call(&bundle, &[], &words)).run();
    assert_private(&outcome.assert_ok().stdout);
    machine.assert_unchanged();
    assert_eq!(fs::read_to_string(dev.join("null")).unwrap(), "text");
}

fn a_link_in_place_of_the_null_device_leads_to_no_stream() {
    only_rt("Debian's follow it");
    let dev = Directory::new();
    std::os::unix::fs::symlink("/proc/self/fd/0", dev.join("null")).unwrap();
    let bundle = with_dev(Bundle::new(), dev.path()).sh(READ);
    assert_runs_with_a_private_one(&bundle);
}

/// Nobody can make one there, and the machine's would obey the container's root.
fn without_one_in_a_user_namespace_the_machines_is_not_handed_out() {
    only_rt("Debian's hand it out");
    let dev = Directory::new();
    let bundle = map(Bundle::new(), &[(0, 0, 65_536)]);
    let bundle = with_dev(bundle, dev.path()).args(&["/bin/true"]);
    let outcome = through_null(bundle.call("run", &[])).run();
    let outcome = outcome.assert_refused("standard input");
    assert!(outcome.one_line().contains("null device"), "{outcome}");
}

fn without_one_a_stream_whose_owner_is_nobody_stays() {
    only_rt("Debian's need a null device");
    let dev = Directory::new();
    let bundle = map(Bundle::new(), &[(0, 100_000, 65_536)]);
    let bundle = with_dev(bundle, dev.path()).set(
        "/process/args",
        json!(["/bin/sh", "-c", "chmod 666 /proc/self/fd/0 || cat"]),
    );
    let machine = Machine::now();
    through_null(bundle.call("run", &[])).run().assert_ok();
    machine.assert_unchanged();
}
