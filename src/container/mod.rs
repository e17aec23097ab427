//! A container's life: what is on disk, and the only place that knows the
//! order of things. Two pages hold it: `create.rs` for the runtime, `init.rs`
//! for init.

mod create;
mod delete;
mod exec;
mod foreground;
mod guest;
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
mod start;
mod state;
mod sync;
mod terminal;
mod traces;
mod update;
mod waiting;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat, fstatat};
use nix::unistd::{geteuid, unlinkat};

pub(crate) use create::{Attachment, Request, create, run};
pub(crate) use delete::delete;
pub(crate) use exec::{Joining, Wanted, exec};
pub(crate) use kill::{Whom, kill};
pub(crate) use pause::{pause, resume};
pub(crate) use processes::processes;
pub(crate) use start::start;
pub(crate) use state::Status;
pub(crate) use update::update;

use crate::cgroups::Existing;
use crate::log;
use crate::trusted_proc::Proc;
use state::State;

/// Where a created container waits for `rt start`: there as long as it waits.
const SOCKET: &str = "start.sock";

const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// The directory of one container, below the runtime's root.
struct Container {
    root: PathBuf,
    id: String,
    directory: File,
}

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
    /// Takes `id`: makes its directory, and locks it.
    ///
    /// # Errors
    /// When the id is taken.
    fn new(root: &Path, id: &str) -> Result<Container> {
        ensure!(valid_id(id), "invalid container ID format: {id:?}");
        let mut private = std::fs::DirBuilder::new();
        private.mode(0o700);
        let path = root.join(id);
        let made = match private.create(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => private
                .recursive(true)
                .create(root)
                .and_then(|()| private.recursive(false).create(&path)),
            done => done,
        };
        match made {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                bail!("container with given ID already exists")
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(error).with_context(|| {
                    format!(
                        "{} (a user's containers are kept in XDG_RUNTIME_DIR, if that is set, or where --root says)",
                        path.display()
                    )
                });
            }
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        }
        Container::open(root, id)?
            .ok_or_else(|| anyhow!("{}: removed by somebody else", path.display()))
    }

    /// Opens and locks the container `id`; `None` when there is none.
    fn open(root: &Path, id: &str) -> Result<Option<Container>> {
        let Some(container) = Container::unlocked(root, id)? else {
            return Ok(None);
        };
        Ok(container.lock()?.then_some(container))
    }

    /// Waits for the lock; false when whoever held it has removed the container.
    fn lock(&self) -> Result<bool> {
        let subject = || format!("lock {}", self.root.join(&self.id).display());
        self.directory.lock().with_context(subject)?;
        Ok(fstat(&self.directory).with_context(subject)?.st_nlink > 0)
    }

    /// Whether somebody else holds the lock; if not, this process does now.
    fn is_busy(&self) -> bool {
        self.directory.try_lock().is_err()
    }

    /// Lets others at it, for as long as its process runs.
    fn unlock(&self) -> Result<()> {
        self.directory.unlock().with_context(|| self.id.clone())
    }

    fn unlocked(root: &Path, id: &str) -> Result<Option<Container>> {
        ensure!(valid_id(id), "invalid container ID format: {id:?}");
        let path = root.join(id);
        let directory = match open(&path, DIRECTORY, Mode::empty()) {
            Ok(directory) => File::from(directory),
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(errno).with_context(|| path.display().to_string()),
        };
        let owner = fstat(&directory)
            .with_context(|| path.display().to_string())?
            .st_uid;
        ensure!(
            owner == geteuid().as_raw(),
            "{}: belongs to user {owner}, not to the one who runs this",
            path.display()
        );
        Ok(Some(Container {
            root: root.to_owned(),
            id: id.to_owned(),
            directory,
        }))
    }

    fn state(&self) -> Result<Option<State>> {
        State::load(self.directory.as_fd())
            .with_context(|| self.root.join(&self.id).display().to_string())
    }

    fn waits_for_start(&self) -> bool {
        fstatat(
            &self.directory,
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

    /// Removes what is on disk.
    fn remove(&self) -> Result<()> {
        let path = self.root.join(&self.id);
        for (name, how) in state::ENTRIES {
            match unlinkat(&self.directory, name, how) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => {
                    return Err(errno).with_context(|| path.join(name).display().to_string());
                }
            }
            match std::fs::remove_dir(&path) {
                Ok(()) => return Ok(()),
                // Another of the files is there.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error).with_context(|| path.display().to_string()),
            }
        }
        bail!("{}: holds files that are not a container's", path.display())
    }
}

impl AsFd for Container {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
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
    let subject = || root.display().to_string();
    let proc = Proc::open().context("/proc")?;
    let mut ids: Vec<String> = std::fs::read_dir(root)
        .with_context(subject)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| valid_id(name))
        .collect();
    ids.sort();
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
