//! The traffic of a container's network namespace.

use std::ffi::OsString;

use anyhow::{Context, Result};
use nix::errno::Errno;

use crate::trusted_proc::Proc;

/// Reads the traffic of containers.
pub(crate) struct Counters {
    proc: Proc,
    /// The network namespace of this process.
    own: OsString,
}

impl Counters {
    /// # Errors
    /// When /proc cannot be read.
    pub(crate) fn open() -> Result<Counters> {
        let proc = Proc::open().context("/proc")?;
        let own = proc.link_text("self/ns/net").context("/proc/self/ns/net")?;
        Ok(Counters { proc, own })
    }

    /// The bytes that all interfaces in the network namespace of the process `pid` have received and
    /// sent, without the loopback interface (proc_pid_net(5), "dev"). `None` when it shares the
    /// network namespace of this process, has ended, or belongs to another user.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub(crate) fn of(&self, pid: i32) -> Result<Option<(u64, u64)>> {
        let read = || {
            if self.proc.link_text(&format!("{pid}/ns/net"))? == self.own {
                return Ok(None);
            }
            self.proc.read(&format!("{pid}/net/dev")).map(Some)
        };
        match read() {
            Ok(text) => Ok(text.map(|text| sum(&text))),
            Err(Errno::ENOENT | Errno::ESRCH | Errno::EACCES | Errno::EINVAL) => Ok(None),
            Err(errno) => Err(errno).with_context(|| format!("/proc/{pid}/net/dev")),
        }
    }
}

/// The sums of the first and the ninth number of each line, after two lines of titles.
fn sum(text: &str) -> (u64, u64) {
    let mut sum = (0, 0);
    for line in text.lines().skip(2) {
        let Some((name, numbers)) = line.split_once(':') else {
            continue;
        };
        if name.trim() == "lo" {
            continue;
        }
        let mut numbers = numbers
            .split_whitespace()
            .map(|word| word.parse().unwrap_or(0));
        let mut next = |index| numbers.nth(index).unwrap_or_default();
        sum.0 += next(0);
        sum.1 += next(7);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn received_and_sent_bytes_are_added_without_the_loopback() {
        let text = "Inter-|   Receive                  |  Transmit\n face |bytes ...|bytes ...\n    \
                    lo: 7 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n  eth0: 10 1 0 0 0 0 0 0 200 1 0 0 0 0 0 0\n  \
                    eth1:1 1 0 0 0 0 0 0 2 1 0 0 0 0 0 0\n";
        assert_eq!(sum(text), (11, 202));
        assert_eq!(sum(""), (0, 0));
    }
}
