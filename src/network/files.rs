//! `rt.network.dns` and `rt.network.hosts`: the container's /etc/resolv.conf and /etc/hosts.

use anyhow::Result;

use super::lease::Lease;
use crate::annotations::Annotations;
use crate::decisions::Decisions;

/// What the two files hold.
#[derive(Debug, Default)]
pub(crate) struct Files {}

/// A file of the container.
pub(crate) struct File {
    /// Its path in the container.
    pub(crate) target: &'static str,
    pub(crate) content: String,
}

impl Files {
    /// Plans from `rt.network.dns` and `rt.network.hosts`.
    ///
    /// # Errors
    /// When a value is invalid.
    pub(crate) fn plan(_annotations: &Annotations) -> Result<Files> {
        Ok(Files::default())
    }

    /// The files, for a container with these addresses.
    ///
    /// # Errors
    /// When the host's resolv.conf is needed and cannot be read.
    pub(crate) fn files(&self, _lease: &Lease, _hostname: Option<&str>) -> Result<Vec<File>> {
        Ok(Vec::new())
    }

    /// Adds the files, one decision a line.
    pub(crate) fn decisions(&self, _to: &mut Decisions) {}
}
