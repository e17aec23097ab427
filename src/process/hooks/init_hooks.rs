//! The hooks that init runs: createContainer and startContainer.
//!
//! The runtime opens their standard input and output before the clone, so that both
//! processes hold the same open files: the runtime writes the state to them once it
//! knows init's pid, and reads the output of a hook that has failed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use nix::sys::stat::Mode;

use super::Hooks;
use super::run::{HookContext, HookDirectory, poll_fds};
use super::stdio::{Output, new_input, write_state};
use crate::process::{Prepared, Process};
use crate::step::{Cause, Failure, Progress, Step};

/// Standard input and output of the hooks that init runs.
pub(crate) struct InitHookFiles {
    create_container: Vec<(OwnedFd, Output)>,
    /// Input only: a startContainer hook writes to the container's standard output.
    start_container: Vec<OwnedFd>,
}

impl Hooks {
    /// Runtime: opens standard input and output of init's hooks.
    ///
    /// # Errors
    /// When memfd_create(2) fails.
    pub(crate) fn wire(&self) -> Result<InitHookFiles> {
        let create = self.create_container.iter();
        let start = self.start_container.iter();
        Ok(InitHookFiles {
            create_container: create
                .map(|_| Ok((new_input()?, Output::new()?)))
                .collect::<nix::Result<_>>()
                .context("hooks.createContainer")?,
            start_container: start
                .map(|_| new_input())
                .collect::<nix::Result<_>>()
                .context("hooks.startContainer")?,
        })
    }

    /// How many descriptors [`Hooks::wire`] opens.
    pub(crate) fn descriptors(&self) -> u64 {
        (3 * self.create_container.len() + self.start_container.len()) as u64
    }

    /// Init, before pivot_root(2): calls the createContainer hooks, in the container's
    /// root directory and with the runtime's umask.
    pub(crate) fn create_container(
        &self,
        wired: &InitHookFiles,
        root: BorrowedFd,
        umask: Mode,
        at: &Progress,
    ) -> Result<(), Cause> {
        let hooks = self.create_container.iter().zip(&wired.create_container);
        for (item, (hook, (input, output))) in hooks.enumerate() {
            at.at(Step::ContainerHook, item);
            let context = HookContext {
                input: input.as_fd(),
                output: Some(output),
                directory: HookDirectory::Open(root),
                umask: Some(umask),
                container: None,
                process: None,
            };
            hook.run_in(&context, &mut poll_fds)?;
        }
        Ok(())
    }

    /// Init, right before execve(2): calls the startContainer hooks, with the user,
    /// capabilities, limits and filter of the container's process.
    pub(crate) fn start_container(
        &self,
        wired: &InitHookFiles,
        process: (&Process, &Prepared),
        at: &Progress,
    ) -> Result<(), Cause> {
        let hooks = self.start_container.iter().zip(&wired.start_container);
        for (item, (hook, input)) in hooks.enumerate() {
            at.at(Step::StartHook, item);
            let context = HookContext {
                input: input.as_fd(),
                output: None,
                directory: HookDirectory::Inherited,
                umask: None,
                container: None,
                process: Some(process),
            };
            hook.run_in(&context, &mut poll_fds)?;
        }
        Ok(())
    }
}

impl InitHookFiles {
    pub(crate) fn is_empty(&self) -> bool {
        self.create_container.is_empty() && self.start_container.is_empty()
    }

    /// Runtime, before init continues: writes the state that each kind of hook reads,
    /// with the status that the container has when the hook is called.
    ///
    /// # Errors
    /// When pwrite(2) fails.
    pub(crate) fn write_state(&self, creating: &[u8], created: &[u8]) -> nix::Result<()> {
        for (input, _) in &self.create_container {
            write_state(input.as_fd(), creating)?;
        }
        for input in &self.start_container {
            write_state(input.as_fd(), created)?;
        }
        Ok(())
    }

    /// The output of the hook at which init failed, as [`super::Failed::said`] has it;
    /// empty when init failed elsewhere.
    pub(crate) fn said(&self, failure: Failure) -> String {
        let output = match failure.step {
            Step::ContainerHook => self.create_container.get(usize::from(failure.item)),
            _ => None,
        };
        output.map_or_else(String::new, |(_, output)| output.excerpt())
    }
}
