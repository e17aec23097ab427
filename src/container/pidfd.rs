//! `--pidfd-socket`: a descriptor for a process goes to whoever listens there,
//! which names this process and no later one of the same number (pidfd_open(2)).

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::sys;

/// What the descriptor comes with, in the words of runc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// A container's first process.
    Standard,
    /// One that joins it.
    Setns,
}

/// Whoever is to have the descriptor.
pub(super) struct PidfdSocket {
    stream: UnixStream,
    path: PathBuf,
}

impl PidfdSocket {
    /// Connects, if a socket is named: before anything is made.
    ///
    /// # Errors
    /// When nobody listens, with the path.
    pub(super) fn connect(path: Option<&Path>) -> Result<Option<PidfdSocket>> {
        let Some(path) = path else {
            return Ok(None);
        };
        let stream = UnixStream::connect(path).with_context(|| subject(path))?;
        let path = path.to_owned();
        Ok(Some(PidfdSocket { stream, path }))
    }

    /// Sends one message, and hangs up.
    ///
    /// # Errors
    /// When the receiver is gone.
    pub(super) fn send(self, sent: Sent, pidfd: BorrowedFd) -> Result<()> {
        let text: &[u8] = match sent {
            Sent::Standard => b"standard",
            Sent::Setns => b"setns",
        };
        sys::send_descriptor(self.stream.as_fd(), text, pidfd).with_context(|| subject(&self.path))
    }
}

fn subject(path: &Path) -> String {
    format!("--pidfd-socket {}", path.display())
}
