//! The runtime's side of the conversation with init, until the program is executed.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Error, Result, anyhow, bail};
use nix::errno::Errno;

use crate::cgroups::CreatedCgroups;
use crate::container::child::Child;
use crate::container::foreground::{self, CallerTerminal, Foreground, Relay};
use crate::container::ipc::{InitMessage, NotifyProxy, RuntimeEnd, UNEXPECTED_MESSAGE};
use crate::container::state::{Container, State, Status};
use crate::container::{hooks, seccomp_agent, start};
use crate::plan::Plan;
use crate::process::InitHookFiles;
use crate::step::{Failure, Step};
use crate::trusted_proc::Proc;

/// A container whose init process was told to execute the program.
pub(super) struct Started {
    pub(super) state: State,
    /// Only when the command does not stay in the foreground.
    pub(super) notify: Option<NotifyProxy>,
    /// False when execve(2) failed. Init has printed the reason then.
    pub(super) executed: bool,
}

/// A container that is ready to execute its process, or is being built.
pub(super) struct ReadyContainer {
    end: RuntimeEnd,
    pub(super) plan: Plan,
    hooks: InitHookFiles,
    pub(super) state: State,
    notify: Option<NotifyProxy>,
}

impl ReadyContainer {
    pub(super) fn new(
        end: RuntimeEnd,
        plan: Plan,
        hooks: InitHookFiles,
        state: State,
    ) -> ReadyContainer {
        ReadyContainer {
            end,
            plan,
            hooks,
            state,
            notify: None,
        }
    }

    /// Lets init build the container, and waits until it is ready. `state_for_hooks` is set as
    /// soon as hooks are called.
    pub(super) fn wait_until_ready(
        &mut self,
        container: &Container,
        (child, cgroups, proc): (&Child, &CreatedCgroups, &Proc),
        state_for_hooks: &mut Option<State>,
        foreground: &mut Option<Foreground>,
    ) -> Result<()> {
        self.state.set_init_process(child.pid, &self.plan, proc)?;
        // Init or a hook may hang. `rt delete --force` then finds init by this state.
        self.state.save(container.as_fd())?;
        hooks::write_states(&self.hooks, &self.state, child.pid, proc)?;
        let mut message = self.go_and_receive(foreground)?;
        if matches!(message, InitMessage::Mounted) {
            *state_for_hooks = Some(self.state.clone());
            let init = (child.pid, Some(child.pidfd.as_fd()));
            hooks::call_at_creation(&self.plan, &self.state, init, foreground)?;
            message = self.go_and_receive(foreground)?;
        }
        match message {
            InitMessage::Ready => self.plan.process.set_scheduler_of(child.pid),
            InitMessage::Failed(failure) => Err(self.explain(failure)),
            InitMessage::Closed => Err(child.unexpected_end(cgroups)),
            InitMessage::Mounted | InitMessage::Listener { .. } => bail!(UNEXPECTED_MESSAGE),
        }
    }

    /// Starts relaying the terminal, and keeps `notify` for the time after the start.
    pub(super) fn serve(
        &mut self,
        foreground: &mut Option<Foreground>,
        (relay, notify): (Option<(CallerTerminal, OwnedFd)>, Option<NotifyProxy>),
    ) -> Result<()> {
        let relay = relay.map(|(caller, socket)| Relay::new(caller, &socket));
        match foreground {
            Some(foreground) => foreground.serve(relay.transpose()?, notify),
            None => self.notify = notify,
        }
        Ok(())
    }

    /// Tells init, which is ready, to continue.
    pub(super) fn go(&self) -> Result<()> {
        self.end.go().map_err(|errno| match errno {
            Errno::EPIPE => anyhow!("init: ended before it was started"),
            other => Error::new(other).context("init"),
        })
    }

    /// Tells init to execute the program, and waits until it has.
    pub(super) fn start(self, foreground: &mut Option<Foreground>) -> Result<Started> {
        seccomp_agent::expect(&self.end, &self.state)?;
        self.go()?;
        let message = seccomp_agent::serve(&self.end, (&self.state, Status::Created), || {
            foreground::receive(&self.end, foreground).context("init")
        });
        let executed = match message? {
            InitMessage::Closed => {
                start::ensure_executed(&self.state)?;
                true
            }
            InitMessage::Failed(failure) if failure.step == Step::Exec => false,
            InitMessage::Failed(failure) => return Err(self.explain(failure)),
            InitMessage::Ready | InitMessage::Mounted | InitMessage::Listener { .. } => {
                bail!(UNEXPECTED_MESSAGE)
            }
        };
        Ok(Started {
            state: self.state,
            notify: self.notify,
            executed,
        })
    }

    /// Tells init to continue, and waits for its next message.
    fn go_and_receive(&self, foreground: &mut Option<Foreground>) -> Result<InitMessage> {
        match self.end.go() {
            // Even if init has ended, its last message can still be received.
            Ok(()) | Err(Errno::EPIPE) => {
                foreground::receive(&self.end, foreground).context("init")
            }
            Err(errno) => Err(errno).context("init"),
        }
    }

    /// The error for a failure of init, with the output of the hook that failed.
    fn explain(&self, failure: Failure) -> anyhow::Error {
        let (error, output) = (self.plan.explain(failure), self.hooks.said(failure));
        anyhow!("{error}{output}")
    }
}
