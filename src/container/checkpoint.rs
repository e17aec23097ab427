//! `rt checkpoint`: CRIU writes the processes of a container to files. Afterwards the container
//! is removed, as by runc, unless it is to run on.
//!
//! CRIU is told what belongs to the host ([`external`]), because it finds the same again when the
//! container is restored, from the bundle.

pub(super) mod external;
pub(super) mod images;
mod parents;
pub(super) mod yards;

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::unistd::{Pid, geteuid, write};

use super::state::{Container, State, Status};
use super::teardown;
use crate::annotations::key;
use crate::criu::{CgroupMode, Criu, Failure, Notice, Options, PageServer, Task};
use crate::trusted_proc::Proc;
use external::External;
use images::Images;

/// The name of CRIU's log.
const LOG: &str = "dump.log";

/// The text of CRIU names only the terminal.
const NEEDS_SHELL_JOB: &str =
    "a standard stream is a terminal of the host, which needs --shell-job, also at restore";

/// What checkpoint and restore have in common.
pub(crate) struct CriuRequest {
    pub(crate) criu: Criu,
    /// Absolute.
    pub(crate) images: PathBuf,
    /// The directory of the log and of what CRIU keeps while it works. Absolute.
    pub(crate) work: Option<PathBuf>,
    pub(crate) shell_job: bool,
    pub(crate) tcp_established: bool,
    pub(crate) ext_unix_sk: bool,
    pub(crate) file_locks: bool,
    pub(crate) auto_dedup: bool,
    pub(crate) lazy_pages: bool,
    pub(crate) cgroup_mode: CgroupMode,
    /// The network namespace is made empty, and somebody else fills it.
    pub(crate) empty_network: bool,
}

impl CriuRequest {
    /// Where CRIU works.
    pub(super) fn work_directory(&self) -> &Path {
        self.work.as_deref().unwrap_or(&self.images)
    }

    /// The options that are the same for both.
    pub(super) fn options(&self, images: &Images, log: &str) -> Options {
        Options {
            images_dir_fd: images.images.as_fd().as_raw_fd(),
            work_dir_fd: Some(images.log_directory().as_raw_fd()),
            log_level: Some(4),
            log_file: Some(log.to_owned()),
            notify_scripts: Some(true),
            orphan_pts_master: Some(true),
            shell_job: Some(self.shell_job),
            tcp_established: Some(self.tcp_established),
            ext_unix_sk: Some(self.ext_unix_sk),
            file_locks: Some(self.file_locks),
            auto_dedup: Some(self.auto_dedup),
            lazy_pages: Some(self.lazy_pages),
            manage_cgroups: Some(true),
            manage_cgroups_mode: Some(self.cgroup_mode.into()),
            empty_ns: Some(empty_namespaces(self.empty_network)),
            ..Options::default()
        }
    }
}

/// The value of [`Options::empty_ns`].
pub(super) fn empty_namespaces(network: bool) -> u32 {
    if network {
        libc::CLONE_NEWNET.cast_unsigned()
    } else {
        0
    }
}

/// What to checkpoint, and how.
pub(crate) struct CheckpointRequest {
    pub(crate) common: CriuRequest,
    /// The images of an earlier pre-dump, relative to those of this one.
    pub(crate) parent: Option<PathBuf>,
    /// Write the memory only, and let the container run.
    pub(crate) pre_dump: bool,
    pub(crate) leave_running: bool,
    pub(crate) tcp_skip_in_flight: bool,
    pub(crate) link_remap: bool,
    /// Where another CRIU receives the memory.
    pub(crate) page_server: Option<(String, u16)>,
    /// Gets a NUL byte when the memory can be fetched (`--lazy-pages`).
    pub(crate) status: Option<OwnedFd>,
}

/// Writes the images of the container `id`.
///
/// # Errors
/// When the container does not run, or has something that CRIU cannot write. It runs on then.
pub(crate) fn checkpoint(root: &Path, id: &str, request: CheckpointRequest) -> Result<()> {
    let (container, state) = Container::find_created(root, id, "checkpoint")?;
    let proc = Proc::open().context("/proc")?;
    let status = container.status(&state, &proc)?;
    match status {
        Status::Running | Status::Paused => {}
        _ => bail!("cannot checkpoint a container in the {status} state"),
    }
    refuse(&state)?;
    let external = External::find(&state, &proc)?;
    let freezer = external::freezer(&state, status, &proc)?;
    let (common, criu) = (&request.common, &request.common.criu);
    if request.pre_dump {
        criu.require_memory_tracking()?;
    } else if has_no_new_privs(&state, &proc)? {
        criu.require_no_new_privs()?;
    }
    if common.lazy_pages {
        criu.require_lazy_pages()?;
    }
    let images = Images::create(
        &common.images,
        common.work.as_deref(),
        request.parent.as_deref(),
    )?;
    let options = options(&state, &request, &images, (&external, freezer))?;
    let task = if request.pre_dump {
        Task::PreDump
    } else {
        Task::Dump
    };
    let mut status_fd = request.status;
    let mut is_whole = false;
    let dumped = criu.start()?.perform(task, options, &proc, |notice| {
        match notice {
            Notice::Dumped => {
                images.write_descriptors(&external.streams)?;
                is_whole = true;
            }
            Notice::StatusReady => tell(status_fd.take())?,
            _ => {}
        }
        Ok(())
    });
    if let Err(failure) = dumped {
        // CRIU itself thaws the processes, unless it was killed.
        if status == Status::Running && state.cgroups().is_paused() {
            state.cgroups().resume()?;
        }
        // CRIU kills the processes when the images are whole. If it was killed while it did so, the
        // checkpoint is done all the same.
        let is_done = is_whole && !request.leave_running && !matches!(failure, Failure::Answer(_));
        if !(is_done && container.status(&state, &proc)? == Status::Stopped) {
            images.make_incomplete()?;
            let needs_shell_job = external.has_terminal_of_host && !common.shell_job;
            let hint = needs_shell_job.then_some(NEEDS_SHELL_JOB);
            return Err(images.explain(failure, LOG, hint));
        }
    }
    if request.pre_dump || request.leave_running {
        return Ok(());
    }
    // CRIU has killed the processes.
    teardown::kill_and_wait(&state, &proc)?;
    teardown::remove(&container, &state)
}

/// Says on the descriptor of `--status-fd` that the memory can be fetched.
fn tell(status_fd: Option<OwnedFd>) -> Result<()> {
    if let Some(fd) = status_fd {
        write(&fd, &[0]).context("--status-fd")?;
    }
    Ok(())
}

/// Whether a process of the container has no_new_privs.
fn has_no_new_privs(state: &State, proc: &Proc) -> Result<bool> {
    let init = Pid::from_raw(state.init_process_pid);
    for pid in proc.tree(init).context("/proc")? {
        match proc.read_record(&format!("{pid}/status")) {
            Ok(status) if status.contains("\nNoNewPrivs:\t1\n") => return Ok(true),
            Ok(_) | Err(Errno::ENOENT | Errno::ESRCH) => {}
            Err(errno) => return Err(errno).context("/proc"),
        }
    }
    Ok(false)
}

/// # Errors
/// For what CRIU cannot write, by its place in the configuration.
fn refuse(state: &State) -> Result<()> {
    ensure!(
        geteuid().is_root(),
        "CRIU can checkpoint containers of root on the host only"
    );
    ensure!(
        state.seccomp_agent.is_none(),
        "linux.seccomp: CRIU cannot checkpoint the connection to the agent of SCMP_ACT_NOTIFY"
    );
    let annotation = |key: &str| state.annotations.get(key).map(String::as_str);
    ensure!(
        annotation(key::INIT) != Some("true"),
        "annotations: {}: CRIU cannot checkpoint PID 1, whose file is not in the container",
        key::INIT
    );
    ensure!(
        annotation(key::OVERLAY) != Some("ephemeral"),
        "annotations: {}: ephemeral: CRIU cannot checkpoint changes that are in memory; name a directory",
        key::OVERLAY
    );
    Ok(())
}

fn options(
    state: &State,
    request: &CheckpointRequest,
    images: &Images,
    (external, freezer): (&External, Option<String>),
) -> Result<Options> {
    let common = &request.common;
    let page_server = request
        .page_server
        .as_ref()
        .map(|(address, port)| PageServer {
            address: Some(address.clone()),
            port: Some(i32::from(*port)),
        });
    let parent = request.parent.as_ref().map(|path| {
        let path = path.to_str().context("--parent-path: is not valid UTF-8")?;
        anyhow::Ok(path.to_owned())
    });
    let root = state.config.rootfs.to_str();
    Ok(Options {
        pid: Some(state.init_process_pid),
        root: Some(root.context("root.path: is not valid UTF-8")?.to_owned()),
        leave_running: Some(request.leave_running),
        tcp_skip_in_flight: Some(request.tcp_skip_in_flight),
        link_remap: Some(request.link_remap),
        page_server,
        track_mem: Some(request.pre_dump || request.parent.is_some()),
        parent_img: parent.transpose()?,
        freeze_cgroup: freezer,
        external: if request.pre_dump {
            Vec::new()
        } else {
            external.to_options()
        },
        config_file: configuration_file(&state.annotations),
        // Who has made the links makes them again, in a hook.
        empty_ns: Some(empty_namespaces(
            common.empty_network || external.has_links_outside,
        )),
        ..common.options(images, LOG)
    })
}

/// The file with more options for CRIU. An administrator may write options for all containers of
/// `rt`; the annotation, which runc has too, names the file of one container, or none.
pub(super) fn configuration_file(
    annotations: &std::collections::BTreeMap<String, String>,
) -> Option<String> {
    const DEFAULT: &str = "/etc/criu/rt.conf";
    match annotations.get("org.criu.config") {
        None => Some(DEFAULT.to_owned()),
        Some(file) if file.is_empty() => None,
        Some(file) => Some(file.clone()),
    }
}
