//! An ordinary user of the machine, with ids of its own to map, for as long as it is needed.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command;

/// Gone, with all that it runs, when it is dropped.
pub(crate) struct User {
    name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl User {
    /// useradd(8) also finds a range of subordinate ids that nobody has. It takes one caller at a time.
    pub(crate) fn new(purpose: &str) -> User {
        let name = format!("{purpose}-{}", std::process::id());
        let group = second_group(&name);
        command::run(Command::new("groupadd").arg(&group)).ok();
        let mut useradd = Command::new("useradd");
        useradd.args(["-U", "-M", "-d", "/nonexistent", "-s", "/bin/sh"]);
        useradd.args(["-G", &group]);
        command::run(useradd.arg(&name)).ok();
        let number = |of: &str| {
            let output = command::run(Command::new("id").args([of, &name])).ok();
            output.parse().unwrap()
        };
        let (uid, gid) = (number("-u"), number("-g"));
        User { name, uid, gid }
    }

    /// A program in the user's name, with nothing in its environment but PATH.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid",
            &self.name,
            "--regid",
            &self.name,
            "--init-groups",
        ]);
        command.arg(program).env_clear();
        command.env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        );
        command
    }

    pub(crate) fn owns(&self, path: &Path) {
        chown(path, Some(self.uid), Some(self.gid)).unwrap();
    }

    /// The number of the group that the user is in besides its own.
    pub(crate) fn second_gid(&self) -> u32 {
        let groups = fs::read_to_string("/etc/group").unwrap();
        let name = format!("{}:x:", second_group(&self.name));
        let line = groups.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap().split(':').next().unwrap().parse().unwrap()
    }

    /// Asks what runs in the user's name to end.
    fn kill_all(&self) {
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let is_own = process.metadata().is_ok_and(|p| p.uid() == self.uid);
            let pid = process.file_name().to_string_lossy().parse();
            if let (true, Ok(pid)) = (is_own, pid) {
                // One that has ended meanwhile is no error.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

impl Drop for User {
    /// userdel(8) refuses one who has processes still, also those that are about to end.
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            self.kill_all();
            let output = command::run_cleanup(Command::new("userdel").arg(&self.name));
            if output.status == 0 {
                break;
            }
            if Instant::now() > deadline {
                eprintln!("{output}");
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        command::run_cleanup(Command::new("groupdel").arg(second_group(&self.name)));
    }
}

/// A group that the user is in besides its own.
fn second_group(user: &str) -> String {
    format!("{user}x")
}

/// Ids that Podman hands out to containers by itself (`--userns=auto` of root).
pub(crate) struct Ranges;

const RANGES: [&str; 2] = ["/etc/subuid", "/etc/subgid"];
const CONTAINERS: &str = "containers:2000000:1048576\n";
/// How many stores count on them.
static IN_USE: Mutex<u32> = Mutex::new(0);

impl Ranges {
    /// A range that the machine has already is left as it is, in the end as well.
    pub(crate) fn new() -> Ranges {
        let mut users = IN_USE.lock().unwrap();
        for path in RANGES {
            let ranges = fs::read_to_string(path).unwrap_or_default();
            if *users == 0 && !ranges.contains("containers:") {
                replace(path, &(ranges + CONTAINERS));
            }
        }
        *users += 1;
        Ranges
    }
}

/// At once: others read the file meanwhile.
fn replace(path: &str, text: &str) {
    let draft = format!("{path}.rt");
    fs::write(&draft, text).unwrap();
    fs::rename(&draft, path).unwrap();
}

impl Drop for Ranges {
    fn drop(&mut self) {
        let mut users = IN_USE.lock().unwrap();
        *users -= 1;
        for path in RANGES {
            let ranges = fs::read_to_string(path).unwrap();
            if *users == 0 {
                replace(path, &ranges.replace(CONTAINERS, ""));
            }
        }
    }
}
