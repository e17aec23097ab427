//! What the runtime does about hooks: calls those that run in its own
//! namespaces, and tells init's what they are to read.

use std::os::fd::BorrowedFd;

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::unistd::Pid;

use super::state::{State, Status};
use crate::log;
use crate::plan;
use crate::process::{Failed, Hook, Moment, Wait, WiredHooks, wait_alone};
use crate::step::Step;
use crate::trusted_proc::Proc;

/// Calls the hooks of one moment in their order, up to the first that fails. `init`
/// is the container's process, with a descriptor if its end is theirs.
///
/// # Errors
/// `hooks.prestart[0]: error running prestart hook #0: ...`
pub(super) fn call(
    moment: Moment,
    hooks: &[Hook],
    (state, status): (&State, Status),
    (pid, pidfd): (Pid, Option<BorrowedFd>),
    wait: &mut Wait,
) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let told = state.told(status, Some(pid.as_raw()))?;
    for (item, hook) in hooks.iter().enumerate() {
        hook.run(&told, &state.bundle, pidfd, wait)
            .map_err(|failed| sentence(moment, item, hook, &failed))?;
    }
    Ok(())
}

/// Calls every poststop hook, for a container that is no more. One that fails is
/// worth a warning: what it was to clean up, others may yet (runtime.md,
/// "Lifecycle", 13).
pub(super) fn call_poststop(state: &State) -> Result<()> {
    if state.hooks.poststop.is_empty() {
        return Ok(());
    }
    let told = state.told(Status::Stopped, None)?;
    for (item, hook) in state.hooks.poststop.iter().enumerate() {
        if let Err(failed) = hook.run(&told, &state.bundle, None, &mut wait_alone) {
            log::warn(&log::sentence(&sentence(
                Moment::Poststop,
                item,
                hook,
                &failed,
            )));
        }
    }
    Ok(())
}

fn sentence(moment: Moment, item: usize, hook: &Hook, failed: &Failed) -> anyhow::Error {
    let words = hook.describe(moment, item);
    let error = plan::sentence(&words, Step::RuntimeHooks, failed.cause, None);
    anyhow!("{error}{}", failed.said)
}

/// Fills in what init's hooks read, which is told the pid as they see it.
pub(super) fn tell(hooks: &WiredHooks, state: &State, pid: Pid, proc: &Proc) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let inner = inner_pid(proc, pid)?;
    let creating = state.told(Status::Creating, Some(inner))?;
    let created = state.told(Status::Created, Some(inner))?;
    hooks.tell(&creating, &created).context("hooks")
}

/// The number of the process `pid` in its own pid namespace: the last of `NSpid`
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
    fn the_innermost_number_is_the_last() {
        assert_eq!(
            last_nspid("Name:\tx\nNSpid:\t4711\t12\t1\nSeccomp:\t0\n"),
            Some(1)
        );
        assert_eq!(last_nspid("NSpid:\t4711\n"), Some(4711));
        assert_eq!(last_nspid("Name:\tx\n"), None);
    }
}
