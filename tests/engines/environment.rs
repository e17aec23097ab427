//! The environment of an engine: the runtime under test, a temporary directory, and daemons. Each cleans up
//! when it is dropped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::programs;

/// The OCI runtime that the engine calls.
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

    /// The absolute path of the program. `rt` is the binary that cargo has built for this run.
    pub(crate) fn path(self) -> PathBuf {
        match self {
            Runtime::Rt => env!("CARGO_BIN_EXE_rt").into(),
            Runtime::Runc => programs::find("runc").unwrap_or_else(|| "runc".into()),
        }
    }
}

/// The reason to skip an engine when one of its programs is not installed.
pub(crate) fn missing_program(programs: &[&str]) -> Option<String> {
    let missing = programs
        .iter()
        .find(|program| programs::find(program).is_none())?;
    Some(format!("{missing} is not installed"))
}

/// Serializes the tests that change the host's network. The lock lasts until the guard is dropped.
pub(crate) fn lock_host_network() -> MutexGuard<'static, ()> {
    static NETWORK: Mutex<()> = Mutex::new(());
    // A test that panicked while it held the lock has dropped its containers and networks.
    NETWORK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A temporary directory for one engine and one runtime, removed when it is dropped.
///
/// Its path is short because the path of a Unix socket has at most 107 bytes (unix(7)).
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
        // Unmount what the engine has left mounted below the directory, deepest first.
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

/// A process in the background. Dropping it sends SIGTERM, and SIGKILL after ten seconds.
///
/// The kernel kills it when the thread that started it ends (`PR_SET_PDEATHSIG`), so start it on the main
/// thread.
pub(crate) struct Daemon {
    child: Child,
    log_file: PathBuf,
}

impl Daemon {
    /// Starts a command whose stdout and stderr go to `log_file`.
    pub(crate) fn start(command: &Command, log_file: PathBuf) -> Daemon {
        let output =
            File::create(&log_file).unwrap_or_else(|e| panic!("{}: {e}", log_file.display()));
        let mut setpriv = Command::new("setpriv");
        setpriv.args(["--pdeathsig", "KILL"]);
        setpriv.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => setpriv.env(name, value),
                None => setpriv.env_remove(name),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            setpriv.current_dir(directory);
        }
        setpriv.stdin(Stdio::null());
        setpriv.stdout(output.try_clone().unwrap()).stderr(output);
        let child = setpriv
            .spawn()
            .unwrap_or_else(|e| panic!("{setpriv:?}: {e}"));
        Daemon { child, log_file }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The output so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log_file).unwrap_or_default()
    }

    /// Waits up to 20 seconds for a process that has been told to end by other means than this type.
    pub(crate) fn wait(mut self) {
        for _ in 0..200 {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }

    /// Sends SIGKILL and reaps the process.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Once the process is reaped, the kernel may give its pid to another one.
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
