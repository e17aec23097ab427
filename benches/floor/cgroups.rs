//! The cgroups of the container.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use nix::unistd::Pid;

/// What the process may do with devices: what `rt` allows in addition to the configuration.
const ALLOWED_DEVICES: [&str; 11] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
    "c 10:200 rwm",
];

pub(super) struct Cgroups {
    /// Of cgroup v1.
    pub(super) hierarchies: Vec<PathBuf>,
    /// Of cgroup v2, and the open directory.
    pub(super) unified: Option<(PathBuf, File)>,
}

impl Cgroups {
    pub(super) fn make(unified: Option<&Path>, hierarchies: Vec<PathBuf>) -> Cgroups {
        for directory in &hierarchies {
            fs::create_dir(directory).unwrap();
            let parent = directory.parent().unwrap();
            if parent.ends_with("devices") {
                allow_devices(directory);
            }
            if parent.ends_with("cpuset") {
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    let inherited = fs::read(parent.join(file)).unwrap();
                    fs::write(directory.join(file), inherited).unwrap();
                }
            }
        }
        let unified = unified.map(|directory| {
            fs::create_dir(directory).unwrap();
            (directory.to_owned(), File::open(directory).unwrap())
        });
        Cgroups {
            hierarchies,
            unified,
        }
    }

    pub(super) fn add(&self, pid: Pid) {
        let pid = pid.to_string();
        for directory in &self.hierarchies {
            fs::write(directory.join("cgroup.procs"), &pid).unwrap();
        }
    }

    pub(super) fn remove(&self) {
        let unified = self.unified.iter().map(|(directory, _)| directory);
        for directory in unified.chain(self.hierarchies.iter().rev()) {
            fs::remove_dir(directory).unwrap();
        }
    }
}

fn allow_devices(directory: &Path) {
    fs::write(directory.join("devices.deny"), "a").unwrap();
    let allow = File::options()
        .write(true)
        .open(directory.join("devices.allow"));
    let mut allow = allow.unwrap();
    for rule in ALLOWED_DEVICES {
        allow.write_all(rule.as_bytes()).unwrap();
    }
}
