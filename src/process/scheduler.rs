//! `process.scheduler`: the scheduling policy (sched(7), sched_setattr(2)).

use anyhow::{Context, bail, ensure};
use nix::errno::Errno;
use nix::libc::{self, sched_attr};
use nix::unistd::Pid;
use oci_spec::runtime::{LinuxSchedulerFlag as Flag, LinuxSchedulerPolicy as Policy};

use crate::log;
use crate::sys;

/// `SCHED_ISO` of linux/sched.h, which reserves the number for it.
const SCHED_ISO: u32 = 4;

/// `process.scheduler`.
#[derive(Debug)]
pub(super) struct Scheduler {
    policy: Policy,
    flags: u64,
    /// Has no effect with a policy other than SCHED_OTHER and SCHED_BATCH (sched_setattr(2)).
    nice: i32,
    priority: u32,
    /// The members for SCHED_DEADLINE, in nanoseconds.
    runtime: u64,
    deadline: u64,
    period: u64,
}

impl Scheduler {
    pub(super) fn plan(listed: &oci_spec::runtime::Scheduler) -> anyhow::Result<Scheduler> {
        let flags = listed.flags().iter().flatten();
        let scheduler = Scheduler {
            policy: *listed.policy(),
            flags: flags.fold(0, |all, flag| all | number(*flag)),
            nice: listed.nice().unwrap_or(0),
            priority: priority(listed)?,
            runtime: listed.runtime().unwrap_or(0),
            deadline: listed.deadline().unwrap_or(0),
            period: listed.period().unwrap_or(0),
        };
        let nice = scheduler.nice;
        ensure!(
            (-20..=19).contains(&nice),
            "process.scheduler.nice: {nice} is not between -20 and 19"
        );
        scheduler.check_deadline()?;
        Ok(scheduler)
    }

    /// The rules of sched(7), "SCHED_DEADLINE".
    fn check_deadline(&self) -> anyhow::Result<()> {
        let members = [
            ("runtime", self.runtime),
            ("deadline", self.deadline),
            ("period", self.period),
        ];
        if !matches!(self.policy, Policy::SchedDeadline) {
            if let Some((name, _)) = members.iter().find(|(_, value)| *value != 0) {
                bail!("process.scheduler.{name}: only SCHED_DEADLINE has it; remove it");
            }
            return Ok(());
        }
        // The parameters that the process has already are not known here.
        if self.has(libc::SCHED_FLAG_KEEP_PARAMS) {
            return Ok(());
        }
        let [_, (_, deadline), (_, period)] = members;
        ensure!(
            (1..=deadline).contains(&self.runtime),
            "process.scheduler.runtime: {} is not between 1 and the deadline, {deadline}",
            self.runtime
        );
        ensure!(
            period == 0 || deadline <= period,
            "process.scheduler.deadline: {deadline} is longer than the period, {period}"
        );
        Ok(())
    }

    /// Whether a task that the process clones has this policy too (sched(7), "SCHED_DEADLINE" and
    /// "Resetting scheduling policy for child processes").
    pub(super) fn is_inherited(&self) -> bool {
        self.may_fork() && !self.has(libc::SCHED_FLAG_RESET_ON_FORK)
    }

    /// Whether a process with this policy can call fork(2).
    pub(super) fn may_fork(&self) -> bool {
        !matches!(self.policy, Policy::SchedDeadline) || self.has(libc::SCHED_FLAG_RESET_ON_FORK)
    }

    fn has(&self, flag: libc::c_int) -> bool {
        self.flags & flag as u64 != 0
    }

    /// For `rt check --plan`: `SCHED_FIFO, priority 5`.
    pub(super) fn decision(&self) -> String {
        let members = [
            ("nice", i64::from(self.nice)),
            ("priority", i64::from(self.priority)),
            ("runtime", self.runtime as i64),
            ("deadline", self.deadline as i64),
            ("period", self.period as i64),
            ("flags", self.flags as i64),
        ];
        let set = members.iter().filter(|(_, value)| *value != 0);
        let set = set.map(|(name, value)| format!(", {name} {value}"));
        format!("{}{}", self.policy, set.collect::<String>())
    }

    /// Runtime: sets the policy of a process that is ready to execute its program, and has the CPUs
    /// of its cgroup.
    ///
    /// # Errors
    /// `EPERM` for a policy or a nice value that needs privileges, or SCHED_DEADLINE on some of the
    /// CPUs only; `EBUSY` when they have no time left for SCHED_DEADLINE; `EINVAL` for a policy that
    /// the kernel lacks.
    pub(super) fn apply_to(&self, pid: Pid) -> anyhow::Result<()> {
        let done = sys::sched_setattr(pid, &self.attributes());
        let hint = |errno| self.hint(errno).map(str::to_owned);
        done.map_err(|errno| log::hinted(errno, hint(errno)))
            .with_context(|| format!("process.scheduler: set {}", self.policy))
    }

    fn hint(&self, errno: Errno) -> Option<&'static str> {
        Some(match (errno, self.policy) {
            (Errno::EPERM, Policy::SchedDeadline) => {
                "SCHED_DEADLINE needs CAP_SYS_NICE on the host, and all CPUs of the host or of a cpuset of its own"
            }
            (Errno::EPERM, Policy::SchedFifo | Policy::SchedRr) => {
                "it needs CAP_SYS_NICE on the host, and real-time runtime in the cgroup (linux.resources.cpu.realtimeRuntime) if the kernel has CONFIG_RT_GROUP_SCHED"
            }
            (Errno::EPERM | Errno::EACCES, _) => {
                "a nice value below the caller's needs CAP_SYS_NICE on the host"
            }
            (Errno::EBUSY, _) => "the CPUs have no time left for SCHED_DEADLINE",
            (Errno::EINVAL, Policy::SchedIso) => "no released kernel has this policy",
            (Errno::EINVAL, Policy::SchedDeadline) => {
                "see kernel.sched_deadline_period_min_us and sched_deadline_period_max_us for the periods of this kernel"
            }
            (Errno::EOPNOTSUPP, _) => "does this kernel have CONFIG_UCLAMP_TASK?",
            _ => return None,
        })
    }

    fn attributes(&self) -> sched_attr {
        sched_attr {
            size: size_of::<sched_attr>() as u32,
            sched_policy: match self.policy {
                Policy::SchedOther => libc::SCHED_OTHER as u32,
                Policy::SchedFifo => libc::SCHED_FIFO as u32,
                Policy::SchedRr => libc::SCHED_RR as u32,
                Policy::SchedBatch => libc::SCHED_BATCH as u32,
                Policy::SchedIso => SCHED_ISO,
                Policy::SchedIdle => libc::SCHED_IDLE as u32,
                Policy::SchedDeadline => libc::SCHED_DEADLINE as u32,
            },
            sched_flags: self.flags,
            sched_nice: self.nice,
            sched_priority: self.priority,
            sched_runtime: self.runtime,
            sched_deadline: self.deadline,
            sched_period: self.period,
        }
    }
}

/// # Errors
/// When the policy does not have this static priority (sched(7)).
fn priority(listed: &oci_spec::runtime::Scheduler) -> anyhow::Result<u32> {
    let priority = listed.priority().unwrap_or(0);
    match listed.policy() {
        Policy::SchedFifo | Policy::SchedRr => {
            ensure!(
                (1..=99).contains(&priority),
                "process.scheduler.priority: {priority} is not between 1 and 99"
            );
        }
        _ => ensure!(
            priority == 0,
            "process.scheduler.priority: only SCHED_FIFO and SCHED_RR have a priority; remove it"
        ),
    }
    Ok(u32::try_from(priority)?)
}

fn number(flag: Flag) -> u64 {
    let flag = match flag {
        Flag::SchedResetOnFork => libc::SCHED_FLAG_RESET_ON_FORK,
        Flag::SchedFlagReclaim => libc::SCHED_FLAG_RECLAIM,
        Flag::SchedFlagDLOverrun => libc::SCHED_FLAG_DL_OVERRUN,
        Flag::SchedFlagKeepPolicy => libc::SCHED_FLAG_KEEP_POLICY,
        Flag::SchedFlagKeepParams => libc::SCHED_FLAG_KEEP_PARAMS,
        Flag::SchedFlagUtilClampMin => libc::SCHED_FLAG_UTIL_CLAMP_MIN,
        Flag::SchedFlagUtilClampMax => libc::SCHED_FLAG_UTIL_CLAMP_MAX,
    };
    flag as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn plan(json: Value) -> anyhow::Result<Scheduler> {
        Scheduler::plan(&serde_json::from_value(json).unwrap())
    }

    #[test]
    fn the_attributes_are_those_of_the_kernel() {
        let scheduler = plan(json!({"policy": "SCHED_RR", "priority": 7})).unwrap();
        let attributes = scheduler.attributes();
        assert_eq!((attributes.sched_policy, attributes.sched_priority), (2, 7));
        assert_eq!(scheduler.decision(), "SCHED_RR, priority 7");
        let json = json!({"policy": "SCHED_DEADLINE", "runtime": 3, "deadline": 5, "flags": ["SCHED_RESET_ON_FORK", "SCHED_FLAG_RECLAIM"]});
        let scheduler = plan(json).unwrap();
        assert_eq!(scheduler.attributes().sched_flags, 3);
        assert!(scheduler.may_fork() && !scheduler.is_inherited());
        let scheduler = plan(json!({"policy": "SCHED_DEADLINE", "runtime": 3, "deadline": 5}));
        assert!(!scheduler.unwrap().may_fork());
    }

    #[test]
    fn a_member_of_another_policy_is_refused() {
        for (json, expected) in [
            (
                json!({"policy": "SCHED_OTHER", "nice": 20}),
                "nice: 20 is not between -20 and 19",
            ),
            (
                json!({"policy": "SCHED_BATCH", "priority": 1}),
                "priority: only SCHED_FIFO",
            ),
            (
                json!({"policy": "SCHED_FIFO"}),
                "priority: 0 is not between 1 and 99",
            ),
            (
                json!({"policy": "SCHED_RR", "priority": 100}),
                "priority: 100 is not between 1 and 99",
            ),
            (
                json!({"policy": "SCHED_OTHER", "period": 1}),
                "period: only SCHED_DEADLINE has it",
            ),
            (
                json!({"policy": "SCHED_DEADLINE"}),
                "runtime: 0 is not between 1 and the deadline, 0",
            ),
            (
                json!({"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 4, "period": 3}),
                "deadline: 4 is longer than the period, 3",
            ),
        ] {
            let error = plan(json).unwrap_err().to_string();
            let expected = format!("process.scheduler.{expected}");
            assert!(error.starts_with(&expected), "{error}");
        }
    }
}
