//! What a container that is being made has left on the machine so far, and how
//! all of it goes away again.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitPidFlag;
use nix::unistd::Pid;

use super::foreground::{self, Foreground};
use super::state::{State, Status};
use super::{Container, delete, hooks};
use crate::cgroups::Wired;
use crate::log;
use crate::process::Moment;
use crate::sys::{self, Ended};

/// In the order in which they come.
#[derive(Default)]
pub(super) struct Rollback {
    pub(super) container: Option<Container>,
    pub(super) cgroups: Option<Wired>,
    pub(super) child: Option<Child>,
    /// From the moment on when hooks are called, or would be: then the container
    /// exists, and goes as any other does, with poststop hooks.
    pub(super) state: Option<State>,
    pub(super) pid_file: Option<PathBuf>,
}

/// The cloned child.
pub(super) struct Child {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
}

impl Rollback {
    /// Removes all of it, in the reverse order; what resists is named.
    pub(super) fn undo(&mut self) {
        let warn = |what: &str, result: Result<()>| {
            if let Err(error) = result {
                log::warn(&format!("left behind: {what}: {}", log::sentence(&error)));
            }
        };
        if let Some(file) = self.pid_file.take() {
            let removed = std::fs::remove_file(&file).with_context(|| file.display().to_string());
            warn("pid file", removed);
        }
        if let Some(child) = self.child.take() {
            warn("process", child.end());
        }
        if let (Some(state), Some(container)) = (self.state.take(), &self.container) {
            return warn("container", delete::destroy(container, &state));
        }
        if let Some(cgroups) = self.cgroups.take() {
            warn("cgroups", cgroups.undo());
        }
        if let Some(container) = self.container.take() {
            warn("state", container.remove());
        }
    }

    /// Calls the poststart hooks of a container that runs. They may use it, so
    /// others are let at it.
    ///
    /// # Errors
    /// When one fails, and the container, unless it is gone, is to go.
    pub(super) fn call_poststart(
        &mut self,
        state: &State,
        foreground: &mut Option<Foreground>,
    ) -> Result<()> {
        let (Some(container), Some(child)) = (&self.container, &self.child) else {
            return Ok(());
        };
        if state.hooks.poststart.is_empty() {
            return Ok(());
        }
        container.unlock()?;
        let hooks = &state.hooks.poststart;
        let status = (state, Status::Running);
        let called = foreground::call_hooks(foreground, Some(child.pidfd.as_fd()), |wait| {
            hooks::call(Moment::Poststart, hooks, status, (child.pid, None), wait)
        });
        if called.is_err() && !container.lock()? {
            // Whoever deleted it meanwhile has done the rest.
            (self.container, self.cgroups, self.state) = (None, None, None);
        }
        called
    }
}

impl Child {
    /// Kills it, and waits until it has ended.
    pub(super) fn end(&self) -> Result<()> {
        match sys::pidfd_send_signal(self.pidfd.as_fd(), libc::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(errno).context("kill"),
        }
        match sys::wait(Some(self.pid), WaitPidFlag::empty()) {
            Ok(_) | Err(Errno::ECHILD) => Ok(()),
            Err(errno) => Err(errno).context("wait"),
        }
    }

    /// Why init is gone without a word.
    pub(super) fn how_it_ended(&self, cgroups: &Wired) -> anyhow::Error {
        let ended = sys::wait(Some(self.pid), WaitPidFlag::empty());
        if cgroups.oom_kills().is_some_and(|kills| kills > 0) {
            return anyhow!(
                "linux.resources.memory.limit: init was killed for lack of memory: the limit is too small to start in"
            );
        }
        match ended {
            Ok(Some((_, Ended::Signaled(signal)))) => match Signal::try_from(signal) {
                Ok(signal) => anyhow!("init: ended by {signal} before it was ready"),
                Err(_) => anyhow!("init: ended by signal {signal} before it was ready"),
            },
            _ => anyhow!("init: ended before it was ready"),
        }
    }
}
