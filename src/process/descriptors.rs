//! Nothing but 0, 1, 2 and what the caller hands on by count survives execve(2)
//! (CVE-2024-21626).
//!
//! What is handed on keeps its number, and the caller had it open before this
//! program began: it is held there, close-on-exec, from the program's first
//! moment (`Passed::hold`), so that nothing is opened in its place and no hook
//! inherits it, to the last (`Passed::give`).

use std::os::fd::RawFd;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;

use crate::step::{Progress, Step};
use crate::sys;
use crate::trusted_proc::Proc;

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

    fn numbers(self) -> impl Iterator<Item = RawFd> {
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

    /// Runtime, as soon as init has its copies: whoever waits for the other end
    /// of a pipe to close is not to wait for this program.
    pub(super) fn let_go(self) -> Result<()> {
        let numbers: Vec<RawFd> = self.numbers().collect();
        sys::let_go(&numbers).context("close what was handed on")
    }
}

/// Marks every descriptor from 3 on close-on-exec.
pub(super) fn close_on_exec(proc: &Proc) -> nix::Result<()> {
    match sys::close_range_cloexec(FIRST) {
        // Linux 5.10 knows the call but not the flag; a sandbox may know neither.
        Err(Errno::EINVAL | Errno::ENOSYS | Errno::EPERM) => mark_each(proc),
        done => done,
    }
}

fn mark_each(proc: &Proc) -> nix::Result<()> {
    let slots = slots(&proc.read("self/status")?).ok_or(Errno::EINVAL)?;
    for fd in FIRST as i32..slots {
        match sys::set_cloexec(fd) {
            Ok(()) | Err(Errno::EBADF) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The size of the table of descriptors, above which none is open: `FDSize` in
/// /proc/PID/status (proc(5)).
fn slots(status: &str) -> Option<i32> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("FDSize:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

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

    #[test]
    fn the_table_s_size_is_read() {
        assert_eq!(slots("Name:\tx\nFDSize:\t256\nGroups:\t0 \n"), Some(256));
        assert_eq!(slots("Name:\tx\n"), None);
    }

    #[test]
    fn without_close_range_each_is_marked() {
        let proc = Proc::open().unwrap();
        let (open, _other) = nix::unistd::pipe().unwrap();
        let flags = || nix::fcntl::fcntl(&open, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags(), 0);
        assert!(open.as_raw_fd() >= FIRST as i32);
        mark_each(&proc).unwrap();
        assert_eq!(flags(), libc::FD_CLOEXEC);
    }
}
