//! Finds the container that a command is about.

use std::path::Path;

use anyhow::{Error, Result, anyhow};

use super::directory::{Container, ids};
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
