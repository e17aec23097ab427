//! The capabilities and signal settings that a process inherits from the caller of `rt`.

use anyhow::{Context, Result};
use caps::CapsHashSet;

use crate::trusted_proc::Proc;

/// The signals that the C library reserves for itself (nptl(7)). posix_spawn(3) leaves them
/// ignored in every program that it starts, which has no effect on the program.
const NPTL_SIGNALS: [i32; 2] = [32, 33];

/// The inherited attributes of this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    /// The capabilities that a container can get: permitted, and in the bounding set.
    pub(crate) grantable: CapsHashSet,
    /// The numbers of the ignored signals, which execve(2) leaves ignored.
    pub(crate) ignored_signals: Vec<i32>,
}

impl Caller {
    /// The same caller with all capabilities, as the first process of a user namespace has.
    pub(crate) fn with_all_capabilities(&self) -> Caller {
        Caller {
            grantable: caps::all(),
            ..self.clone()
        }
    }

    /// Reads /proc/self/status: system calls would be needed for each capability and each
    /// signal.
    ///
    /// # Errors
    /// When /proc/self/status cannot be read.
    pub(crate) fn read(proc: &Proc) -> Result<Caller> {
        let status = proc
            .read_record("self/status")
            .context("/proc/self/status")?;
        parse(&status).context("/proc/self/status: CapPrm, CapBnd, SigIgn")
    }
}

/// The lines `CapPrm`, `CapBnd` and `SigIgn`, in hexadecimal (proc_pid_status(5)).
fn parse(status: &str) -> Option<Caller> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    let capabilities = field("CapPrm:")? & field("CapBnd:")?;
    let ignored = field("SigIgn:")?;
    let is_grantable = |one: &caps::Capability| one.bitmask() & capabilities != 0;
    Some(Caller {
        grantable: caps::all().into_iter().filter(is_grantable).collect(),
        // Signal n is bit n-1.
        ignored_signals: (1..=64)
            .filter(|n| ignored & (1 << (n - 1)) != 0 && !NPTL_SIGNALS.contains(n))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grantable_capability_is_permitted_and_in_the_bounding_set() {
        let status = "CapInh:\t0\nCapPrm:\t0000000000000021\nCapEff:\t0\nCapBnd:\t00000000000000a0\nSigIgn:\t0\n";
        let caller = parse(status).unwrap();
        assert_eq!(caller.grantable, [caps::Capability::CAP_KILL].into());
        assert_eq!(caller.ignored_signals, [0; 0]);
        assert!(parse("CapPrm:\t1\n").is_none());
    }

    #[test]
    fn signal_numbers_start_at_one() {
        let status = "CapPrm:\t0\nCapBnd:\t0\nSigIgn:\t8000000180001001\n";
        assert_eq!(parse(status).unwrap().ignored_signals, [1, 13, 64]);
    }
}
