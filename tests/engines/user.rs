//! Temporary users of the host, with subordinate ids.

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

/// An unprivileged user. Dropping it kills the user's processes and deletes the user.
pub(crate) struct User {
    name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl User {
    /// Creates the user with useradd(8), which also allocates an unused range of subordinate ids, and locks its
    /// files.
    pub(crate) fn new(purpose: &str) -> User {
        User::create(purpose, &["-M", "-d", "/nonexistent"])
    }

    /// Creates a user with a home directory, and starts its systemd with the service `session`.
    pub(crate) fn with_session(purpose: &str) -> User {
        let user = User::create(purpose, &["-m"]);
        // Without this logind stops the user's systemd when the call of systemd-run(1) ends.
        command::run(Command::new("loginctl").args(["enable-linger", &user.name])).ok();
        let manager = format!("user@{}.service", user.uid);
        command::run(Command::new("systemctl").args(["start", &manager])).ok();
        let machine = format!("--machine={}@.host", user.name);
        let mut session = Command::new("systemd-run");
        session.args(["--user", &machine, "--unit=session", "sleep", "infinity"]);
        command::run(&mut session).ok();
        user
    }

    fn create(purpose: &str, options: &[&str]) -> User {
        let name = format!("{purpose}-{}", std::process::id());
        let group = second_group(&name);
        command::run(Command::new("groupadd").arg(&group)).ok();
        let mut useradd = Command::new("useradd");
        useradd.args(["-U", "-s", "/bin/sh"]).args(options);
        useradd.args(["-G", &group]);
        command::run(useradd.arg(&name)).ok();
        let number = |of: &str| {
            let output = command::run(Command::new("id").args([of, &name])).ok();
            output.parse().unwrap()
        };
        let (uid, gid) = (number("-u"), number("-g"));
        User { name, uid, gid }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A command that runs `program` as the user, with only PATH in its environment.
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

    /// A command that runs `program` in the session: in the cgroup of the service `session`, with the environment of
    /// a login.
    pub(crate) fn command_in_session(&self, program: impl AsRef<OsStr>) -> Command {
        let uid = self.uid;
        let of_user = format!("/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service");
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ >$0 && cd && exec \"$@\""]);
        command.arg(format!("{of_user}/app.slice/session.service/cgroup.procs"));
        let inner = self.command(program);
        command.arg(inner.get_program()).args(inner.get_args());
        command
            .env_clear()
            .env("HOME", format!("/home/{}", self.name));
        for (name, value) in inner.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        let directory = format!("/run/user/{uid}");
        command.env(
            "DBUS_SESSION_BUS_ADDRESS",
            format!("unix:path={directory}/bus"),
        );
        command.env("XDG_RUNTIME_DIR", directory);
        command
    }

    /// Makes the user the owner of a file.
    pub(crate) fn chown(&self, path: &Path) {
        chown(path, Some(self.uid), Some(self.gid)).unwrap();
    }

    /// The gid of the user's supplementary group.
    pub(crate) fn second_gid(&self) -> u32 {
        let groups = fs::read_to_string("/etc/group").unwrap();
        let name = format!("{}:x:", second_group(&self.name));
        let line = groups.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap().split(':').next().unwrap().parse().unwrap()
    }

    /// Sends SIGKILL to all processes of the user.
    fn kill_all(&self) {
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let is_own = process.metadata().is_ok_and(|p| p.uid() == self.uid);
            let pid = process.file_name().to_string_lossy().parse();
            if let (true, Ok(pid)) = (is_own, pid) {
                // It is no error if the process has ended meanwhile.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

impl Drop for User {
    /// userdel(8) refuses to delete a user with processes, even if they are about to end.
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

/// The name of the user's supplementary group.
fn second_group(user: &str) -> String {
    format!("{user}x")
}

/// The subordinate ids of the user `containers`, from which root's Podman allocates with `--userns=auto`. They are
/// removed when the last value is dropped.
pub(crate) struct ContainersIds;

const FILES: [&str; 2] = ["/etc/subuid", "/etc/subgid"];
const CONTAINERS: &str = "containers:2000000:1048576\n";
/// The number of `ContainersIds` that exist.
static IN_USE: Mutex<u32> = Mutex::new(0);

impl ContainersIds {
    /// Adds a range, unless the host already has one, which then stays.
    pub(crate) fn new() -> ContainersIds {
        let mut users = IN_USE.lock().unwrap();
        for path in FILES {
            let ranges = fs::read_to_string(path).unwrap_or_default();
            if *users == 0 && !ranges.contains("containers:") {
                replace(path, &(ranges + CONTAINERS));
            }
        }
        *users += 1;
        ContainersIds
    }
}

/// Replaces a file atomically, because other programs read it meanwhile.
fn replace(path: &str, text: &str) {
    let draft = format!("{path}.rt");
    fs::write(&draft, text).unwrap();
    fs::rename(&draft, path).unwrap();
}

impl Drop for ContainersIds {
    fn drop(&mut self) {
        let mut users = IN_USE.lock().unwrap();
        *users -= 1;
        for path in FILES {
            let ranges = fs::read_to_string(path).unwrap();
            if *users == 0 {
                replace(path, &ranges.replace(CONTAINERS, ""));
            }
        }
    }
}
