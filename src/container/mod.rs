//! A container's life: what is on disk, and the only place that knows the
//! order of things. Two pages hold it: `create.rs` for the runtime, `init.rs`
//! for init.

mod create;
mod damaged;
mod delete;
mod directory;
mod exec;
mod exec_process;
mod foreground;
mod hooks;
mod init;
mod kill;
mod listeners;
mod notify;
mod pause;
mod pid_file;
mod pidfd;
mod processes;
mod relay;
mod request;
mod rollback;
mod salvage;
mod start;
mod state;
mod sync;
mod terminal;
mod update;
mod waiting;

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use nix::sys::stat::fstatat;

pub(crate) use create::{Attachment, create, run};
pub(crate) use delete::delete;
pub(crate) use exec::{Joining, Wanted, exec};
pub(crate) use kill::{Whom, kill};
pub(crate) use pause::{pause, resume};
pub(crate) use processes::processes;
pub(crate) use request::Request;
pub(crate) use start::start;
pub(crate) use state::Status;
pub(crate) use update::update;

use crate::cgroups::Existing;
use crate::log;
use crate::trusted_proc::Proc;
use directory::Container;
use state::State;

/// Where a created container waits for `rt start`: there as long as it waits.
const SOCKET: &str = "start.sock";

/// What `rt state` and `rt list` say of a container (runtime.md, "State").
pub(crate) struct Report {
    pub(crate) oci_version: String,
    pub(crate) id: String,
    /// 0 when stopped.
    pub(crate) pid: i32,
    pub(crate) status: Status,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    /// RFC 3339, UTC.
    pub(crate) created: String,
    pub(crate) annotations: BTreeMap<String, String>,
    /// The user who made it.
    pub(crate) owner: u32,
}

/// Whether `id` can name a container: letters, digits, `_`, `+`, `-`, `.`; at
/// most 1024 of them; neither `.` nor `..`.
pub(crate) fn valid_id(id: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.');
    !id.is_empty() && id.len() <= 1024 && id.chars().all(plain) && id != "." && id != ".."
}

impl Container {
    fn waits_for_start(&self) -> bool {
        fstatat(
            self.as_fd(),
            SOCKET,
            nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW,
        )
        .is_ok()
    }

    fn status(&self, state: &State, proc: &Proc) -> Result<Status> {
        if state.creating {
            // Without the lock nobody makes it any more.
            return Ok(if self.is_busy() {
                Status::Creating
            } else {
                Status::Stopped
            });
        }
        // One on its way out only waits for the others of its pid namespace to go.
        let Some(init) = state.init(proc)?.filter(|init| !init.is_ending()) else {
            return Ok(Status::Stopped);
        };
        // One that is created can be paused too.
        Ok(if existing(state).frozen() {
            Status::Paused
        } else if !init.has_executed() && self.waits_for_start() {
            Status::Created
        } else {
            Status::Running
        })
    }
}

fn existing(state: &State) -> Existing {
    Existing::new(state.cgroup_paths.clone(), state.cgroups_created.clone())
}

fn missing() -> anyhow::Error {
    anyhow!("container does not exist")
}

/// What `rt state` says.
///
/// # Errors
/// When there is no such container.
pub(crate) fn state(root: &Path, id: &str) -> Result<Report> {
    let container = Container::unlocked(root, id)?.ok_or_else(missing)?;
    report(&container, &Proc::open().context("/proc")?)?.ok_or_else(missing)
}

/// All containers below `root`, by id.
///
/// # Errors
/// When `root` is not there (`NotFound`) or cannot be read.
pub(crate) fn list(root: &Path) -> Result<Vec<Report>> {
    directory::check_root(root)?;
    let proc = Proc::open().context("/proc")?;
    let ids = ids(root)?;
    let mut reports = Vec::with_capacity(ids.len());
    for id in ids {
        // One that is removed meanwhile, or is no container, is not listed.
        if let Ok(Some(container)) = Container::unlocked(root, &id) {
            match report(&container, &proc).with_context(|| id.clone()) {
                Ok(report) => reports.extend(report),
                // The others are there all the same.
                Err(error) => log::warn(&log::sentence(&error)),
            }
        }
    }
    Ok(reports)
}

/// The names below `root` that are ids, in order.
fn ids(root: &Path) -> Result<Vec<String>> {
    let mut ids: Vec<String> = std::fs::read_dir(root)
        .with_context(|| root.display().to_string())?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| valid_id(name))
        .collect();
    ids.sort();
    Ok(ids)
}

fn report(container: &Container, proc: &Proc) -> Result<Option<Report>> {
    let Some(state) = container.state()? else {
        return Ok(None);
    };
    let status = container.status(&state, proc)?;
    Ok(Some(Report {
        pid: if status == Status::Stopped {
            0
        } else {
            state.init_process_pid
        },
        status,
        oci_version: state.oci_version,
        id: state.id,
        bundle: state.bundle,
        rootfs: state.config.rootfs,
        created: state.created,
        annotations: state.annotations,
        owner: state.owner,
    }))
}
