//! Where engines live: the runtimes, directories, daemons, and the end of all of it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Who makes the containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    Rt,
    Runc,
}

impl Runtime {
    pub(crate) const BOTH: [Runtime; 2] = [Runtime::Rt, Runtime::Runc];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Runtime::Rt => "rt",
            Runtime::Runc => "runc",
        }
    }

    /// The program, absolute. Ours is the one that cargo has built for this run.
    pub(crate) fn path(self) -> PathBuf {
        match self {
            Runtime::Rt => env!("CARGO_BIN_EXE_rt").into(),
            Runtime::Runc => find("runc").unwrap_or_else(|| "runc".into()),
        }
    }
}

/// A program of the machine, by the places where Debian has them.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    [
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ]
    .into_iter()
    .map(|directory| Path::new(directory).join(program))
    .find(|path| path.is_file())
}

/// Why an engine cannot be tested here, when one of its programs is missing.
pub(crate) fn lacks(programs: &[&str]) -> Option<String> {
    let missing = programs.iter().find(|program| find(program).is_none())?;
    Some(format!("{missing} is not installed"))
}

/// Until it is dropped, nobody else changes the machine's network who asks for this first.
pub(crate) fn alone_in_the_network() -> MutexGuard<'static, ()> {
    static NETWORK: Mutex<()> = Mutex::new(());
    // Who failed with it has left nothing that others could not bear.
    NETWORK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory for one engine with one runtime, empty and gone after the run.
/// Short: a socket's path has 107 bytes at most.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("rt-{name}.{}", std::process::id()));
        fs::create_dir_all(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Directory(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Whatever an engine has left mounted below, deepest first.
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        let mut below: Vec<&str> = points
            .filter(|p| Path::new(p).starts_with(&self.0))
            .collect();
        below.sort_unstable();
        for point in below.into_iter().rev() {
            let _ = Command::new("umount").args(["-l", point]).status();
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A program that runs until it is dropped: it is asked to end, and then made to.
/// Dies with the thread that starts it, so that is to be the main one.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts a command with its output in the file `log`.
    pub(crate) fn start(command: &Command, log: PathBuf) -> Daemon {
        let output = File::create(&log).unwrap_or_else(|e| panic!("{}: {e}", log.display()));
        let mut bound = Command::new("setpriv");
        bound.args(["--pdeathsig", "KILL"]);
        bound.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => bound.env(name, value),
                None => bound.env_remove(name),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            bound.current_dir(directory);
        }
        bound.stdin(Stdio::null());
        bound.stdout(output.try_clone().unwrap()).stderr(output);
        let child = bound.spawn().unwrap_or_else(|e| panic!("{bound:?}: {e}"));
        Daemon { child, log }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for one that has been asked to end in another way, for some seconds.
    pub(crate) fn wait(mut self) {
        for _ in 0..200 {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }

    /// At once, and without a chance to clean up.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Waited for already, its number may be another's by now.
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let pid = self.pid().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        for _ in 0..100 {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        self.kill();
    }
}
