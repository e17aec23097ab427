//! What a process gets from the one that starts it, whether it wants or not.

use anyhow::{Context, Result};
use caps::CapsHashSet;

use crate::trusted_proc::Proc;

/// The C library's own signals (nptl(7)): posix_spawn(3) leaves them ignored in
/// every program that it starts, and none minds.
const INTERNAL: [i32; 2] = [32, 33];

/// What this process was started with, and a child of it would be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    /// The capabilities that can be handed on: permitted, and in the bounding set.
    pub(crate) grantable: CapsHashSet,
    /// Numbers of the signals that are ignored, which execve(2) does not change.
    pub(crate) ignored_signals: Vec<i32>,
}

impl Caller {
    /// The same caller with every right, as the first one in a user namespace has.
    pub(crate) fn all_powerful(&self) -> Caller {
        Caller {
            grantable: caps::all(),
            ..self.clone()
        }
    }

    /// One file says it all; the kernel would be asked once for each capability
    /// and once for each signal.
    ///
    /// # Errors
    /// When /proc/self/status cannot be read.
    pub(crate) fn read(proc: &Proc) -> Result<Caller> {
        let status = proc.read("self/status").context("/proc/self/status")?;
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
    let holds = |one: &caps::Capability| one.bitmask() & capabilities != 0;
    Some(Caller {
        grantable: caps::all().into_iter().filter(holds).collect(),
        // Signal n is bit n-1.
        ignored_signals: (1..=64)
            .filter(|n| ignored & (1 << (n - 1)) != 0 && !INTERNAL.contains(n))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_masks_count_for_capabilities() {
        let status = "CapInh:\t0\nCapPrm:\t0000000000000021\nCapEff:\t0\nCapBnd:\t00000000000000a0\nSigIgn:\t0\n";
        let caller = parse(status).unwrap();
        assert_eq!(caller.grantable, [caps::Capability::CAP_KILL].into());
        assert_eq!(caller.ignored_signals, [0; 0]);
        assert!(parse("CapPrm:\t1\n").is_none());
    }

    #[test]
    fn signals_are_counted_from_one() {
        let status = "CapPrm:\t0\nCapBnd:\t0\nSigIgn:\t8000000180001001\n";
        assert_eq!(parse(status).unwrap().ignored_signals, [1, 13, 64]);
    }
}
