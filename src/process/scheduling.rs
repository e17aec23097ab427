//! How the kernel ranks the process: its out-of-memory score and its CPUs.

use anyhow::ensure;
use nix::errno::Errno;

use crate::sys;
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

    pub(super) fn words(&self) -> String {
        format!("set {}", self.text)
    }

    /// # Errors
    /// `EACCES` for a score below the caller's without CAP_SYS_RESOURCE.
    pub(super) fn apply(&self, proc: &Proc) -> nix::Result<()> {
        proc.write("self/oom_score_adj", self.text.as_bytes())
    }
}

/// Widens the CPUs to those of the process's cgroup. Since Linux 6.2 a mask
/// that somebody once set for the caller survives the move into a cpuset; it
/// is the caller's business, not the container's limit.
pub(super) fn reset_affinity() -> Result<(), Errno> {
    sys::sched_setaffinity_all()
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
}
