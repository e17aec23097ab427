//! The installed CRIU: its version, and what it can do with this kernel.

use std::ffi::OsStr;
use std::fmt;
use std::os::fd::BorrowedFd;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;

use super::program::Program;
use super::rpc::{Features, Response, Task};
use super::service::{Service, Swrk};

/// External pid namespaces, and the notice of a lazy dump, are in version 3.15.
const OLDEST: Version = Version(3, 15, 0);

/// The first version that restores no_new_privs.
const NO_NEW_PRIVS: Version = Version(3, 19, 0);

/// The version of CRIU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(i32, i32, i32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Version(major, minor, 0) => write!(f, "{major}.{minor}"),
            Version(major, minor, sublevel) => write!(f, "{major}.{minor}.{sublevel}"),
        }
    }
}

/// The installed CRIU.
pub(crate) struct Criu {
    program: Program,
    version: Version,
}

impl Criu {
    /// Looks for the program in the directories of `path`, the PATH of the caller.
    ///
    /// # Errors
    /// When it is not there, or is too old.
    pub(crate) fn find(path: Option<&OsStr>) -> Result<Criu> {
        let program = Program::find(path)?;
        let version = version(&program)?;
        ensure!(
            version >= OLDEST,
            "criu: version {version} is too old; version {OLDEST} or later is needed"
        );
        Ok(Criu { program, version })
    }

    /// # Errors
    /// When it would restore a process without no_new_privs.
    pub(crate) fn require_no_new_privs(&self) -> Result<()> {
        ensure!(
            self.version >= NO_NEW_PRIVS,
            "process.noNewPrivileges: CRIU {} would restore a process without; version {NO_NEW_PRIVS} or later is needed",
            self.version
        );
        Ok(())
    }

    /// Starts CRIU as a child in the namespaces of this process.
    pub(crate) fn start(&self) -> Result<Service> {
        Swrk::new()?.start_program(&self.program)
    }

    /// Executes CRIU in this process, with `inherited` from
    /// [`FIRST_DESCRIPTOR`](super::FIRST_DESCRIPTOR) on. Returns only on failure.
    ///
    /// If the process that it serves is killed, CRIU waits forever where it waits for an answer.
    pub(crate) fn execute(&self, swrk: &Swrk, inherited: &[BorrowedFd]) -> Errno {
        swrk.execute_program(&self.program, &[inherited, &[swrk.peer()]].concat())
    }

    /// # Errors
    /// When the kernel or CRIU cannot track the changes of memory, which a dump after another
    /// needs.
    pub(crate) fn require_memory_tracking(&self) -> Result<()> {
        let wanted = Features {
            mem_track: Some(true),
            lazy_pages: None,
        };
        let features = self.ask(Task::FeatureCheck, Some(wanted))?.features;
        let has_it = features.and_then(|features| features.mem_track);
        ensure!(
            has_it == Some(true),
            "--pre-dump: this kernel cannot track memory for CRIU (CONFIG_MEM_SOFT_DIRTY)"
        );
        Ok(())
    }

    /// # Errors
    /// When the kernel or CRIU cannot restore memory later.
    pub(crate) fn require_lazy_pages(&self) -> Result<()> {
        let wanted = Features {
            mem_track: None,
            lazy_pages: Some(true),
        };
        let features = self.ask(Task::FeatureCheck, Some(wanted))?.features;
        let has_it = features.and_then(|features| features.lazy_pages);
        ensure!(
            has_it == Some(true),
            "--lazy-pages: this kernel or CRIU cannot restore memory later (userfaultfd(2))"
        );
        Ok(())
    }

    fn ask(&self, task: Task, features: Option<Features>) -> Result<Response> {
        ask(&self.program, task, features)
    }
}

fn version(program: &Program) -> Result<Version> {
    let answer = ask(program, Task::Version, None)?;
    let version = answer.version.context("criu: does not say its version")?;
    let sublevel = version.sublevel.unwrap_or_default();
    Ok(Version(version.major, version.minor, sublevel))
}

fn ask(program: &Program, task: Task, features: Option<Features>) -> Result<Response> {
    Swrk::new()?.start_program(program)?.ask(task, features)
}
