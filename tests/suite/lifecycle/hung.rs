//! An init process that hangs in a file system that does not answer.

use std::fs::{self, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::Path;

use crate::runner::Test;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::sleeper;
use crate::harness::{
    Bundle, Directory, HostState, only_rt, signal, skip, trials, wait_gone, wait_until,
};

pub(super) fn tests() -> Vec<Test> {
    trials![init_ends_when_its_create_is_killed]
}

/// A mounted FUSE file system whose server reads no requests.
struct HungFileSystem {
    directory: Directory,
    _server: fs::File,
}

impl HungFileSystem {
    fn new() -> Self {
        let server = OpenOptions::new().read(true).write(true).open("/dev/fuse");
        let server = server.unwrap_or_else(|_| skip("no FUSE here"));
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0,allow_other",
            server.as_raw_fd()
        );
        let directory = Directory::new();
        let mounted = mount(
            Some("hung"),
            directory.path(),
            Some("fuse"),
            MsFlags::MS_NOSUID,
            Some(options.as_str()),
        );
        mounted.unwrap();
        Self {
            directory,
            _server: server,
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for HungFileSystem {
    fn drop(&mut self) {
        let _ = umount2(self.path(), MntFlags::MNT_DETACH);
    }
}

/// The init process in the state of a container that is being created.
fn init_pid(bundle: &Bundle) -> Option<i32> {
    let state = bundle.runtime().root().join(bundle.id()).join("state.json");
    let state: Value = serde_json::from_slice(&fs::read(state).ok()?).ok()?;
    let pid = i32::try_from(state["init_process_pid"].as_i64()?).ok()?;
    (pid > 0).then_some(pid)
}

/// Whether a process waits for a FUSE server.
fn hangs(pid: i32) -> bool {
    let function = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    function.contains("fuse") || function.contains("request_wait")
}

/// In whatever step init hangs, and with whatever ids; the container can be deleted afterwards.
fn init_ends_when_its_create_is_killed() {
    only_rt("Debian's runc leaves its init");
    let hung = HungFileSystem::new();
    let volume = || {
        sleeper()
            .bind(hung.path(), "/data", &["rbind"])
            .folder("data")
    };
    let mount_below = || {
        let other = "/data/below";
        volume().bind(Path::new("/etc"), other, &["bind", "ro"])
    };
    let working_directory = || volume().set("/process/cwd", "/data/here".into());
    let program = || volume().args(&["/data/program"]);
    let bundles = [
        mount_below(),
        mount_below().without_namespace("pid"),
        working_directory(),
        program(),
        program().user(1000, 1000),
        program().user(1000, 1000).without_namespace("pid"),
    ];
    for bundle in bundles {
        let before = HostState::of(&bundle);
        let create = bundle.call("create", &[]).start();
        wait_until("init to hang", || init_pid(&bundle).is_some_and(hangs));
        let pid = init_pid(&bundle).unwrap();
        signal(create.pid(), Signal::SIGKILL);
        assert_eq!(create.wait().code(), 137);
        wait_gone(pid);
        bundle.container().delete_force().assert_ok();
        before.assert_unchanged(&bundle);
    }
}
