//! Finds the container that a command is about.

use std::path::Path;

use anyhow::{Error, Result, anyhow, bail};

use super::directory::{Container, Locked, ids};
use super::file::State;
use crate::nearest::nearest;

impl Container {
    /// The container `id`, not locked, and its state.
    ///
    /// # Errors
    /// When there is no such container, or its state cannot be read.
    pub(crate) fn find(root: &Path, id: &str) -> Result<(Container, State)> {
        let container = Container::open(root, id)?;
        let container = container.ok_or_else(|| no_such_container(root, id))?;
        let state = container.state()?;
        let state = state.ok_or_else(|| no_such_container(root, id))?;
        Ok((container, state))
    }

    /// The same for a command that needs a container that has been created. Locked.
    ///
    /// # Errors
    /// When there is no such container, or `rt create` has not made it yet: what is to be done is
    /// `verb` for the message.
    pub(crate) fn find_created(root: &Path, id: &str, verb: &str) -> Result<(Container, State)> {
        let missing = || no_such_container(root, id);
        let container = Container::open(root, id)?.ok_or_else(missing)?;
        // `rt create` holds the lock, and may be waiting for a hook that calls this.
        match container.lock_created()? {
            Locked::Here => {}
            Locked::Removed => return Err(missing()),
            Locked::Creating => bail!("cannot {verb} a container in the creating state"),
        }
        let state = container.state()?.ok_or_else(missing)?;
        Ok((container, state))
    }
}

/// The error of a command for an id that names no container, with the nearest id that does.
pub(crate) fn no_such_container(root: &Path, id: &str) -> Error {
    // Without the ids there is only no suggestion.
    let ids = ids(root).unwrap_or_default();
    let others = ids.iter().map(String::as_str).filter(|other| *other != id);
    match nearest(id, others) {
        Some(other) => anyhow!("container does not exist; did you mean {other}?"),
        None => anyhow!("container does not exist"),
    }
}
