//! How a container is killed and removed: shared by kill, delete, a failed start and a
//! rolled-back create.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use super::checkpoint::yards;
use super::hooks;
use super::state::{Container, State};
use crate::annotations::key;
use crate::cgroups::ExistingCgroups;
use crate::network;
use crate::rootfs::remove_unfinished;
use crate::sys;
use crate::trusted_proc::Proc;

/// How long a killed process may take to end, in milliseconds. The kernel may have to write
/// its data to disk first.
const KILL_TIMEOUT: u16 = 10_000;

/// Kills the init process and waits until it has ended.
///
/// # Errors
/// When it has not ended after [`KILL_TIMEOUT`].
pub(super) fn kill_and_wait(state: &State, proc: &Proc) -> Result<()> {
    if state.creating || state.restore_directory.is_some() {
        // CRIU has the others stopped until a restore is done.
        kill_frozen(&surviving_cgroups(state))?;
    }
    let Some(pidfd) = state.init_pidfd(proc)? else {
        return Ok(());
    };
    kill_init(state, pidfd.as_fd())?;
    wait(pidfd.as_fd())
}

/// Kills all processes. None runs for a moment when CRIU, which has it stopped, ends before it.
pub(super) fn kill_frozen(cgroups: &ExistingCgroups) -> Result<()> {
    cgroups.freeze(true)?;
    cgroups.kill(libc::SIGKILL)
}

/// Sends SIGKILL to the init process, which may have ended.
pub(super) fn kill_init(state: &State, init: BorrowedFd) -> Result<()> {
    match sys::pidfd_send_signal(init, libc::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => return Err(errno).context("kill"),
    }
    state.cgroups().thaw_killed()
}

/// A pidfd becomes readable when its process has ended (pidfd_open(2)).
fn wait(pidfd: BorrowedFd) -> Result<()> {
    let mut ended = [PollFd::new(pidfd, PollFlags::POLLIN)];
    loop {
        match poll(&mut ended, PollTimeout::from(KILL_TIMEOUT)) {
            Ok(0) => bail!(
                "its process was killed and has not ended after {} s",
                KILL_TIMEOUT / 1000
            ),
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("wait for its process"),
        }
    }
}

/// The cgroups that may hold processes after the init process has ended. In a pid namespace
/// of the container's own, the kernel has killed all processes with init.
pub(super) fn surviving_cgroups(state: &State) -> ExistingCgroups {
    // If `rt create` was killed before it cloned init, a cgroup at this path may belong to
    // something else.
    if state.init_process_pid == 0 || state.own_pid_namespace {
        ExistingCgroups::new(BTreeMap::new(), Vec::new())
    } else {
        state.cgroups()
    }
}

/// Kills the remaining processes, removes the cgroups, the groups of resctrl, the network, what an unfinished creation has
/// made on the host, and the container's directory, then calls the poststop hooks.
pub(super) fn remove(container: &Container, state: &State) -> Result<()> {
    surviving_cgroups(state).kill(libc::SIGKILL)?;
    let cgroups = state.cgroups();
    // If `rt create` was killed before it started the unit, one of this name may belong to
    // something else.
    if state.init_process_pid != 0 || cgroups.are_own() {
        cgroups.stop_unit();
    }
    cgroups.remove()?;
    if let Some(groups) = &state.resctrl {
        groups.remove(Pid::from_raw(state.init_process_pid))?;
    }
    if let Some(bridge) = state.annotations.get(key::BRIDGE) {
        network::release(container.owner(), Some(bridge))?;
    }
    if state.creating {
        let upper = state
            .layers
            .as_ref()
            .and_then(|layers| layers.upper.as_deref());
        remove_unfinished(upper, &state.directories_created)?;
    }
    if let Some(directory) = &state.restore_directory {
        yards::remove(directory)?;
    }
    container.remove()?;
    hooks::call_poststop(state)
}
