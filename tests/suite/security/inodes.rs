//! Files of the host that the runtime brings into a container. Root in the container can use them,
//! but not change their mode, owner or times, which the whole host would see.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::runner::Test;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use serde_json::{Value, json};

use crate::exec;
use crate::harness::{Bundle, Kind, differs, mountinfo, only_rt, trials};
use crate::terminal::Session;
use crate::users::map;

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_masked_file_is_not_the_hosts_null_device,
        a_masked_file_is_the_containers_null_device,
        no_host_file_can_be_changed,
        bind_mounted_devices_cannot_be_changed_by_their_mapped_owner,
        bind_mounted_devices_of_an_unmapped_owner_cannot_be_changed,
        a_terminal_of_the_host_cannot_be_changed,
        the_directory_of_the_notify_socket_cannot_be_changed,
        an_exec_process_cannot_change_a_host_file,
    ]
}

/// The capabilities that are needed to change any file of a user namespace.
const CAPABILITIES: [&str; 4] = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID"];

/// The metadata of host devices that containers get. It is restored if a test can change it. Only
/// one test at a time uses them.
pub(super) struct HostDevices {
    devices: Vec<(PathBuf, fs::Metadata)>,
    _lock: MutexGuard<'static, ()>,
}

static DEVICES_LOCK: Mutex<()> = Mutex::new(());

impl HostDevices {
    pub(super) fn record() -> Self {
        // If a test has failed, `drop` has restored them.
        let lock = DEVICES_LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        let names = ["null", "zero", "full", "random", "urandom", "tty", "fuse"];
        let paths = names.map(|name| PathBuf::from("/dev").join(name));
        let found = paths.map(|path| fs::metadata(&path).ok().map(|meta| (path, meta)));
        Self {
            devices: found.into_iter().flatten().collect(),
            _lock: lock,
        }
    }

    #[track_caller]
    pub(super) fn assert_unchanged(&self) {
        for (path, before) in &self.devices {
            // Using a terminal changes its times.
            let timed = !path.ends_with("tty");
            let metadata = |meta: &fs::Metadata| {
                let time = timed.then(|| meta.mtime());
                (meta.mode(), meta.uid(), meta.gid(), time)
            };
            let now = fs::metadata(path).unwrap();
            assert_eq!(metadata(&now), metadata(before), "{}", path.display());
        }
    }
}

impl Drop for HostDevices {
    fn drop(&mut self) {
        for (path, before) in &self.devices {
            let now = fs::metadata(path).unwrap();
            if now.mode() != before.mode() {
                fs::set_permissions(path, before.permissions()).unwrap();
            }
            if now.mtime() != before.mtime() {
                let times = [
                    (before.atime(), before.atime_nsec()),
                    (before.mtime(), before.mtime_nsec()),
                ];
                let [atime, mtime] = times.map(|(seconds, rest)| TimeSpec::new(seconds, rest));
                let follow = UtimensatFlags::FollowSymlink;
                utimensat(AT_FDCWD, path, &atime, &mtime, follow).unwrap();
            }
        }
    }
}

fn privileged(bundle: Bundle) -> Bundle {
    let rule = json!({ "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm" });
    let fuse =
        json!({ "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666 });
    bundle
        .capabilities(&CAPABILITIES)
        .file("etc/secret", "secret")
        .set("/linux/maskedPaths/-", json!("/etc/secret"))
        .set("/linux/resources/devices/-", rule)
        .set("/linux/devices", json!([fuse]))
        .args(&["/probe", "change-attributes"])
}

/// Checks that only files on file systems that the host has not mounted were changed. Returns all
/// paths that were tried.
#[track_caller]
fn check_changes(output: &str) -> Vec<String> {
    let line = output.lines().find(|line| line.starts_with('['));
    let tried: Vec<Value> = serde_json::from_str(line.unwrap_or_default())
        .unwrap_or_else(|error| panic!("{error}: {output}"));
    let table = mountinfo();
    let host_file_systems: BTreeSet<&str> = table
        .iter()
        .filter_map(|line| line.split(' ').nth(2))
        .collect();
    for one in &tried {
        let (device, changed) = (one["device"].as_str().unwrap(), &one["changed"]);
        let allowed = !host_file_systems.contains(device) || *changed == json!([]);
        assert!(allowed, "a file of the host: {one}");
    }
    let place = |one: &Value| one["place"].as_str().unwrap_or_default().to_owned();
    tried.iter().map(place).collect()
}

/// Standard input, which is the null device. Other runtimes put a pipe there.
const INPUT: &str = "/proc/self/fd/0";

#[track_caller]
fn assert_tried(tried: &[String], places: &[&str]) {
    let expected = |place: &&&str| **place != INPUT || Kind::under_test() == Kind::Rt;
    for place in places.iter().filter(expected) {
        assert!(
            tried.iter().any(|tried| tried == place),
            "{place}: {tried:?}"
        );
    }
}

#[track_caller]
fn assert_nothing_changes(bundle: &Bundle) {
    let host_devices = HostDevices::record();
    let places = check_changes(&bundle.run().assert_ok().stdout);
    host_devices.assert_unchanged();
    assert_tried(&places, &["/etc/secret", "/proc/keys", "/dev/null", INPUT]);
}

fn a_masked_file_is_not_the_hosts_null_device() {
    let host_devices = HostDevices::record();
    let script = "chmod 1666 /etc/secret; touch -d '2001-01-01 00:00:00' /etc/secret; \
                  echo x > /etc/secret; cat /etc/secret; touch -d '2001-01-01 00:00:00' /proc/keys; true";
    let bundle = privileged(Bundle::new()).sh(script);
    assert_eq!(bundle.run().assert_ok().stdout, "");
    host_devices.assert_unchanged();
}

/// A container that may mount can make it writable again, so the device must be its own.
fn a_masked_file_is_the_containers_null_device() {
    let script = "stat -c %d:%i /dev/null /etc/secret /proc/keys";
    let output = privileged(Bundle::new())
        .sh(script)
        .run()
        .assert_ok()
        .stdout;
    let files: BTreeSet<&str> = output.lines().collect();
    assert_eq!(files.len(), 1, "{output}");
}

fn no_host_file_can_be_changed() {
    assert_nothing_changes(&privileged(Bundle::new()));
}

fn bind_mounted_devices_cannot_be_changed_by_their_mapped_owner() {
    differs(Kind::Runc, "it binds them without restrictions");
    differs(Kind::Crun, "it binds them without restrictions");
    let entries = [(0, 0, 65_536)];
    assert_nothing_changes(&privileged(map(Bundle::new(), &entries)));
}

/// A process that can write to a file can set its times to now.
fn bind_mounted_devices_of_an_unmapped_owner_cannot_be_changed() {
    differs(Kind::Runc, "it binds them without restrictions");
    differs(Kind::Crun, "it binds them without restrictions");
    assert_nothing_changes(&privileged(map(Bundle::new(), &[(0, 100_000, 65_536)])));
}

fn a_terminal_of_the_host_cannot_be_changed() {
    let bundle = privileged(Bundle::new())
        .set("/process/terminal", json!(true))
        .sh("/probe change-attributes; echo done; read -r end");
    let host_devices = HostDevices::record();
    let mut session = Session::start(&bundle);
    let output = session.terminal.expect("done\n");
    session.terminal.type_keys("\r");
    session.assert_end(0);
    host_devices.assert_unchanged();
    assert_tried(&check_changes(&output), &["/dev/console"]);
}

fn the_directory_of_the_notify_socket_cannot_be_changed() {
    only_rt("Debian's runtimes bind it without restrictions");
    let script =
        "/probe change-attributes /run/notify /run/notify/notify.sock; /probe notify READY=1";
    let bundle = privileged(Bundle::new()).folder("run/notify").sh(script);
    let address = bundle.runtime().home().join("manager.sock");
    let host_devices = HostDevices::record();
    let manager = UnixDatagram::bind(&address).unwrap();
    let call = bundle.call("run", &[]);
    let running = call
        .with(|command| command.env("NOTIFY_SOCKET", &address))
        .start();
    for _message in ["READY", "MAINPID", "BARRIER"] {
        manager.recv(&mut [0; 64]).unwrap();
    }
    let output = running.wait().assert_ok().stdout;
    host_devices.assert_unchanged();
    assert_tried(&check_changes(&output), &["/run/notify/notify.sock"]);
    assert!(output.contains("READY=1: ok"), "{output}");
}

fn an_exec_process_cannot_change_a_host_file() {
    let (bundle, _container) = exec::running(privileged(Bundle::new()));
    let host_devices = HostDevices::record();
    let flags: Vec<&str> = CAPABILITIES
        .iter()
        .flat_map(|capability| ["--cap", *capability])
        .collect();
    let outcome = exec::exec(&bundle, &flags, &["/probe", "change-attributes"]).assert_ok();
    host_devices.assert_unchanged();
    assert_tried(&check_changes(&outcome.stdout), &[INPUT]);
}
