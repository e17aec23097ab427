//! The sockets outside of the container that `rt create` and `rt run` connect to. They are
//! connected before anything is made, so that a missing listener leaves nothing to undo.

use std::os::fd::OwnedFd;

use anyhow::Result;

use super::request::{CreateMode, Request};
use crate::container::foreground::{CallerTerminal, ConsoleCommand, ConsoleSocket};
use crate::container::ipc::{PidfdSocket, ServiceManager};
use crate::plan::Plan;

pub(super) struct Listeners {
    /// Init sends the master end of the container's terminal here.
    pub(super) console: Option<OwnedFd>,
    /// What this process needs to relay between the caller's terminal and the container's.
    pub(super) relay: Option<(CallerTerminal, OwnedFd)>,
    pub(super) pidfd: Option<PidfdSocket>,
    /// Only for a command that starts the container.
    pub(super) manager: Option<ServiceManager>,
}

impl Listeners {
    /// # Errors
    /// When a process does not listen on its socket; the error names the flag.
    pub(super) fn connect(request: &Request, plan: &Plan, mode: CreateMode) -> Result<Listeners> {
        let command = match mode {
            CreateMode::Create => ConsoleCommand::Create,
            CreateMode::RunDetached => ConsoleCommand::Run { detach: true },
            CreateMode::RunForeground => ConsoleCommand::Run { detach: false },
        };
        let terminal = plan.process.has_terminal();
        let console = ConsoleSocket::open(terminal, command, request.console_socket.as_deref())?;
        let (console, relay) = console.split();
        Ok(Listeners {
            console,
            relay,
            pidfd: PidfdSocket::connect(request.pidfd_socket.as_deref())?,
            manager: ServiceManager::connect(
                request
                    .notify_socket
                    .as_ref()
                    .filter(|_| mode != CreateMode::Create),
            )?,
        })
    }
}
