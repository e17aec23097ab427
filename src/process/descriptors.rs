//! Open descriptors at execve(2): 0, 1, 2, and those that the caller passes on explicitly
//! (CVE-2024-21626).
//!
//! Close-on-exec is not enough: the kernel opens the interpreter of a script or of an ELF
//! file before it closes any descriptor, and a path such as `/proc/self/fd/4/..` would lead
//! it through a directory of the host. Therefore all others are closed before execve(2)
//! (`Passed::close_others`), except for the socket that reports a failure of execve(2),
//! through which no path leads.
//!
//! Passed descriptors keep their numbers. They are open before `rt` starts, and stay open
//! with close-on-exec set from the start (`Passed::hold`) until right before execve(2)
//! (`Passed::clear_cloexec`). So no other file takes their numbers, and no hook inherits
//! them.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::unistd::Pid;

use crate::step::{Progress, Step};
use crate::sys;

/// The first descriptor after standard error.
const FIRST: u32 = 3;

/// The descriptors that the caller passes on beside standard input, output and error:
/// consecutive numbers from 3, of which some may not be open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    /// The number of sockets of socket activation (sd_listen_fds(3)), which come first.
    pub(crate) activated: u32,
    /// The number of `--preserve-fds`.
    pub(crate) preserved: u32,
    /// The numbers among them that the caller does not have open. They are closed in the
    /// container, too; in between, files of `rt` may take these numbers.
    pub(crate) holes: &'static [RawFd],
}

impl Passed {
    /// The default of the sysctl `fs.nr_open`, the most descriptors that a process can have.
    const MAX: u32 = 1 << 20;

    pub(crate) fn count(self) -> u32 {
        self.activated.saturating_add(self.preserved)
    }

    pub(super) fn numbers(self) -> impl Iterator<Item = RawFd> {
        let numbers = FIRST..FIRST.saturating_add(self.count());
        let numbers = numbers.map_while(|fd| RawFd::try_from(fd).ok());
        numbers.filter(move |fd| self.holes.binary_search(fd).is_err())
    }

    /// Finds out which descriptors are open, and sets close-on-exec on them. Called before
    /// `rt` opens any file.
    ///
    /// # Errors
    /// When a socket of socket activation is not open, or the number of descriptors is above
    /// the kernel's limit.
    pub(crate) fn hold(self) -> Result<Passed> {
        ensure!(
            self.count() <= Self::MAX,
            "--preserve-fds: {} is more than a process can have open",
            self.preserved
        );
        let mut holes = Vec::new();
        for (i, fd) in (0..).zip(self.numbers()) {
            match sys::set_cloexec(fd) {
                Err(Errno::EBADF) if i >= self.activated => holes.push(fd),
                done => done.with_context(|| {
                    if i < self.activated {
                        format!("LISTEN_FDS: descriptor {fd}, {i} of {}", self.activated)
                    } else {
                        format!("--preserve-fds: descriptor {fd}")
                    }
                })?,
            }
        }
        let holes = holes.leak(); // Called once; the list is needed until the program ends.
        Ok(Passed { holes, ..self })
    }

    /// The variables that sd_listen_fds(3) reads. The process is pid 1 of its container, except
    /// with `rt.init` ([`Passed::listen_pid`]).
    pub(super) fn variables(self) -> Vec<String> {
        match self.activated {
            0 => Vec::new(),
            count => vec![format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_owned()],
        }
    }

    /// The LISTEN_PID of a process that is not PID 1. `None` without socket activation.
    pub(super) fn listen_pid(self, pid: Pid) -> Option<CString> {
        let variable = (self.activated > 0).then(|| format!("LISTEN_PID={pid}"));
        CString::new(variable?).ok()
    }

    pub(super) fn is_listen_pid(variable: &CStr) -> bool {
        variable.to_bytes().starts_with(b"LISTEN_PID=")
    }

    /// Lets the descriptors survive execve(2).
    pub(super) fn clear_cloexec(self, at: &Progress) -> nix::Result<()> {
        at.enter(Step::PassedDescriptors);
        self.numbers().try_for_each(sys::clear_cloexec)
    }

    /// Closes all descriptors but 0 to 2, the passed ones, and `report`.
    pub(super) fn close_others(self, report: BorrowedFd, at: &Progress) -> nix::Result<()> {
        at.enter(Step::Descriptors);
        for hole in self
            .holes
            .iter()
            .filter(|hole| **hole != report.as_raw_fd())
        {
            let hole = hole.cast_unsigned();
            sys::close_range(hole, hole)?;
        }
        close_from(FIRST.saturating_add(self.count()), report)
    }

    /// Runtime, after the clone: closes its own copies. A process that waits for the other
    /// end of a pipe to close must not have to wait for `rt`.
    pub(super) fn close_all(self) -> Result<()> {
        let numbers: Vec<RawFd> = self.numbers().collect();
        sys::close_passed_fds(&numbers).context("close the passed descriptors")
    }
}

/// For hooks, right before execve(2): closes all descriptors but 0 to 2 and `report`.
pub(super) fn close_all_but(report: BorrowedFd) -> nix::Result<()> {
    close_from(FIRST, report)
}

fn close_from(first: u32, report: BorrowedFd) -> nix::Result<()> {
    let report = report.as_raw_fd().cast_unsigned();
    if first < report {
        sys::close_range(first, report - 1)?;
    }
    sys::close_range(first.max(report + 1), u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_that_are_not_open_are_found() {
        let passed = |activated, preserved| Passed {
            activated,
            preserved,
            holes: &[],
        };
        // A test has fewer descriptors open, and all of them have close-on-exec set already.
        let known = passed(0, 100_000).hold().unwrap();
        assert_eq!(known.holes.last(), Some(&100_002));
        assert_eq!(known.numbers().count(), 100_000 - known.holes.len());
        let error = |activated, preserved| {
            format!("{:#}", passed(activated, preserved).hold().unwrap_err())
        };
        assert!(error(100_000, 1).starts_with("LISTEN_FDS: descriptor "));
        assert_eq!(
            error(0, u32::MAX),
            "--preserve-fds: 4294967295 is more than a process can have open"
        );
    }

    #[test]
    fn only_socket_activation_sets_variables() {
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
