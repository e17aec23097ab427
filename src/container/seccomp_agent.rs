//! The runtime's side of `SCMP_ACT_NOTIFY`: gives the listener of a filter to the seccomp agent
//! (config-linux.md, "Seccomp").

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::unistd::Pid;
use serde::Serialize;

use super::ipc::{InitMessage, RuntimeEnd};
use super::oci_state::OciState;
use super::state::{State, Status};
use crate::bundle::VERSIONS;
use crate::log;
use crate::sys;

/// How long the agent may let the connection, and each write to it, wait.
const LIMIT: Duration = Duration::from_secs(10);

/// The container process state (config-linux.md).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerProcessState<'a> {
    oci_version: &'a str,
    fds: [&'a str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a str>,
    state: OciState<'a>,
}

/// Comes before init or an exec process is told to execute its program.
pub(super) fn expect(end: &RuntimeEnd, state: &State) -> Result<()> {
    match state.seccomp_agent {
        Some(_) => end.expect_listener().context("init"),
        None => Ok(()),
    }
}

/// Waits for the message after which a program runs or does not. If there is an agent, gives it the
/// listener before.
pub(super) fn serve(
    end: &RuntimeEnd,
    state: (&State, Status),
    mut receive: impl FnMut() -> Result<InitMessage>,
) -> Result<InitMessage> {
    match receive()? {
        InitMessage::Listener { listener, pid } => {
            give(listener, pid, state)?;
            match end.go() {
                // Even if the process has ended, its last message can still be received.
                Ok(()) | Err(Errno::EPIPE) => receive(),
                Err(errno) => Err(errno).context("init"),
            }
        }
        message => Ok(message),
    }
}

/// Sends the listener of the process `pid`, and what the agent must know about the container, over a
/// connection of its own.
///
/// # Errors
/// `linux.seccomp.listenerPath: /run/agent.sock: connection refused (ECONNREFUSED)`, and the like.
fn give(listener: OwnedFd, pid: Pid, (state, status): (&State, Status)) -> Result<()> {
    let agent = state.seccomp_agent.as_ref().context("seccomp: no agent")?;
    let content = ContainerProcessState {
        oci_version: VERSIONS.1,
        fds: ["seccompFd"],
        pid: pid.as_raw(),
        metadata: agent.metadata.as_deref(),
        state: OciState::new(state, status, Some(Pid::from_raw(state.init_process_pid))),
    };
    let content = serde_json::to_vec(&content).context("state")?;
    let path = agent.path_from(&state.bundle);
    sys::connect_stream(&path, LIMIT)
        .and_then(|socket| {
            sys::send_all_with_descriptor(socket.as_fd(), &content, listener.as_fd())
        })
        .map_err(|errno| log::hinted(errno, hint(errno).map(str::to_owned)))
        .with_context(|| format!("linux.seccomp.listenerPath: {}", path.display()))
}

fn hint(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::ENOENT | Errno::ECONNREFUSED => "is the seccomp agent running?",
        Errno::EAGAIN => "the seccomp agent did not answer for 10 seconds",
        Errno::EPROTOTYPE => "the seccomp agent must listen on a stream socket",
        _ => return None,
    })
}
