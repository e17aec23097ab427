//! What `rt create` or `rt run` has made so far, and how it is removed after a failure.

use std::os::fd::AsFd;
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::unistd::Pid;

use crate::cgroups::CreatedCgroups;
use crate::container::child::Child;
use crate::container::foreground::{self, Foreground};
use crate::container::state::{Container, State, Status};
use crate::container::{hooks, teardown};
use crate::log;
use crate::network::{self, MovedDevices};
use crate::process::HookKind;
use crate::resctrl::OpenGroup;
use crate::rootfs::CreatedDirectories;

/// In the order of creation.
#[derive(Default)]
pub(crate) struct Rollback {
    pub(crate) container: Option<Container>,
    /// The bridge on which a lease may have been taken.
    pub(crate) network: Option<String>,
    pub(crate) cgroups: Option<CreatedCgroups>,
    pub(crate) resctrl: Option<OpenGroup>,
    pub(crate) directories: CreatedDirectories,
    pub(crate) child: Option<Child>,
    pub(crate) net_devices: Option<MovedDevices>,
    /// Set as soon as hooks may have been called. From then on the container is removed like
    /// any other, with poststop hooks.
    pub(crate) state: Option<State>,
    pub(crate) pid_file: Option<PathBuf>,
}

impl Rollback {
    /// Removes everything in reverse order, with a warning for what cannot be removed.
    pub(crate) fn undo(&mut self) {
        let warn = |what: &str, result: Result<()>| {
            if let Err(error) = result {
                log::warn(&format!(
                    "left behind: {what}: {}",
                    log::format_error(&error)
                ));
            }
        };
        if let Some(file) = self.pid_file.take() {
            let removed = std::fs::remove_file(&file).with_context(|| file.display().to_string());
            warn("pid file", removed);
        }
        let mut init = Pid::from_raw(0);
        if let Some(child) = self.child.take() {
            init = child.pid;
            warn("process", child.kill());
        }
        if let Some(devices) = self.net_devices.take() {
            warn("network devices", devices.undo());
        }
        warn("directory", self.directories.undo());
        if let (Some(state), Some(container)) = (self.state.take(), &self.container) {
            return warn("container", teardown::remove(container, &state));
        }
        if let Some(group) = self.resctrl.take() {
            warn("groups of resctrl", group.undo(init));
        }
        if let Some(cgroups) = self.cgroups.take() {
            warn("cgroups", cgroups.undo());
        }
        if let (Some(bridge), Some(container)) = (self.network.take(), &self.container) {
            warn(
                "network",
                network::release(container.owner(), Some(&bridge)),
            );
        }
        if let Some(container) = self.container.take() {
            warn("state", container.remove());
        }
    }

    /// Calls the poststart hooks of a running container. Unlocks the container first: the
    /// hooks may call `rt` for it.
    ///
    /// # Errors
    /// When a hook fails. The caller then rolls back, unless another command has deleted the
    /// container.
    pub(crate) fn call_poststart(
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
            hooks::call(HookKind::Poststart, hooks, status, (child.pid, None), wait)
        });
        if called.is_err() && !container.lock()? {
            // Another command has deleted the container, with its cgroups and groups of resctrl.
            (self.container, self.cgroups, self.state) = (None, None, None);
            self.resctrl = None;
        }
        called
    }
}
