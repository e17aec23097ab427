//! `process.terminal`: a pseudoterminal as the controlling terminal of the process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Result, anyhow};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};
use oci_spec::runtime::Box as ConsoleSize;

use crate::step::{Cause, Progress, Step};
use crate::sys::{self, Size};

/// The validated `process.terminal` and `process.consoleSize`.
#[derive(Debug)]
pub(super) struct Terminal {
    /// `None` leaves the size at the kernel's default.
    pub(super) size: Option<Size>,
}

impl Terminal {
    /// `None` without a terminal: the size is ignored then (config.md).
    pub(super) fn plan(terminal: bool, size: Option<&ConsoleSize>) -> Result<Option<Terminal>> {
        if !terminal {
            return Ok(None);
        }
        let number = |name: &str, value: u64| {
            u16::try_from(value).map_err(|_| {
                anyhow!(
                    "process.consoleSize.{name}: {value} is not between 0 and {}",
                    u16::MAX
                )
            })
        };
        let size = match size {
            Some(size) if size.height() != 0 && size.width() != 0 => Some(Size {
                rows: number("height", size.height())?,
                columns: number("width", size.width())?,
            }),
            Some(_) | None => None,
        };
        Ok(Some(Terminal { size }))
    }

    /// Sends the master to the console socket `to`, and makes `terminal` the controlling
    /// terminal and standard input, output and error. This process must lead a session that
    /// has no terminal yet.
    pub(super) fn take(
        &self,
        master: OwnedFd,
        terminal: &OwnedFd,
        to: BorrowedFd,
        at: &Progress,
    ) -> Result<(), Cause> {
        at.enter(Step::TerminalSize);
        if let Some(size) = self.size {
            sys::set_terminal_size(terminal.as_fd(), size)?;
        }
        at.enter(Step::ConsoleSocket);
        let number = sys::pty_number(master.as_fd())?;
        let name = format!("/dev/pts/{number}");
        sys::send_descriptor(to, name.as_bytes(), master.as_fd())?;
        at.enter(Step::ControllingTerminal);
        sys::set_controlling_terminal(terminal.as_fd())?;
        dup2_stdin(terminal)?;
        dup2_stdout(terminal)?;
        dup2_stderr(terminal)?;
        Ok(())
    }
}
