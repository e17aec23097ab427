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

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;

use crate::step::{Progress, Step};
use crate::sys;

/// The first descriptor that is not one of the three.
const FIRST: u32 = 3;

/// What the caller hands on beside standard input, output and error: so many
/// descriptors from 3 on, as far as it has them open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    /// Sockets of socket activation (sd_listen_fds(3)), which come first.
    pub(crate) activated: u32,
    /// `--preserve-fds`.
    pub(crate) preserved: u32,
    /// Those among them that are not open, and that stay closed in the container.
    /// What this program opens itself may take such a number.
    pub(crate) holes: &'static [RawFd],
}

impl Passed {
    /// So many descriptors a process may have at most, unless somebody has raised that
    /// (`fs.nr_open`).
    const MOST: u32 = 1 << 20;

    pub(crate) fn count(self) -> u32 {
        self.activated.saturating_add(self.preserved)
    }

    pub(super) fn numbers(self) -> impl Iterator<Item = RawFd> {
        let numbers = FIRST..FIRST.saturating_add(self.count());
        let numbers = numbers.map_while(|fd| RawFd::try_from(fd).ok());
        numbers.filter(move |fd| self.holes.binary_search(fd).is_err())
    }

    /// Before this program opens anything: sees which are there, and keeps them
    /// from whatever this program executes itself.
    ///
    /// # Errors
    /// For a socket of socket activation that is not there, and for a number of
    /// descriptors that no process has.
    pub(crate) fn hold(self) -> Result<Passed> {
        ensure!(
            self.count() <= Self::MOST,
            "--preserve-fds: {} is more than a process can have open",
            self.preserved
        );
        let mut holes = Vec::new();
        for (i, fd) in (0..).zip(self.numbers()) {
            match sys::set_cloexec(fd) {
                Err(Errno::EBADF) if i >= self.activated => holes.push(fd),
                held => held.with_context(|| match i < self.activated {
                    true => format!("LISTEN_FDS: descriptor {fd}, {i} of {}", self.activated),
                    false => format!("--preserve-fds: descriptor {fd}"),
                })?,
            }
        }
        let holes = holes.leak(); // It is found out once, and known as long as the program runs.
        Ok(Passed { holes, ..self })
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
        for hole in self
            .holes
            .iter()
            .filter(|hole| **hole != report.as_raw_fd())
        {
            let hole = hole.cast_unsigned();
            sys::close_for_good(hole, hole)?;
        }
        close_from(FIRST.saturating_add(self.count()), report)
    }

    /// Runtime, as soon as init has its copies: whoever waits for the other end
    /// of a pipe to close is not to wait for this program.
    pub(super) fn let_go(self) -> Result<()> {
        let numbers: Vec<RawFd> = self.numbers().collect();
        sys::let_go(&numbers).context("close what was handed on")
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
    fn what_is_missing_is_known() {
        let passed = |activated, preserved| Passed {
            activated,
            preserved,
            holes: &[],
        };
        // No test program has so many open, and those that are open are marked so already.
        let held = passed(0, 100_000).hold().unwrap();
        assert_eq!(held.holes.last(), Some(&100_002));
        assert_eq!(held.numbers().count(), 100_000 - held.holes.len());
        let said = |activated, preserved| {
            format!("{:#}", passed(activated, preserved).hold().unwrap_err())
        };
        assert!(said(100_000, 1).starts_with("LISTEN_FDS: descriptor "));
        assert_eq!(
            said(0, u32::MAX),
            "--preserve-fds: 4294967295 is more than a process can have open"
        );
    }

    #[test]
    fn only_activation_is_told_to_the_program() {
        let passed = |activated, preserved, holes| Passed {
            activated,
            preserved,
            holes,
        };
        let variables = passed(2, 1, &[]).variables();
        assert_eq!(variables, ["LISTEN_FDS=2", "LISTEN_PID=1"]);
        assert_eq!(passed(0, 3, &[]).variables(), [""; 0]);
        let numbers = |passed: Passed| passed.numbers().collect::<Vec<_>>();
        assert_eq!(numbers(passed(2, 3, &[])), [3, 4, 5, 6, 7]);
        assert_eq!(numbers(passed(0, 4, &[3, 5])), [4, 6]);
        assert_eq!(numbers(passed(0, 0, &[])), [0; 0]);
    }
}
