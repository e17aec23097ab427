//! `--pidfd-socket`: sends a pidfd to the process that listens there. Unlike a pid, a pidfd
//! never refers to a later process (pidfd_open(2)).

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::sys;

/// The text that is sent with the pidfd, as runc defines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PidfdKind {
    /// The pidfd of a container's init process.
    Standard,
    /// The pidfd of an exec process.
    Setns,
}

/// A connection to the process that receives the pidfd.
pub(crate) struct PidfdSocket {
    stream: UnixStream,
    path: PathBuf,
}

impl PidfdSocket {
    /// Connects, if `path` names a socket.
    ///
    /// # Errors
    /// When no process listens there.
    pub(crate) fn connect(path: Option<&Path>) -> Result<Option<PidfdSocket>> {
        let Some(path) = path else {
            return Ok(None);
        };
        let stream = UnixStream::connect(path).with_context(|| subject(path))?;
        let path = path.to_owned();
        Ok(Some(PidfdSocket { stream, path }))
    }

    /// Sends the pidfd and closes the connection.
    ///
    /// # Errors
    /// When the receiver has closed it before.
    pub(crate) fn send(self, kind: PidfdKind, pidfd: BorrowedFd) -> Result<()> {
        let text: &[u8] = match kind {
            PidfdKind::Standard => b"standard",
            PidfdKind::Setns => b"setns",
        };
        sys::send_descriptor(self.stream.as_fd(), text, pidfd).with_context(|| subject(&self.path))
    }
}

fn subject(path: &Path) -> String {
    format!("--pidfd-socket {}", path.display())
}
