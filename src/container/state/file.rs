//! `state.json`. Tools that read runc's file find the same names here.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::entries::{STATE_DRAFT, STATE_FILE};
use crate::cgroups::{CreatedCgroups, ExistingCgroups, UnitRecord};
use crate::process::{Agent, SavedHooks};
use crate::resctrl;
use crate::step::{Failure, Step};
use crate::sys;

/// The file, field for field.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) id: String,
    /// In the pid namespace of the runtime; 0 before the process exists.
    pub(crate) init_process_pid: i32,
    /// The container is being created. The command that creates it holds the lock.
    #[serde(default)]
    pub(crate) creating: bool,
    /// Clock ticks after boot (proc_pid_stat(5), field 22). Together with `boot_id` it tells
    /// the process from a later one with the same pid.
    pub(crate) init_process_start: u64,
    pub(crate) boot_id: String,
    /// RFC 3339, UTC.
    pub(crate) created: String,
    pub(crate) bundle: PathBuf,
    /// The effective user of `rt create`.
    pub(crate) owner: u32,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) config: Config,
    /// `None` where the container writes to `root.path` itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) layers: Option<Layers>,
    /// While the container is created: directories of the host that are made for it, deepest
    /// first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) directories_created: Vec<PathBuf>,
    pub(crate) cgroup_paths: BTreeMap<String, PathBuf>,
    /// Directories that `rt` created and may remove, deepest first.
    pub(crate) cgroups_created: Vec<PathBuf>,
    /// The unit that has the cgroups, with the systemd driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) systemd: Option<UnitRecord>,
    /// The container's groups of resctrl, with `linux.intelRdt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resctrl: Option<resctrl::Record>,
    /// From `NEWPID` and so on to a file below /proc.
    pub(crate) namespace_paths: BTreeMap<String, PathBuf>,
    /// The init process is PID 1 of the container's own pid namespace, so the kernel kills
    /// all other processes with it.
    pub(crate) own_pid_namespace: bool,
    /// CRIU has made the processes. The kernel does not know that they have executed a program.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) restored: bool,
    /// Where CRIU works while it makes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) restore_directory: Option<PathBuf>,
    /// There is no process to start.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) without_process: bool,
    /// The steps at which init can fail after `rt start`. Each has the place in config.json
    /// and the action, for the error message.
    pub(crate) start_step_descriptions: Vec<(Step, u16, (String, String))>,
    pub(crate) hooks: SavedHooks,
    /// Who decides about system calls with `SCMP_ACT_NOTIFY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seccomp_agent: Option<Agent>,
    /// [`super::ExecDefaults`], parsed by `rt exec` only. `None` until the container is created.
    #[serde(alias = "guests")]
    pub(crate) exec: Option<Box<RawValue>>,
}

/// The part of runc's `config` that other tools read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Config {
    pub(crate) rootfs: PathBuf,
}

/// The directories of the host that the root is made of (annotations `rt.rootfs.*`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Layers {
    /// The read-only layers, top first; `root.path` is the last.
    pub(crate) lower: Vec<PathBuf>,
    /// The content of the upper layer. `None` where it is in memory, or there is none.
    pub(crate) upper: Option<PathBuf>,
}

impl State {
    /// `None` when the directory holds no `state.json`.
    pub(super) fn load(directory: BorrowedFd) -> Result<Option<State>> {
        let state = read_file(directory)?.map(|text| serde_json::from_slice(&text));
        state.transpose().context(STATE_FILE)
    }

    /// # Errors
    /// When the file belongs to a container other than `id`.
    pub(super) fn check_id(&self, id: &str) -> Result<()> {
        ensure!(
            self.id == id,
            "{STATE_FILE}: belongs to another container: {:?}",
            self.id
        );
        Ok(())
    }

    /// Replaces the file atomically: a reader sees the old content or the new one.
    pub(crate) fn save(&self, directory: BorrowedFd) -> Result<()> {
        self.write(directory, STATE_DRAFT)?;
        renameat(directory, STATE_DRAFT, directory, STATE_FILE).context(STATE_FILE)
    }

    /// Writes the file in a directory that is not a container's yet, so that nobody reads it.
    pub(super) fn save_first(&self, directory: BorrowedFd) -> Result<()> {
        self.write(directory, STATE_FILE)
    }

    fn write(&self, directory: BorrowedFd, name: &str) -> Result<()> {
        let flags = OFlag::O_WRONLY
            | OFlag::O_CREAT
            | OFlag::O_TRUNC
            | OFlag::O_CLOEXEC
            | OFlag::O_NOFOLLOW;
        let text = serde_json::to_vec(self).context(STATE_FILE)?;
        let mode = Mode::from_bits_truncate(0o600);
        let file = openat(directory, name, flags, mode).context(STATE_FILE)?;
        File::from(file).write_all(&text).context(STATE_FILE)
    }

    /// The container's cgroups.
    pub(crate) fn cgroups(&self) -> ExistingCgroups {
        ExistingCgroups::new(self.cgroup_paths.clone(), self.cgroups_created.clone())
            .of_unit(self.systemd.clone())
    }

    /// Records the cgroups that were created.
    pub(crate) fn set_cgroups(&mut self, cgroups: &CreatedCgroups) {
        self.cgroup_paths = cgroups.paths().clone();
        self.cgroups_created = cgroups.created().to_vec();
        self.systemd = cgroups.unit().cloned();
    }

    /// The container is made. Returns the state for a rollback, which also removes a shared group of resctrl that
    /// the creation has made. From now on such a group stays.
    pub(crate) fn finish(&mut self, exec: Box<RawValue>) -> State {
        self.creating = false;
        self.directories_created.clear();
        self.exec = Some(exec);
        let for_rollback = self.clone();
        if let Some(groups) = &mut self.resctrl {
            groups.keep_shared();
        }
        for_rollback
    }

    /// The place and the action of a step at which init failed after `rt start`.
    pub(crate) fn describe(&self, failure: Failure) -> (String, String) {
        let Failure { step, item, .. } = failure;
        let known = self.start_step_descriptions.iter();
        let mut found = known.filter(|(s, i, _)| (*s, *i) == (step, item));
        found.next().map_or_else(
            || ("init".to_owned(), format!("{step:?}")),
            |(_, _, description)| description.clone(),
        )
    }
}

/// The content of `state.json`; `None` when there is no such file.
pub(super) fn read_file(directory: BorrowedFd) -> Result<Option<Vec<u8>>> {
    // Without O_NONBLOCK, a FIFO in place of the file would block this open.
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    match openat(directory, STATE_FILE, flags, Mode::empty()) {
        Ok(file) => Ok(Some(sys::read_to_end(file.as_fd()).context(STATE_FILE)?)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno).context(STATE_FILE),
    }
}
