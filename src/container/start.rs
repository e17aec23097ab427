//! `rt start`: tells a created container to execute its process.

use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::state::Status;
use super::sync::{FromInit, RuntimeEnd};
use super::{Container, SOCKET, missing};
use crate::plan;
use crate::sys;
use crate::trusted_proc::Proc;

/// Starts the container `id` (runtime.md, "Start").
///
/// # Errors
/// When it is not created, or its process cannot be executed.
pub(crate) fn start(root: &Path, id: &str) -> Result<()> {
    let container = Container::open(root, id)?.ok_or_else(missing)?;
    let state = container.state()?.ok_or_else(missing)?;
    match container.status(&state, &Proc::open().context("/proc")?)? {
        Status::Created => {}
        Status::Stopped => bail!("cannot start a container that has stopped"),
        Status::Running => bail!("cannot start an already running container"),
        other @ (Status::Creating | Status::Paused) => {
            bail!("cannot start a container in the {other} state")
        }
    }
    let end = RuntimeEnd::connected(sys::connect(container.as_fd(), SOCKET).context(SOCKET)?);
    end.go().context("init")?;
    if !matches!(end.receive().context("init")?, FromInit::Ready) {
        bail!("init: ended before it was started");
    }
    // Whatever comes of it, the container waits no longer.
    match unlinkat(container.as_fd(), SOCKET, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno).context(SOCKET),
    }
    match end.receive().context("init")? {
        FromInit::Gone => Ok(()),
        FromInit::Failed(failure) => Err(plan::sentence(
            &state.exec_words,
            failure.step,
            failure.cause,
            None,
        )),
        FromInit::Ready => bail!("init answers out of turn"),
    }
}
