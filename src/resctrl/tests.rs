//! The groups in a made-up file system: directories with the files of resctrl. The kernel fills a new group with
//! files; here a test does.

mod compare;
mod create;
mod plan;
mod remove;
mod update;

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use serde_json::Value;

use super::file_system::FileSystem;
use super::{Group, OpenGroup};

/// Where the directory would be mounted, for messages.
const MOUNT: &str = "/sys/fs/resctrl";

const DEFAULT: &str = "    MB:0= 100;1= 100\n    L3:0=7ff;1=7ff\n";

/// A directory in place of the mounted file system. It is removed at the end.
struct TestMount(PathBuf);

impl TestMount {
    fn new() -> TestMount {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("rt-resctrl-{}-{count}", std::process::id());
        let mount = TestMount(std::env::temp_dir().join(name));
        mount.fill("", DEFAULT);
        mount.file("info/last_cmd_status", "ok\n");
        mount.file("info/MB/bandwidth_gran", "10\n");
        mount
    }

    /// Makes the files of a group.
    fn fill(&self, group: &str, schemata: &str) {
        fs::create_dir_all(self.0.join(group).join("mon_groups")).unwrap();
        self.file(&format!("{group}/schemata"), schemata);
        self.file(&format!("{group}/tasks"), "");
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.0.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).unwrap()
    }

    fn has(&self, path: &str) -> bool {
        self.0.join(path).exists()
    }

    /// Removes the files of a group, which rmdir(2) of the kernel's does by itself.
    fn empty(&self, group: &str) {
        let files = ["schemata", "tasks", "mon_groups"].map(|file| self.0.join(group).join(file));
        let _ = files.each_ref().map(fs::remove_file);
        let _ = files.map(fs::remove_dir);
    }

    fn file_system(&self) -> FileSystem {
        let root = OwnedFd::from(fs::File::open(&self.0).unwrap());
        FileSystem::new(root, MOUNT.into())
    }

    fn open(&self, config: Value) -> Result<OpenGroup> {
        plan(config)?.open_in(self.file_system())
    }

    /// What [`Group::wire`] does, with the files that the kernel makes.
    fn wire(&self, group: &Group, open: &mut OpenGroup) -> Result<()> {
        let missing = std::mem::take(&mut open.record.created);
        for directory in missing.into_iter().rev() {
            let is_new = !self.0.join(&directory).exists();
            group.make(open, directory.clone())?;
            if is_new {
                self.fill(directory.to_str().unwrap(), DEFAULT);
            }
        }
        group.write_settings(open)
    }

    /// Opens, makes and joins the groups of a container.
    fn created(&self, config: Value) -> OpenGroup {
        let group = plan(config).unwrap();
        let mut open = group.open_in(self.file_system()).unwrap();
        self.wire(&group, &mut open).unwrap();
        open.join(Pid::from_raw(7)).unwrap();
        open
    }

    /// Replaces a file by a pipe, whose content is all that was written.
    fn record_writes(&self, path: &str) -> fs::File {
        let path = self.0.join(path);
        fs::remove_file(&path).unwrap();
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap()
    }
}

impl Drop for TestMount {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What was written to a pipe that this process holds open.
fn written(pipe: &mut fs::File) -> String {
    let mut bytes = [0; 4096];
    let length = pipe.read(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

/// The groups that a container `web` with this `linux.intelRdt` asks for.
fn plan(config: Value) -> Result<Group> {
    Group::plan("web", &serde_json::from_value(config).unwrap())
}

fn error<T>(result: Result<T>) -> String {
    let error = result.err().expect("an error");
    crate::log::format_error(&error)
}

fn paths<const N: usize>(paths: [&str; N]) -> Vec<PathBuf> {
    paths.map(|path| Path::new(path).to_owned()).to_vec()
}
