//! A stand-in for Docker's daemon, a running program that is its own hook.
//!
//! The hook's path is `/proc/PID/exe`, a magic link to the executable of the daemon. It works even if
//! the executable has been removed or replaced, as after an upgrade of the daemon.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Bundle, Directory, Kind, Report, namespace_of};

pub(super) struct Daemon {
    directory: Directory,
    process: Child,
}

impl Daemon {
    pub(super) fn start(bundle: &Bundle) -> Self {
        let directory = Directory::new();
        let program = directory.join("dockerd");
        fs::copy(bundle.rootfs().join("probe"), &program).unwrap();
        let mut command = Command::new(&program);
        let command = command.arg("sleep").stdin(Stdio::null());
        let process = command.stdout(Stdio::null()).spawn().unwrap();
        Self { directory, process }
    }

    /// `/proc/PID/exe`.
    pub(super) fn executable(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/exe", self.process.id()))
    }

    /// The directory that the hook's `-exec-root` names.
    pub(super) fn exec_root(&self) -> &Path {
        self.directory.path()
    }

    fn record(&self) -> PathBuf {
        self.directory.join("setkey.json")
    }

    pub(super) fn assert_not_called(&self) {
        assert!(!self.record().exists(), "the hook has run");
    }

    /// Asserts that the hook has run with its arguments, in the runtime's namespaces, and with the state
    /// of a container in status `creating` on its stdin.
    pub(super) fn check(&self, bundle: &Bundle, pid: i32, seen: &Report) {
        let record = fs::read_to_string(self.record()).expect("the hook's record");
        let record: Value = serde_json::from_str(&record).unwrap();
        let config = bundle.config();
        assert_eq!(&record["argv"], config.get("/hooks/prestart/0/args"));
        if bundle.runtime().kind() == Kind::Rt {
            // Debian's runc passes its own environment to a hook that has none.
            assert_eq!(record["env"], json!([]));
        }
        assert_eq!(record["end_of_stdin"], true);
        let state = &record["state"];
        assert_eq!(state["id"], bundle.id());
        assert_eq!(state["status"], "creating");
        assert_eq!(state["pid"], pid);
        assert_eq!(state["bundle"], json!(bundle.path()));
        for link in ["mnt", "pid", "net", "user"] {
            assert_eq!(record["namespaces"][link], namespace_of("self", link));
        }
        assert_eq!(record["network"], seen.namespace("net"));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
