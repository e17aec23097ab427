//! The hooks that the runtime calls in its own namespaces, and the state that every hook
//! reads from its standard input.

use std::os::fd::BorrowedFd;

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::unistd::Pid;

use super::foreground::{self, Foreground};
use super::oci_state::OciState;
use super::state::{State, Status};
use crate::log;
use crate::plan::{self, Plan};
use crate::process::{Failed, Hook, HookKind, InitHookFiles, Wait, poll_fds};
use crate::step::{Failure, Step};
use crate::trusted_proc::Proc;

/// The state that a hook reads, as JSON. `pid` is the init process's pid as the hook sees it.
fn state_json(state: &State, status: Status, pid: Option<Pid>) -> Result<Vec<u8>> {
    serde_json::to_vec(&OciState::new(state, status, pid)).context("state")
}

/// Calls the hooks of one moment in order, up to the first that fails. `pid` is the init
/// process. With its `pidfd`, the hooks are ended when the init process ends.
///
/// # Errors
/// `hooks.prestart[0]: error running prestart hook #0: ...`
pub(super) fn call(
    moment: HookKind,
    hooks: &[Hook],
    (state, status): (&State, Status),
    (pid, pidfd): (Pid, Option<BorrowedFd>),
    wait: &mut Wait,
) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let json = state_json(state, status, Some(pid))?;
    for (item, hook) in hooks.iter().enumerate() {
        hook.run(&json, &state.bundle, pidfd, wait)
            .map_err(|failed| hook_error(moment, item, hook, &failed))?;
    }
    Ok(())
}

/// Calls the prestart and createRuntime hooks of `plan`. `init` is as for [`call`].
///
/// # Errors
/// As [`call`], or when a signal ends the foreground command.
pub(super) fn call_at_creation(
    plan: &Plan,
    state: &State,
    init: (Pid, Option<BorrowedFd>),
    foreground: &mut Option<Foreground>,
) -> Result<()> {
    for (moment, hooks) in [
        (HookKind::Prestart, &plan.hooks.prestart),
        (HookKind::CreateRuntime, &plan.hooks.create_runtime),
    ] {
        let status = (state, Status::Creating);
        foreground::call_hooks(foreground, None, |wait| {
            call(moment, hooks, status, init, wait)
        })?;
    }
    Ok(())
}

/// Calls every poststop hook of a container that has been deleted. A failed hook is reported
/// as a warning, and the next ones are called all the same (runtime.md, "Lifecycle", 13).
pub(super) fn call_poststop(state: &State) -> Result<()> {
    if state.hooks.poststop.is_empty() {
        return Ok(());
    }
    let json = state_json(state, Status::Stopped, None)?;
    for (item, hook) in state.hooks.poststop.iter().enumerate() {
        if let Err(failed) = hook.run(&json, &state.bundle, None, &mut poll_fds) {
            log::warn(&log::format_error(&hook_error(
                HookKind::Poststop,
                item,
                hook,
                &failed,
            )));
        }
    }
    Ok(())
}

fn hook_error(moment: HookKind, item: usize, hook: &Hook, failed: &Failed) -> anyhow::Error {
    let description = hook.describe(moment, item);
    let failure = Failure {
        step: Step::RuntimeHooks,
        item: 0,
        cause: failed.cause,
    };
    let error = plan::explain_without_plan(&description, failure);
    anyhow!("{error}{}", failed.said)
}

/// Writes the state that the hooks in the container read, with init's pid in their own pid
/// namespace.
pub(super) fn write_states(
    hooks: &InitHookFiles,
    state: &State,
    pid: Pid,
    proc: &Proc,
) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let inner = Pid::from_raw(inner_pid(proc, pid)?);
    let creating = state_json(state, Status::Creating, Some(inner))?;
    let created = state_json(state, Status::Created, Some(inner))?;
    hooks.write_state(&creating, &created).context("hooks")
}

/// The pid of the process `pid` in its own pid namespace: the last number of `NSpid`
/// (proc_pid_status(5)).
fn inner_pid(proc: &Proc, pid: Pid) -> Result<i32> {
    let path = format!("{pid}/status");
    let subject = || format!("/proc/{path}");
    let status = proc.read(&path).with_context(subject)?;
    last_nspid(&status)
        .ok_or(Errno::EPROTO)
        .with_context(subject)
}

fn last_nspid(status: &str) -> Option<i32> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().next_back()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_nspid_is_the_innermost() {
        assert_eq!(
            last_nspid("Name:\tx\nNSpid:\t4711\t12\t1\nSeccomp:\t0\n"),
            Some(1)
        );
        assert_eq!(last_nspid("NSpid:\t4711\n"), Some(4711));
        assert_eq!(last_nspid("Name:\tx\n"), None);
    }
}
