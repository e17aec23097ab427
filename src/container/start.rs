//! `rt start`: tells the init process of a created container to execute the program.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::unistd::{Pid, UnlinkatFlags, unlinkat};

use super::ipc::{InitMessage, NotifyProxy, RuntimeEnd, ServiceManager, UNEXPECTED_MESSAGE};
use super::state::{Container, ProcessStat, START_SOCKET, State, Status};
use super::{delete, hooks, seccomp_agent};
use crate::log;
use crate::plan;
use crate::process::{HookKind, poll_fds};
use crate::step::Step;
use crate::sys;
use crate::trusted_proc::Proc;

/// Starts the container `id` (runtime.md, "Start"). When only execve(2) itself fails, this
/// returns success: init prints the reason to its own standard error and exits with status 1,
/// as with runc.
///
/// # Errors
/// When the container is not in the created state, or a step before execve(2) or a hook fails.
/// After a failed step or hook the container is deleted and its process has ended when this
/// returns, because engines assume so after an error.
pub(crate) fn start(root: &Path, id: &str, notify_socket: Option<&OsString>) -> Result<()> {
    let (container, state) = Container::find_created(root, id, "start")?;
    let proc = Proc::open().context("/proc")?;
    match container.status(&state, &proc)? {
        Status::Created => {}
        Status::Stopped => {
            bail!("cannot start a container that has stopped; remove it with rt delete {id}")
        }
        Status::Running => bail!("cannot start an already running container"),
        Status::Creating => bail!("cannot start a container in the creating state"),
        Status::Paused => {
            bail!("cannot start a container in the paused state; resume it with rt resume {id}")
        }
    }
    ensure!(
        !state.without_process,
        "cannot start a container without a process: its config.json has none (runtime.md, \"Start\")"
    );
    let notify = NotifyProxy::listen(container.as_fd(), ServiceManager::connect(notify_socket)?)?;
    let pidfd = notify
        .as_ref()
        .map(|_| state.init_pidfd(&proc))
        .transpose()?;
    let socket = match sys::connect(container.as_fd(), START_SOCKET) {
        Err(Errno::ENOENT) => {
            bail!("cannot start a container twice; remove it with rt delete --force {id}")
        }
        socket => socket.context(START_SOCKET)?,
    };
    let mut end = RuntimeEnd::connected(socket);
    end.describe_positions_with(|| state.start_step_descriptions.clone());
    seccomp_agent::expect(&end, &state)?;
    end.go().context("init")?;
    if !matches!(end.receive().context("init")?, InitMessage::Ready) {
        bail!("init: ended before it was started");
    }
    if let Err(error) = wait_until_running(&container, &state, &end) {
        if let Err(failed_delete) = delete::delete_failed(&container, &state, &proc) {
            log::warn(&format!(
                "left behind: {}",
                log::format_error(&failed_delete)
            ));
        }
        return Err(error);
    }
    if let (Some(notify), Some(Some(pidfd))) = (notify, pidfd) {
        container.unlock()?;
        notify.forward(Pid::from_raw(state.init_process_pid), pidfd.as_fd());
    }
    Ok(())
}

/// Waits until init has executed the program, then calls the poststart hooks.
fn wait_until_running(container: &Container, state: &State, end: &RuntimeEnd) -> Result<()> {
    // The container no longer waits for a start, whether this one succeeds or fails.
    match unlinkat(container.as_fd(), START_SOCKET, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno).context(START_SOCKET),
    }
    let receive = || end.receive().context("init");
    match seccomp_agent::serve(end, (state, Status::Created), receive)? {
        InitMessage::Closed => {
            ensure_executed(state)?;
            call_poststart(container, state)
        }
        InitMessage::Failed(failure) if failure.step == Step::Exec => Ok(()),
        InitMessage::Failed(failure) => {
            let description = state.describe(failure);
            Err(plan::explain_without_plan(&description, failure))
        }
        InitMessage::Ready | InitMessage::Mounted | InitMessage::Listener { .. } => {
            bail!(UNEXPECTED_MESSAGE)
        }
    }
}

/// Checks that init, whose socket is closed, has executed the program. Only while
/// startContainer hooks run is there time to kill init before execve(2), so nothing is checked
/// without such hooks. A process that has been reaped cannot be checked.
///
/// # Errors
/// When init ended before execve(2).
pub(super) fn ensure_executed(state: &State) -> Result<()> {
    let is_hook = |(step, ..): &(Step, u16, _)| *step == Step::StartHook;
    if !state.start_step_descriptions.iter().any(is_hook) {
        return Ok(());
    }
    let proc = Proc::open().context("/proc")?;
    let init = ProcessStat::read(&proc, state.init_process_pid)?;
    ensure!(
        init.is_none_or(|init| init.has_executed()),
        "init: ended before it was executed"
    );
    Ok(())
}

/// Unlocks the container first: the hooks may call `rt` for it.
fn call_poststart(container: &Container, state: &State) -> Result<()> {
    let hooks = &state.hooks.poststart;
    if hooks.is_empty() {
        return Ok(());
    }
    container.unlock()?;
    let pid = Pid::from_raw(state.init_process_pid);
    hooks::call(
        HookKind::Poststart,
        hooks,
        (state, Status::Running),
        (pid, None),
        &mut poll_fds,
    )
}
