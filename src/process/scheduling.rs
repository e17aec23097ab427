//! How the kernel ranks the process: its out-of-memory score and its CPUs.

use std::fmt;

use anyhow::{Context, ensure};
use nix::errno::Errno;
use nix::unistd::Pid;
use oci_spec::runtime::ExecCPUAffinity;

use crate::sys::{self, CpuMask};
use crate::trusted_proc::Proc;

/// `process.oomScoreAdj`; absent, the caller's score stays (the specification
/// forbids to touch it).
#[derive(Debug)]
pub(super) struct OomScore {
    /// As proc(5) wants it written.
    text: String,
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

    /// Init, for itself.
    ///
    /// # Errors
    /// `EACCES` for a score below the caller's without CAP_SYS_RESOURCE.
    pub(super) fn apply(&self, proc: &Proc) -> nix::Result<()> {
        proc.write("self/oom_score_adj", self.text.as_bytes())
    }

    /// Runtime, for a process that joins.
    ///
    /// # Errors
    /// The same.
    pub(super) fn wire(&self, pid: Pid, proc: &Proc) -> nix::Result<()> {
        proc.write(&format!("{pid}/oom_score_adj"), self.text.as_bytes())
    }
}

/// `process.execCPUAffinity`: where a process that joins a container runs.
#[derive(Debug)]
pub(super) struct Affinity {
    initial: Option<Cpus>,
    end: Option<Cpus>,
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
            initial: place("initial", affinity.initial())?,
            end: place("final", affinity.cpu_affinity_final())?,
        })
    }

    /// Runtime: before the process is made, which begins here.
    pub(super) fn wire(&self) -> anyhow::Result<()> {
        let Some(cpus) = &self.initial else {
            return Ok(());
        };
        sys::sched_setaffinity(&cpus.0).context("process.execCPUAffinity.initial")
    }

    /// In its cgroup. Without a list the kernel's choice stays (config.md).
    pub(super) fn apply(&self) -> nix::Result<()> {
        match &self.end {
            Some(cpus) => sys::sched_setaffinity(&cpus.0),
            None => Ok(()),
        }
    }
}

impl Cpus {
    /// `0-3,7`
    fn parse(list: &str) -> anyhow::Result<Cpus> {
        let mut mask: Box<CpuMask> = Box::new([0; size_of::<CpuMask>()]);
        let most = mask.len() * 8;
        for range in list.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let number = |text: &str| text.trim().parse::<usize>().ok();
            let ends = number(first).zip(number(last));
            let (first, last) = ends
                .filter(|(first, last)| first <= last && *last < most)
                .with_context(|| {
                    format!("{list:?} is no list of CPUs below {most}, such as \"0-3,7\"")
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

/// Widens the CPUs to those of the process's cgroup. Since Linux 6.2 a mask
/// that somebody once set for the caller survives the move into a cpuset; it
/// is the caller's business, not the container's limit.
pub(super) fn reset_affinity() -> Result<(), Errno> {
    sys::sched_setaffinity(&[u8::MAX; size_of::<CpuMask>()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_beyond_the_kernel_s_are_refused_by_name() {
        assert_eq!(OomScore::plan(-1000).unwrap().text, "-1000");
        let error = OomScore::plan(1001).unwrap_err().to_string();
        assert!(error.starts_with("process.oomScoreAdj: 1001"), "{error}");
    }

    #[test]
    fn cpus_are_a_list() {
        let cpus = |list: &str| format!("{:?}", Cpus::parse(list).unwrap());
        assert_eq!(cpus("0-3,7"), "[0, 1, 2, 3, 7]");
        assert_eq!(cpus("8191, 0"), "[0, 8191]");
        for bad in ["", "a", "3-1", "8192", "-1", "1,,2", "1-"] {
            let error = Cpus::parse(bad).unwrap_err().to_string();
            assert!(error.contains("is no list of CPUs below 8192"), "{error}");
        }
    }
}
