//! `rt kill`: sends a signal to the container's init process, or to all its processes.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use anyhow::{Context, Error, Result, anyhow, ensure};
use nix::errno::Errno;

use super::state::{Container, State, Status, not_running};
use super::teardown::{kill_init, surviving_cgroups};
use crate::log;
use crate::sys;
use crate::trusted_proc::Proc;

/// The processes that receive a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KillTarget {
    /// The container's init process.
    Init,
    /// All processes of the container, even after init has ended.
    All,
}

/// Sends `signal` to the container `id` (runtime.md, "Kill"). SIGKILL always reaches all
/// processes, also in a container without a pid namespace of its own.
///
/// # Errors
/// When the container is neither created nor running, unless SIGKILL or `--all` can reach
/// processes that survived init. With [`KillTarget::All`], when the container is being created, or
/// has no cgroup by which to find its processes.
pub(crate) fn kill(root: &Path, id: &str, signal: i32, whom: KillTarget) -> Result<()> {
    let (container, state) = Container::find(root, id)?;
    let proc = Proc::open().context("/proc")?;
    let status = container.status(&state, &proc)?;
    match (status, whom) {
        (Status::Created | Status::Running | Status::Paused, _) => {}
        (Status::Stopped, KillTarget::All) => return surviving_cgroups(&state).kill(signal),
        (Status::Stopped, KillTarget::Init)
            if signal == libc::SIGKILL && surviving_cgroups(&state).exists() =>
        {
            return surviving_cgroups(&state).kill(signal);
        }
        (Status::Stopped, KillTarget::Init) => return Err(stopped(id)),
        (status @ Status::Creating, _) => return Err(not_running(status)),
    }
    if whom == KillTarget::All && signal != libc::SIGKILL {
        ensure!(
            !state.cgroup_paths.is_empty(),
            "--all: the container has no cgroup of its own by which to find its processes"
        );
        return state.cgroups().kill(signal);
    }
    let Some(pidfd) = state.init_pidfd(&proc)? else {
        return Err(stopped(id));
    };
    if signal == libc::SIGKILL {
        return kill_all(&state, pidfd.as_fd());
    }
    match sys::pidfd_send_signal(pidfd.as_fd(), signal) {
        Err(Errno::ESRCH) => Err(stopped(id)),
        done => done.with_context(|| format!("signal {signal}")),
    }
}

fn stopped(id: &str) -> Error {
    let error = not_running(Status::Stopped);
    anyhow!("{error}; remove it with rt delete {id}")
}

/// Sends SIGKILL to every process. In a pid namespace of the container's own, the kernel
/// kills the others with init.
fn kill_all(state: &State, init: BorrowedFd) -> Result<()> {
    if !state.own_pid_namespace {
        if state.cgroup_paths.is_empty() {
            log::warn(
                "only the init process is killed: without a cgroup or a pid namespace of the container, others cannot be found",
            );
        }
        state.cgroups().kill(libc::SIGKILL)?;
    }
    kill_init(state, init)
}
