//! What the runtime does for the process from outside.

use anyhow::Result;
use nix::unistd::Pid;

use super::Process;
use super::affinity::Affinity;
use crate::step::{Failure, Progress, Step};
use crate::trusted_proc::Proc;

impl Process {
    /// Raises the hard limits of init, `pid`, that it could not raise itself.
    /// [`Process::exec`] sets the limits of config.json.
    ///
    /// # Errors
    /// When prlimit(2) fails: `process.rlimits[2]: RLIMIT_NPROC`, with the errno as its
    /// source.
    pub(crate) fn raise_limits_of(&self, pid: Pid) -> Result<()> {
        self.limits.raise(pid)
    }

    /// Sets `process.ioPriority` of init, which may be in a user namespace without privileges
    /// on the host.
    ///
    /// # Errors
    /// When ioprio_set(2) fails: `process.ioPriority: set IOPRIO_CLASS_RT 0`, with the errno as
    /// its source.
    pub(crate) fn set_io_priority_of(&self, pid: Pid) -> Result<()> {
        match &self.io_priority {
            Some(priority) => priority.apply_to(pid),
            None => Ok(()),
        }
    }

    /// Sets `process.scheduler` of a process that is ready to execute its program. Until then it
    /// has the caller's policy, so that the setup is neither slow nor unable to call fork(2).
    ///
    /// # Errors
    /// When sched_setattr(2) fails: `process.scheduler: set SCHED_FIFO`, with the errno as its
    /// source.
    pub(crate) fn set_scheduler_of(&self, pid: Pid) -> Result<()> {
        match &self.scheduler {
            Some(scheduler) => scheduler.apply_to(pid),
            None => Ok(()),
        }
    }

    /// Sets `process.oomScoreAdj` for an exec process, which cannot reach the host's /proc.
    ///
    /// # Errors
    /// When /proc/PID/oom_score_adj cannot be written, as a position in the plan.
    pub(crate) fn set_oom_score_of(&self, pid: Pid, proc: &Proc) -> Result<(), Failure> {
        let Some(score) = &self.oom_score else {
            return Ok(());
        };
        let at = Progress::new();
        at.enter(Step::OomScore);
        score
            .apply_to(pid, proc)
            .map_err(|errno| at.failed(errno.into()))
    }

    /// Moves the runtime itself to `process.execCPUAffinity.initial`, which the exec process
    /// inherits.
    ///
    /// # Errors
    /// When the host has none of these CPUs.
    pub(crate) fn apply_initial_affinity(&self) -> Result<()> {
        self.affinity
            .as_ref()
            .map_or(Ok(()), Affinity::apply_initial)
    }

    /// Closes the runtime's copies of the descriptors that the process has inherited.
    ///
    /// # Errors
    /// When close_range(2) fails.
    pub(crate) fn close_passed_fds(&self) -> Result<()> {
        self.passed.close_all()
    }
}
