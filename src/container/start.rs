//! `rt start`: tells a created container to execute its process.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::unistd::{Pid, UnlinkatFlags, unlinkat};

use super::notify::{Manager, Notify};
use super::state::{Shown, State, Status};
use super::sync::{FromInit, RuntimeEnd};
use super::{Container, SOCKET, delete, hooks, kill, missing};
use crate::log;
use crate::plan;
use crate::process::{Moment, wait_alone};
use crate::step::Step;
use crate::sys;
use crate::trusted_proc::Proc;

/// Starts the container `id` (runtime.md, "Start"). A process that execve(2) itself
/// refuses has started: it has said why, and ends with 1, as with runc.
///
/// # Errors
/// When it is not created, or a hook fails, or what is left to do before execve(2);
/// the container is deleted then, and its process is gone before this returns:
/// engines take an error for the end of both.
pub(crate) fn start(root: &Path, id: &str, notify_socket: Option<&OsString>) -> Result<()> {
    let container = Container::open(root, id)?.ok_or_else(missing)?;
    let state = container.state()?.ok_or_else(missing)?;
    let proc = Proc::open().context("/proc")?;
    match container.status(&state, &proc)? {
        Status::Created => {}
        Status::Stopped => bail!("cannot start a container that has stopped"),
        Status::Running => bail!("cannot start an already running container"),
        other @ (Status::Creating | Status::Paused) => {
            bail!("cannot start a container in the {other} state")
        }
    }
    let notify = Notify::listen(container.as_fd(), Manager::connect(notify_socket)?)?;
    let process = notify
        .as_ref()
        .map(|_| kill::init(&state, &proc))
        .transpose()?;
    let mut end = RuntimeEnd::connected(sys::connect(container.as_fd(), SOCKET).context(SOCKET)?);
    end.explain(|| state.start_step_descriptions.clone());
    end.go().context("init")?;
    if !matches!(end.receive().context("init")?, FromInit::Ready) {
        bail!("init: ended before it was started");
    }
    if let Err(error) = see_started(&container, &state, &end) {
        if let Err(left) = delete::after_failure(&container, &state, &proc) {
            log::warn(&format!("left behind: {}", log::sentence(&left)));
        }
        return Err(error);
    }
    if let (Some(notify), Some(Some(process))) = (notify, process) {
        container.unlock()?;
        notify.forward(Pid::from_raw(state.init_process_pid), process.as_fd());
    }
    Ok(())
}

/// Waits until init has become the container's process, and calls the hooks that
/// come then.
fn see_started(container: &Container, state: &State, end: &RuntimeEnd) -> Result<()> {
    // Whatever comes of it, the container waits no longer.
    match unlinkat(container.as_fd(), SOCKET, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno).context(SOCKET),
    }
    match end.receive().context("init")? {
        FromInit::Gone => {
            refuse_unless_executed(state)?;
            call_poststart(container, state)
        }
        FromInit::Failed(failure) if failure.step == Step::Exec => Ok(()),
        FromInit::Failed(failure) => {
            let words = state.describe(failure);
            Err(plan::sentence(&words, failure.step, failure.cause, None))
        }
        FromInit::Ready | FromInit::Mounted => bail!("init answers out of turn"),
    }
}

/// Whether init, which says nothing any more, runs its program. Only startContainer
/// hooks give anybody the time to end it before; one that is gone cannot be asked.
///
/// # Errors
/// When it has ended without.
pub(super) fn refuse_unless_executed(state: &State) -> Result<()> {
    let hooks = |(step, ..): &(Step, u16, _)| *step == Step::StartHook;
    if !state.start_step_descriptions.iter().any(hooks) {
        return Ok(());
    }
    let proc = Proc::open().context("/proc")?;
    let init = Shown::of(&proc, state.init_process_pid)?;
    ensure!(
        init.is_none_or(|init| init.has_executed()),
        "init: ended before it was executed"
    );
    Ok(())
}

/// They may use the container, so others are let at it.
fn call_poststart(container: &Container, state: &State) -> Result<()> {
    let hooks = &state.hooks.poststart;
    if hooks.is_empty() {
        return Ok(());
    }
    container.unlock()?;
    let pid = Pid::from_raw(state.init_process_pid);
    hooks::call(
        Moment::Poststart,
        hooks,
        (state, Status::Running),
        (pid, None),
        &mut wait_alone,
    )
}
