//! Files of the machine that the runtime itself brings into a container: whoever is root in there
//! can use them, but not change their mode, owner or times, which all the machine would see.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use libtest_mimic::Trial;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use serde_json::{Value, json};

use crate::exec;
use crate::harness::{Bundle, Kind, differs, mountinfo, only_rt, trials};
use crate::terminal::Session;
use crate::users::map;

pub(super) fn tests() -> Vec<Trial> {
    trials![
        a_masked_file_is_not_the_machines_null,
        a_masked_file_is_the_containers_null,
        no_file_of_the_machine_can_be_changed,
        bound_devices_cannot_be_changed_by_whoever_their_owner_is_mapped_to,
        bound_devices_cannot_be_changed_where_their_owner_is_nobody,
        a_terminals_files_are_the_containers,
        the_directory_of_the_notify_socket_cannot_be_changed,
        a_process_that_joins_cannot_change_a_file_of_the_machine,
    ]
}

/// All that is needed to change a file of one's own user namespace.
const POWERS: [&str; 4] = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID"];

/// Devices that containers get, as they are; put back if a test finds out that they can be changed.
/// One test at a time looks at them.
pub(super) struct Machine {
    devices: Vec<(PathBuf, fs::Metadata)>,
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());

impl Machine {
    pub(super) fn now() -> Self {
        // A test that has failed has put them back.
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let names = ["null", "zero", "full", "random", "urandom", "tty", "fuse"];
        let paths = names.map(|name| PathBuf::from("/dev").join(name));
        let found = paths.map(|path| fs::metadata(&path).ok().map(|meta| (path, meta)));
        Self {
            devices: found.into_iter().flatten().collect(),
            _alone: alone,
        }
    }

    #[track_caller]
    pub(super) fn assert_unchanged(&self) {
        for (path, before) in &self.devices {
            // Whoever uses a terminal changes its times.
            let timed = !path.ends_with("tty");
            let told = |meta: &fs::Metadata| {
                let time = timed.then(|| meta.mtime());
                (meta.mode(), meta.uid(), meta.gid(), time)
            };
            let now = fs::metadata(path).unwrap();
            assert_eq!(told(&now), told(before), "{}", path.display());
        }
    }
}

impl Drop for Machine {
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

fn powerful(bundle: Bundle) -> Bundle {
    let rule = json!({ "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm" });
    let fuse =
        json!({ "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666 });
    bundle
        .capabilities(&POWERS)
        .file("etc/secret", "secret")
        .set("/linux/maskedPaths/-", json!("/etc/secret"))
        .set("/linux/resources/devices/-", rule)
        .set("/linux/devices", json!([fuse]))
        .args(&["/probe", "deface"])
}

/// What could be changed lies on file systems that the machine has not mounted; returns all places.
#[track_caller]
fn judge(said: &str) -> Vec<String> {
    let line = said.lines().find(|line| line.starts_with('['));
    let tried: Vec<Value> = serde_json::from_str(line.unwrap_or_default())
        .unwrap_or_else(|error| panic!("{error}: {said}"));
    let table = mountinfo();
    let machines: BTreeSet<&str> = table
        .iter()
        .filter_map(|line| line.split(' ').nth(2))
        .collect();
    for one in &tried {
        let (device, changed) = (one["device"].as_str().unwrap(), &one["changed"]);
        let own = !machines.contains(device) || *changed == json!([]);
        assert!(own, "of the machine: {one}");
    }
    let place = |one: &Value| one["place"].as_str().unwrap_or_default().to_owned();
    tried.iter().map(place).collect()
}

/// Standard input, which is the null device. Others put a pipe in its place.
const INPUT: &str = "/proc/self/fd/0";

#[track_caller]
fn assert_tried(tried: &[String], places: &[&str]) {
    let own = |place: &&&str| **place != INPUT || Kind::under_test() == Kind::Rt;
    for place in places.iter().filter(own) {
        assert!(
            tried.iter().any(|tried| tried == place),
            "{place}: {tried:?}"
        );
    }
}

#[track_caller]
fn assert_nothing_changes(bundle: &Bundle) {
    let machine = Machine::now();
    let places = judge(&bundle.run().assert_ok().stdout);
    machine.assert_unchanged();
    assert_tried(&places, &["/etc/secret", "/proc/keys", "/dev/null", INPUT]);
}

fn a_masked_file_is_not_the_machines_null() {
    let machine = Machine::now();
    let script = "chmod 1666 /etc/secret; touch -d '2001-01-01 00:00:00' /etc/secret; \
                  echo x > /etc/secret; cat /etc/secret; touch -d '2001-01-01 00:00:00' /proc/keys; true";
    let bundle = powerful(Bundle::new()).sh(script);
    assert_eq!(bundle.run().assert_ok().stdout, "");
    machine.assert_unchanged();
}

/// Whoever may mount can make it writable again: it is nobody else's even then.
fn a_masked_file_is_the_containers_null() {
    let script = "stat -c %d:%i /dev/null /etc/secret /proc/keys";
    let said = powerful(Bundle::new()).sh(script).run().assert_ok().stdout;
    let files: BTreeSet<&str> = said.lines().collect();
    assert_eq!(files.len(), 1, "{said}");
}

fn no_file_of_the_machine_can_be_changed() {
    assert_nothing_changes(&powerful(Bundle::new()));
}

fn bound_devices_cannot_be_changed_by_whoever_their_owner_is_mapped_to() {
    differs(Kind::Runc, "it binds them as they are");
    differs(Kind::Crun, "it binds them as they are");
    let entries = [(0, 0, 65_536)];
    assert_nothing_changes(&powerful(map(Bundle::new(), &entries)));
}

/// Everybody who may write to a file may set its times to now.
fn bound_devices_cannot_be_changed_where_their_owner_is_nobody() {
    differs(Kind::Runc, "it binds them as they are");
    differs(Kind::Crun, "it binds them as they are");
    assert_nothing_changes(&powerful(map(Bundle::new(), &[(0, 100_000, 65_536)])));
}

fn a_terminals_files_are_the_containers() {
    let bundle = powerful(Bundle::new())
        .set("/process/terminal", json!(true))
        .sh("/probe deface; echo done; read -r end");
    let machine = Machine::now();
    let mut session = Session::start(&bundle);
    let said = session.terminal.expect("done\n");
    session.terminal.type_keys("\r");
    session.assert_end(0);
    machine.assert_unchanged();
    assert_tried(&judge(&said), &["/dev/console"]);
}

fn the_directory_of_the_notify_socket_cannot_be_changed() {
    only_rt("Debian's binds it as it is");
    let script = "/probe deface /run/notify /run/notify/notify.sock; /probe notify READY=1";
    let bundle = powerful(Bundle::new()).folder("run/notify").sh(script);
    let address = bundle.runtime().home().join("manager.sock");
    let machine = Machine::now();
    let manager = UnixDatagram::bind(&address).unwrap();
    let call = bundle.call("run", &[]);
    let running = call
        .with(|command| command.env("NOTIFY_SOCKET", &address))
        .start();
    for _message in ["READY", "MAINPID", "BARRIER"] {
        manager.recv(&mut [0; 64]).unwrap();
    }
    let said = running.wait().assert_ok().stdout;
    machine.assert_unchanged();
    assert_tried(&judge(&said), &["/run/notify/notify.sock"]);
    assert!(said.contains("READY=1: ok"), "{said}");
}

fn a_process_that_joins_cannot_change_a_file_of_the_machine() {
    let (bundle, _container) = exec::running(powerful(Bundle::new()));
    let machine = Machine::now();
    let flags: Vec<&str> = POWERS.iter().flat_map(|power| ["--cap", *power]).collect();
    let outcome = exec::exec(&bundle, &flags, &["/probe", "deface"]).assert_ok();
    machine.assert_unchanged();
    assert_tried(&judge(&outcome.stdout), &[INPUT]);
}
