//! `state.json`: what a container is remembered by, under the names that
//! outside readers of runc's file use.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, UnlinkatFlags};
use procfs::FromRead;
use procfs::process::Stat;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::notify;
use super::rollback::Child;
use super::salvage;
use crate::cgroups::Wired;
use crate::namespaces::{Kind, Place};
use crate::plan::Plan;
use crate::process::LaterHooks;
use crate::step::{Failure, Step};
use crate::sys;
use crate::trusted_proc::Proc;

const FILE: &str = "state.json";
const DRAFT: &str = ".state.json";

/// The file, field for field.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) oci_version: String,
    pub(super) id: String,
    /// In the pid namespace of the runtime; 0 until there is one.
    pub(super) init_process_pid: i32,
    /// The container is being made: whoever does so holds the lock.
    #[serde(default)]
    pub(super) creating: bool,
    /// Clock ticks after boot (proc_pid_stat(5), field 22): with `boot_id`, what
    /// tells the process from a later one of the same number.
    pub(super) init_process_start: u64,
    pub(super) boot_id: String,
    /// RFC 3339, UTC.
    pub(super) created: String,
    pub(super) bundle: PathBuf,
    /// The effective user of `rt create`.
    pub(super) owner: u32,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) config: Config,
    pub(super) cgroup_paths: BTreeMap<String, PathBuf>,
    /// Directories that `rt` made and may remove, deepest first.
    pub(super) cgroups_created: Vec<PathBuf>,
    /// `NEWPID` and so on, to a file below /proc.
    pub(super) namespace_paths: BTreeMap<String, PathBuf>,
    /// The processes die with init, because it is PID 1 of their namespace.
    pub(super) own_pid_namespace: bool,
    /// Where init may yet fail when it is started, with place and deed.
    pub(super) start_step_descriptions: Vec<(Step, u16, (String, String))>,
    pub(super) hooks: LaterHooks,
    /// What `rt exec` needs, once there is a process: nobody else reads it.
    #[serde(alias = "guests")]
    pub(super) exec: Option<Box<RawValue>>,
}

/// The part of runc's `config` that others read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Config {
    pub(super) rootfs: PathBuf,
}

/// What hooks read (runtime.md, "State").
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    oci_version: &'a str,
    id: &'a str,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    bundle: &'a PathBuf,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

/// runtime.md, "State"; `paused` as every other runtime has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

impl State {
    /// `None` when the directory holds no state: nothing was made yet.
    pub(super) fn load(directory: BorrowedFd) -> Result<Option<State>> {
        let state = text(directory)?.map(|text| serde_json::from_slice(&text));
        state.transpose().context(FILE)
    }

    /// What can be read of a damaged state, if it is that of the container `id`;
    /// the rest is that of a container without anything.
    pub(super) fn salvage(directory: BorrowedFd, id: &str) -> State {
        let text = text(directory).ok().flatten().unwrap_or_default();
        let found = salvage::fields(&text);
        let mut state = State::of_nothing(id);
        if found.get("id").and_then(Value::as_str) != Some(id) {
            return state;
        }
        for (name, value) in found {
            // What is no value of this field says nothing.
            let Ok(mut fields) = serde_json::to_value(&state) else {
                continue;
            };
            fields[name] = value;
            state = serde_json::from_value(fields).unwrap_or(state);
        }
        state
    }

    /// A container that has left nothing on the machine.
    fn of_nothing(id: &str) -> State {
        State {
            oci_version: String::new(),
            id: id.to_owned(),
            init_process_pid: 0,
            creating: false,
            init_process_start: 0,
            boot_id: String::new(),
            created: String::new(),
            bundle: PathBuf::new(),
            owner: 0,
            annotations: BTreeMap::new(),
            config: Config {
                rootfs: PathBuf::new(),
            },
            cgroup_paths: BTreeMap::new(),
            cgroups_created: Vec::new(),
            namespace_paths: BTreeMap::new(),
            own_pid_namespace: false,
            start_step_descriptions: Vec::new(),
            hooks: LaterHooks::default(),
            exec: None,
        }
    }

    /// # Errors
    /// When the file is of a container other than `id`, whose directory holds it.
    pub(super) fn check_id(&self, id: &str) -> Result<()> {
        ensure!(
            self.id == id,
            "{FILE}: is of another container: {:?}",
            self.id
        );
        Ok(())
    }

    /// Replaces the file at once: a reader sees the old one or the new one.
    pub(super) fn save(&self, directory: BorrowedFd) -> Result<()> {
        let flags = OFlag::O_WRONLY
            | OFlag::O_CREAT
            | OFlag::O_TRUNC
            | OFlag::O_CLOEXEC
            | OFlag::O_NOFOLLOW;
        let text = serde_json::to_vec(self).context(FILE)?;
        let file =
            openat(directory, DRAFT, flags, Mode::from_bits_truncate(0o600)).context(FILE)?;
        File::from(file).write_all(&text).context(FILE)?;
        renameat(directory, DRAFT, directory, FILE).context(FILE)
    }

    /// The state as JSON for a hook, which may know `pid` by another number.
    pub(super) fn told(&self, status: Status, pid: Option<i32>) -> Result<Vec<u8>> {
        let told = Told {
            oci_version: &self.oci_version,
            id: &self.id,
            status: status.to_string(),
            pid,
            bundle: &self.bundle,
            annotations: &self.annotations,
        };
        serde_json::to_vec(&told).context("state")
    }

    /// The words for a failure of init after it was told to start.
    pub(super) fn describe(&self, failure: Failure) -> (String, String) {
        let Failure { step, item, .. } = failure;
        let known = self.start_step_descriptions.iter();
        let mut found = known.filter(|(s, i, _)| (*s, *i) == (step, item));
        found.next().map_or_else(
            || ("init".to_owned(), format!("{step:?}")),
            |(_, _, words)| words.clone(),
        )
    }

    /// Whether init still is the process that was started.
    pub(super) fn alive(&self, proc: &Proc) -> Result<bool> {
        Ok(self.init(proc)?.is_some())
    }

    /// What the kernel shows of init, if it still is the process that was started.
    pub(super) fn init(&self, proc: &Proc) -> Result<Option<Shown>> {
        if self.init_process_pid <= 0 || self.boot_id != boot_id(proc)? {
            return Ok(None);
        }
        let shown = Shown::of(proc, self.init_process_pid)?;
        ensure!(
            shown.is_some() || !self.is_hidden(),
            "/proc/{}: is hidden from this user (hidepid, proc(5))",
            self.init_process_pid
        );
        let same = |shown: &Shown| !shown.has_ended() && shown.start() == self.init_process_start;
        Ok(shown.filter(same))
    }

    /// Whether init is there and this user's, though /proc does not show it.
    fn is_hidden(&self) -> bool {
        let pidfd = sys::pidfd_open(Pid::from_raw(self.init_process_pid));
        pidfd.is_ok_and(|pidfd| sys::pidfd_send_signal(pidfd.as_fd(), 0).is_ok())
    }
}

impl State {
    /// Those that were made, and no more.
    pub(super) fn know_cgroups(&mut self, cgroups: &Wired) {
        self.cgroup_paths = cgroups.paths().clone();
        self.cgroups_created = cgroups.created().to_vec();
    }

    /// Who is to become its process.
    pub(super) fn know_init(&mut self, child: &Child, plan: &Plan, proc: &Proc) -> Result<()> {
        let pid = child.pid.as_raw();
        self.init_process_pid = pid;
        let shown = Shown::of(proc, pid)?.filter(|shown| !shown.has_ended());
        let shown = shown.context("init: ended before it was started")?;
        self.init_process_start = shown.start();
        self.namespace_paths = Kind::all()
            .into_iter()
            .map(|kind| {
                let path = match plan.namespaces.place(kind) {
                    Place::Joined { path, .. } => path.clone(),
                    Place::New | Place::Shared => format!("/proc/{pid}/ns/{}", kind.file()).into(),
                };
                (kind.state_key().to_owned(), path)
            })
            .collect();
        Ok(())
    }
}

/// The file as it is, if there is one.
fn text(directory: BorrowedFd) -> Result<Option<Vec<u8>>> {
    // A pipe in its place is not waited for.
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    match openat(directory, FILE, flags, Mode::empty()) {
        Ok(file) => Ok(Some(sys::read_to_end(file.as_fd()).context(FILE)?)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno).context(FILE),
    }
}

/// What the kernel shows of a process (proc_pid_stat(5)).
pub(super) struct Shown(Stat);

impl Shown {
    /// `None` when there is no process `pid`.
    pub(super) fn of(proc: &Proc, pid: i32) -> Result<Option<Shown>> {
        let path = format!("{pid}/stat");
        let subject = || format!("/proc/{path}");
        let text = match proc.read(&path) {
            Ok(text) => text,
            // ESRCH: it ended while the file was open.
            Err(Errno::ENOENT | Errno::ESRCH) => return Ok(None),
            Err(errno) => return Err(errno).with_context(subject),
        };
        let stat = Stat::from_read(text.as_bytes()).with_context(subject)?;
        Ok(Some(Shown(stat)))
    }

    /// When it started, in clock ticks after boot.
    pub(super) fn start(&self) -> u64 {
        self.0.starttime
    }

    /// Whether it waits for its parent alone. A process whose first thread has
    /// ended before the others looks the same but for their number.
    pub(super) fn has_ended(&self) -> bool {
        self.0.state == 'X' || self.0.state == 'Z' && !self.has_other_threads()
    }

    fn has_other_threads(&self) -> bool {
        self.0.num_threads > 1
    }

    /// Whether it has ever executed a program: the kernel takes the flag back
    /// before it closes what is close-on-exec (`begin_new_exec`).
    pub(super) fn has_executed(&self) -> bool {
        /// `PF_FORKNOEXEC`: "forked but didn't exec".
        const ONLY_FORKED: u32 = 0x40;
        self.0.flags & ONLY_FORKED == 0
    }

    /// Whether it is on its way out: the first one of a pid namespace stays on
    /// it until all others have been reaped.
    pub(super) fn is_ending(&self) -> bool {
        /// `PF_EXITING`.
        const ENDING: u32 = 0x4;
        self.0.flags & ENDING != 0 && !self.has_other_threads()
    }
}

/// What distinguishes this boot of the machine from every other.
pub(super) fn boot_id(proc: &Proc) -> Result<String> {
    let text = proc
        .read_sysctl("kernel/random/boot_id")
        .context("boot_id")?;
    Ok(text.trim_end().to_owned())
}

/// What a container's directory may hold, in the order in which it can be removed.
pub(super) const ENTRIES: [(&str, UnlinkatFlags); 5] = [
    (FILE, UnlinkatFlags::NoRemoveDir),
    (DRAFT, UnlinkatFlags::NoRemoveDir),
    (super::SOCKET, UnlinkatFlags::NoRemoveDir),
    (notify::PATH, UnlinkatFlags::NoRemoveDir),
    (notify::DIRECTORY, UnlinkatFlags::RemoveDir),
];
