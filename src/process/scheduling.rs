//! `process.oomScoreAdj` and `process.execCPUAffinity`.

use std::fmt;

use anyhow::{Context, ensure};
use nix::errno::Errno;
use nix::unistd::Pid;
use oci_spec::runtime::ExecCPUAffinity;

use crate::sys::{self, CpuMask};
use crate::trusted_proc::Proc;

/// `process.oomScoreAdj`. When it is absent, the specification requires the caller's score
/// to stay.
#[derive(Debug)]
pub(super) struct OomScore {
    /// In decimal, as /proc/PID/oom_score_adj expects it (proc_pid_oom_score_adj(5)).
    pub(super) text: String,
}

impl OomScore {
    pub(super) fn plan(score: i32) -> anyhow::Result<OomScore> {
        ensure!(
            (-1000..=1000).contains(&score),
            "process.oomScoreAdj: {score} is not between -1000 and 1000"
        );
        Ok(OomScore {
            text: score.to_string(),
        })
    }

    pub(super) fn describe(&self) -> String {
        format!("set {}", self.text)
    }

    /// Init: sets its own score.
    ///
    /// # Errors
    /// `EACCES` when the score is below the caller's, without CAP_SYS_RESOURCE.
    pub(super) fn apply(&self, proc: &Proc) -> nix::Result<()> {
        proc.write("self/oom_score_adj", self.text.as_bytes())
    }

    /// Runtime: sets the score of an exec process.
    ///
    /// # Errors
    /// As [`OomScore::apply`].
    pub(super) fn apply_to(&self, pid: Pid, proc: &Proc) -> nix::Result<()> {
        proc.write(&format!("{pid}/oom_score_adj"), self.text.as_bytes())
    }
}

/// `process.execCPUAffinity`: the CPUs of an exec process.
#[derive(Debug)]
pub(super) struct Affinity {
    initial_cpus: Option<Cpus>,
    final_cpus: Option<Cpus>,
}

struct Cpus(Box<CpuMask>);

impl Affinity {
    pub(super) fn plan(affinity: &ExecCPUAffinity) -> anyhow::Result<Affinity> {
        let place = |name: &str, list: &Option<String>| {
            let list = list.as_deref().filter(|list| !list.is_empty());
            let cpus = list.map(Cpus::parse).transpose();
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
        sys::sched_setaffinity(&cpus.0).context("process.execCPUAffinity.initial")
    }

    /// Exec process, in its cgroup: moves to the `final` CPUs. Without `final`, the kernel's
    /// choice stays (config.md).
    pub(super) fn apply_final(&self) -> nix::Result<()> {
        match &self.final_cpus {
            Some(cpus) => sys::sched_setaffinity(&cpus.0),
            None => Ok(()),
        }
    }
}

impl Cpus {
    /// Parses a list such as `0-3,7`.
    fn parse(list: &str) -> anyhow::Result<Cpus> {
        let mut mask: Box<CpuMask> = Box::new([0; size_of::<CpuMask>()]);
        let limit = mask.len() * 8;
        for range in list.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let number = |text: &str| text.trim().parse::<usize>().ok();
            let ends = number(first).zip(number(last));
            let (first, last) = ends
                .filter(|(first, last)| first <= last && *last < limit)
                .with_context(|| {
                    format!("{list:?} is not a list of CPUs below {limit}, such as \"0-3,7\"")
                })?;
            (first..=last).for_each(|cpu| mask[cpu / 8] |= 1 << (cpu % 8));
        }
        Ok(Cpus(mask))
    }
}

impl fmt::Debug for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let is_set = |cpu: &usize| self.0[cpu / 8] & 1 << (cpu % 8) != 0;
        f.debug_list()
            .entries((0..self.0.len() * 8).filter(is_set))
            .finish()
    }
}

/// Allows this process all CPUs of its cgroup. Since Linux 6.2 an affinity mask of the caller
/// survives the move into a cpuset, but it is not a limit of the container.
pub(super) fn reset_affinity() -> Result<(), Errno> {
    sys::sched_setaffinity(&[u8::MAX; size_of::<CpuMask>()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_outside_the_kernels_range_is_refused() {
        assert_eq!(OomScore::plan(-1000).unwrap().text, "-1000");
        let error = OomScore::plan(1001).unwrap_err().to_string();
        assert!(error.starts_with("process.oomScoreAdj: 1001"), "{error}");
    }

    #[test]
    fn a_list_of_cpus_is_parsed() {
        let cpus = |list: &str| format!("{:?}", Cpus::parse(list).unwrap());
        assert_eq!(cpus("0-3,7"), "[0, 1, 2, 3, 7]");
        assert_eq!(cpus("8191, 0"), "[0, 8191]");
        for bad in ["", "a", "3-1", "8192", "-1", "1,,2", "1-"] {
            let error = Cpus::parse(bad).unwrap_err().to_string();
            assert!(
                error.contains("is not a list of CPUs below 8192"),
                "{error}"
            );
        }
    }
}
