//! Nothing but 0, 1, 2 and what the caller hands on by count is open at execve(2)
//! (CVE-2024-21626).
//!
//! Close-on-exec is not enough: the kernel resolves the interpreter of a script
//! or of an ELF file before it closes anything, and a path such as
//! `/proc/self/fd/4/..` leads it through whatever is open then. So the rest is
//! closed before (`Passed::close_others`), but for the socket that reports a
//! failed execve(2), which no path leads through.
//!
//! What is handed on keeps its number, and the caller had it open before this
//! program began: it is held there, close-on-exec, from the program's first
//! moment (`Passed::hold`), so that nothing is opened in its place and no hook
//! inherits it, to the last (`Passed::give`).

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use crate::step::{Progress, Step};
use crate::sys;
use anyhow::{Context, Result};

/// The first descriptor that is not one of the three.
const FIRST: u32 = 3;

/// What the caller hands on beside standard input, output and error: so many
/// descriptors from 3 on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    /// Sockets of socket activation (sd_listen_fds(3)), which come first.
    pub(crate) activated: u32,
    /// `--preserve-fds`.
    pub(crate) preserved: u32,
}

impl Passed {
    pub(crate) fn count(self) -> u32 {
        self.activated.saturating_add(self.preserved)
    }

    fn numbers(self) -> impl Iterator<Item = RawFd> {
        (FIRST..FIRST.saturating_add(self.count())).map_while(|fd| RawFd::try_from(fd).ok())
    }

    /// Before this program opens anything: sees that each is there, and keeps it
    /// from whatever this program executes itself.
    ///
    /// # Errors
    /// In runc's words for one that is not: `unable to stat preserved-fd 1 (of 2)`.
    pub(crate) fn hold(self) -> Result<()> {
        for (i, fd) in (0..).zip(self.numbers()) {
            sys::set_cloexec(fd).with_context(|| match i < self.activated {
                true => format!("LISTEN_FDS: descriptor {fd}, {i} of {}", self.activated),
                false => format!(
                    "unable to stat preserved-fd {} (of {})",
                    i - self.activated,
                    self.preserved
                ),
            })?;
        }
        Ok(())
    }

    /// What a program learns by sd_listen_fds(3): it is the first process of its
    /// container, and some of its descriptors are sockets.
    pub(super) fn variables(self) -> Vec<String> {
        match self.activated {
            0 => Vec::new(),
            some => vec![format!("LISTEN_FDS={some}"), "LISTEN_PID=1".to_owned()],
        }
    }

    /// Init, last of all: they outlive execve(2).
    pub(super) fn give(self, at: &Progress) -> nix::Result<()> {
        at.enter(Step::PassedDescriptors);
        self.numbers().try_for_each(sys::clear_cloexec)
    }

    /// Init, right before execve(2): closes all but 0 to 2, what was handed on,
    /// and `report`.
    pub(super) fn close_others(self, report: BorrowedFd, at: &Progress) -> nix::Result<()> {
        at.enter(Step::Descriptors);
        close_from(FIRST.saturating_add(self.count()), report)
    }

    /// Runtime, as soon as init has its copies: whoever waits for the other end
    /// of a pipe to close is not to wait for this program.
    pub(super) fn let_go(self) -> Result<()> {
        sys::let_go(self.count()).context("close what was handed on")
    }
}

/// A hook, right before execve(2): closes all but 0 to 2 and `report`.
pub(super) fn close_all_but(report: BorrowedFd) -> nix::Result<()> {
    close_from(FIRST, report)
}

fn close_from(first: u32, report: BorrowedFd) -> nix::Result<()> {
    let report = report.as_raw_fd().cast_unsigned();
    if first < report {
        sys::close_for_good(first, report - 1)?;
    }
    sys::close_for_good(first.max(report + 1), u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_missing_is_named_by_its_place() {
        // No test program has so many open.
        let said = |activated, preserved| {
            let passed = Passed {
                activated,
                preserved,
            };
            // Those that are open are marked so already.
            format!("{:#}", passed.hold().unwrap_err())
        };
        assert!(said(0, 100_000).starts_with("unable to stat preserved-fd "));
        assert!(said(0, u32::MAX).ends_with("(of 4294967295): EBADF: Bad file number"));
        assert!(said(100_000, 1).starts_with("LISTEN_FDS: descriptor "));
    }

    #[test]
    fn only_activation_is_told_to_the_program() {
        let passed = |activated, preserved| Passed {
            activated,
            preserved,
        };
        assert_eq!(passed(2, 1).variables(), ["LISTEN_FDS=2", "LISTEN_PID=1"]);
        assert_eq!(passed(0, 3).variables(), [""; 0]);
        assert_eq!(passed(2, 3).numbers().collect::<Vec<_>>(), [3, 4, 5, 6, 7]);
        assert_eq!(passed(0, 0).numbers().count(), 0);
    }
}
