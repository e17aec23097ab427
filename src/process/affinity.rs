//! `process.execCPUAffinity`, and the CPUs of all other processes.

use std::fmt;

use anyhow::Context;
use oci_spec::runtime::ExecCPUAffinity;

use super::numbers::Numbers;
use crate::sys::{self, CpuMask};

/// `process.execCPUAffinity`: the CPUs of an exec process.
#[derive(Debug)]
pub(super) struct Affinity {
    initial_cpus: Option<Cpus>,
    final_cpus: Option<Cpus>,
}

struct Cpus(Numbers<{ size_of::<CpuMask>() }>);

impl Affinity {
    pub(super) fn plan(affinity: &ExecCPUAffinity) -> anyhow::Result<Affinity> {
        let place = |name: &str, list: &Option<String>| {
            let list = list.as_deref().filter(|list| !list.is_empty());
            let cpus = list.map(|list| Numbers::parse(list, "CPUs").map(Cpus));
            let cpus = cpus.transpose();
            cpus.with_context(|| format!("process.execCPUAffinity.{name}"))
        };
        Ok(Affinity {
            initial_cpus: place("initial", affinity.initial())?,
            final_cpus: place("final", affinity.cpu_affinity_final())?,
        })
    }

    /// Runtime: moves itself to the `initial` CPUs, which the new process inherits.
    pub(super) fn apply_initial(&self) -> anyhow::Result<()> {
        let Some(cpus) = &self.initial_cpus else {
            return Ok(());
        };
        sys::sched_setaffinity(&cpus.0.0).context("process.execCPUAffinity.initial")
    }

    /// Exec process, in its cgroup: moves to the `final` CPUs. Without `final`, the kernel's
    /// choice stays (config.md).
    pub(super) fn apply_final(&self) -> nix::Result<()> {
        match &self.final_cpus {
            Some(cpus) => sys::sched_setaffinity(&cpus.0.0),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_list().entries(self.0.iter()).finish()
    }
}

/// Allows this process all CPUs of its cgroup. Since Linux 6.2 an affinity mask of the caller
/// survives the move into a cpuset, but it is not a limit of the container.
pub(super) fn reset() -> nix::Result<()> {
    sys::sched_setaffinity(&[u8::MAX; size_of::<CpuMask>()])
}
