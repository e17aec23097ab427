//! `rt state` and `rt list`: the status of one container, or of all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::state::{Container, State, Status, check_root, ids};
use crate::bundle::VERSIONS;
use crate::cgroups::ExistingCgroups;
use crate::log;
use crate::trusted_proc::Proc;

/// The state of a container as runtime.md, "State", defines it, with the additions of runc.
pub(crate) struct Report {
    pub(crate) oci_version: &'static str,
    pub(crate) id: String,
    /// 0 when the container is stopped.
    pub(crate) pid: i32,
    pub(crate) status: Status,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    /// RFC 3339, UTC.
    pub(crate) created: String,
    pub(crate) annotations: BTreeMap<String, String>,
    /// The user who created the container.
    pub(crate) owner: u32,
    pub(crate) cgroups: ExistingCgroups,
}

/// The state of the container `id`.
///
/// # Errors
/// When there is no such container.
pub(crate) fn state(root: &Path, id: &str) -> Result<Report> {
    let (container, state) = Container::find(root, id)?;
    report(&container, state, &Proc::open().context("/proc")?)
}

/// The status of the container `id`. `None` when there is no such container.
///
/// # Errors
/// When its state cannot be read.
pub(crate) fn status(root: &Path, id: &str) -> Result<Option<Status>> {
    let Some(container) = Container::open(root, id)? else {
        return Ok(None);
    };
    let Some(state) = container.state()? else {
        return Ok(None);
    };
    let proc = Proc::open().context("/proc")?;
    container.status(&state, &proc).map(Some)
}

/// All containers below `root`, sorted by id.
///
/// # Errors
/// When `root` does not exist (`NotFound`) or cannot be read.
pub(crate) fn list(root: &Path) -> Result<Vec<Report>> {
    check_root(root)?;
    let proc = Proc::open().context("/proc")?;
    let ids = ids(root)?;
    let mut reports = Vec::with_capacity(ids.len());
    for id in ids {
        // A container may be removed meanwhile, and a directory may belong to something else.
        if let Ok(Some(container)) = Container::open(root, &id) {
            let report = match container.state() {
                Ok(Some(state)) => report(&container, state, &proc),
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            match report.with_context(|| id.clone()) {
                Ok(report) => reports.push(report),
                // One unreadable container does not hide the others.
                Err(error) => log::warn(&log::format_error(&error)),
            }
        }
    }
    Ok(reports)
}

fn report(container: &Container, state: State, proc: &Proc) -> Result<Report> {
    let status = container.status(&state, proc)?;
    Ok(Report {
        pid: if status == Status::Stopped {
            0
        } else {
            state.init_process_pid
        },
        status,
        oci_version: VERSIONS.1,
        id: state.id,
        bundle: state.bundle,
        rootfs: state.config.rootfs,
        created: state.created,
        annotations: state.annotations,
        owner: state.owner,
        cgroups: ExistingCgroups::new(state.cgroup_paths, state.cgroups_created),
    })
}
