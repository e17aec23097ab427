//! Who outside hears of a container that is being made: connected to before
//! anything is, so that nothing is made for somebody who is not there.

use std::os::fd::OwnedFd;

use anyhow::Result;

use super::create::Way;
use super::notify::Manager;
use super::pidfd::PidfdSocket;
use super::request::Request;
use super::terminal::{Caller, Console};
use crate::plan::Plan;

pub(super) struct Listeners {
    /// The end of a socket that the container's terminal goes to.
    pub(super) console: Option<OwnedFd>,
    /// This process, which relays between the caller's terminal and the container's.
    pub(super) relay: Option<(Caller, OwnedFd)>,
    pub(super) pidfd: Option<PidfdSocket>,
    /// Who hears that the container is ready, if this command starts it.
    pub(super) manager: Option<Manager>,
}

impl Listeners {
    /// # Errors
    /// By the flag that names a socket on which nobody listens.
    pub(super) fn connect(request: &Request, plan: &Plan, way: Way) -> Result<Listeners> {
        let (terminal, alone) = (plan.process.has_terminal(), way != Way::RunForeground);
        let console = Console::open(terminal, alone, request.console_socket.as_deref())?;
        let (console, relay) = console.split();
        Ok(Listeners {
            console,
            relay,
            pidfd: PidfdSocket::connect(request.pidfd_socket.as_deref())?,
            manager: Manager::connect(
                request
                    .notify_socket
                    .as_ref()
                    .filter(|_| way != Way::Create),
            )?,
        })
    }
}
