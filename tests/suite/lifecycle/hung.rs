//! A container that hangs while it is made, below a file system that does not answer.

use std::fs::{self, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::Path;

use libtest_mimic::Trial;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::sleeper;
use crate::harness::{
    Bundle, Directory, Traces, only_rt, signal, skip, trials, wait_gone, wait_until,
};

pub(super) fn tests() -> Vec<Trial> {
    trials![init_ends_with_a_create_that_is_killed]
}

/// A FUSE file system whose server reads nothing.
struct Dead {
    place: Directory,
    _server: fs::File,
}

impl Dead {
    fn new() -> Self {
        let server = OpenOptions::new().read(true).write(true).open("/dev/fuse");
        let server = server.unwrap_or_else(|_| skip("no FUSE here"));
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0,allow_other",
            server.as_raw_fd()
        );
        let place = Directory::new();
        let mounted = mount(
            Some("dead"),
            place.path(),
            Some("fuse"),
            MsFlags::MS_NOSUID,
            Some(options.as_str()),
        );
        mounted.unwrap();
        Self {
            place,
            _server: server,
        }
    }

    fn path(&self) -> &Path {
        self.place.path()
    }
}

impl Drop for Dead {
    fn drop(&mut self) {
        let _ = umount2(self.path(), MntFlags::MNT_DETACH);
    }
}

/// The process of a container that is being made, as its state has it.
fn known_pid(bundle: &Bundle) -> Option<i32> {
    let state = bundle.runtime().root().join(bundle.id()).join("state.json");
    let state: Value = serde_json::from_slice(&fs::read(state).ok()?).ok()?;
    let pid = i32::try_from(state["init_process_pid"].as_i64()?).ok()?;
    (pid > 0).then_some(pid)
}

/// Whether a process waits for the server of the file system.
fn hangs(pid: i32) -> bool {
    let place = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    place.contains("fuse") || place.contains("request_wait")
}

/// Wherever it hangs, whoever it is by then; and what is left can be deleted.
fn init_ends_with_a_create_that_is_killed() {
    only_rt("Debian's runc leaves its init");
    let dead = Dead::new();
    let volume = || {
        sleeper()
            .bind(dead.path(), "/data", &["rbind"])
            .folder("data")
    };
    let below = || {
        let other = "/data/below";
        volume().bind(Path::new("/etc"), other, &["bind", "ro"])
    };
    let directory = || volume().set("/process/cwd", "/data/here".into());
    let program = || volume().args(&["/data/program"]);
    let bundles = [
        below(),
        below().without_namespace("pid"),
        directory(),
        program(),
        program().user(1000, 1000),
        program().user(1000, 1000).without_namespace("pid"),
    ];
    for bundle in bundles {
        let before = Traces::of(&bundle);
        let create = bundle.call("create", &[]).start();
        wait_until("init to hang", || known_pid(&bundle).is_some_and(hangs));
        let pid = known_pid(&bundle).unwrap();
        signal(create.pid(), Signal::SIGKILL);
        assert_eq!(create.wait().code(), 137);
        wait_gone(pid);
        bundle.container().delete_force().assert_ok();
        before.assert_unchanged(&bundle);
    }
}
