//! `process.oomScoreAdj` and `process.ioPriority`.

use anyhow::{anyhow, ensure};
use nix::errno::Errno;
use nix::unistd::Pid;
use oci_spec::runtime::{IOPriorityClass, LinuxIOPriority};

use crate::log;
use crate::step::{Progress, Step};
use crate::sys;
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

/// The rule of ioprio_set(2). Every process may choose the other classes.
pub(super) const REAL_TIME_HINT: &str =
    "IOPRIO_CLASS_RT needs CAP_SYS_NICE or CAP_SYS_ADMIN on the host";

/// `process.ioPriority`. The children of a process inherit it, so it applies to the whole process
/// group (config.md).
#[derive(Debug)]
pub(super) struct IoPriority {
    class: IOPriorityClass,
    /// From 0, the highest, to 7.
    level: u16,
}

impl IoPriority {
    pub(super) fn plan(priority: &LinuxIOPriority) -> anyhow::Result<IoPriority> {
        let level = priority.priority();
        ensure!(
            (0..=7).contains(&level),
            "process.ioPriority.priority: {level} is not between 0 and 7"
        );
        Ok(IoPriority {
            class: priority.class(),
            level: u16::try_from(level)?,
        })
    }

    pub(super) fn describe(&self) -> String {
        format!("set {}", self.name())
    }

    /// The class and the level, as in config.json: `IOPRIO_CLASS_IDLE 4`.
    pub(super) fn name(&self) -> String {
        let class = match self.class {
            IOPriorityClass::IoprioClassRt => "IOPRIO_CLASS_RT",
            IOPriorityClass::IoprioClassBe => "IOPRIO_CLASS_BE",
            IOPriorityClass::IoprioClassIdle => "IOPRIO_CLASS_IDLE",
        };
        format!("{class} {}", self.level)
    }

    /// The class and the level in the form of ioprio_set(2).
    fn value(&self) -> u16 {
        let class = match self.class {
            IOPriorityClass::IoprioClassRt => 1,
            IOPriorityClass::IoprioClassBe => 2,
            IOPriorityClass::IoprioClassIdle => 3,
        };
        class << 13 | self.level
    }

    /// Runtime: sets the priority of init, which may have no privileges on the host.
    ///
    /// # Errors
    /// `EPERM` for IOPRIO_CLASS_RT without CAP_SYS_NICE or CAP_SYS_ADMIN.
    pub(super) fn apply_to(&self, pid: Pid) -> anyhow::Result<()> {
        sys::ioprio_set(pid, self.value()).map_err(|errno| {
            let hint = match errno {
                Errno::EPERM => format!("; {REAL_TIME_HINT}"),
                _ => String::new(),
            };
            let reason = log::errno_text(errno);
            let action = self.describe();
            anyhow!("process.ioPriority: {action}: {reason}{hint}")
        })
    }

    /// Exec process: sets its own priority, while it has the runtime's privileges.
    ///
    /// # Errors
    /// As [`IoPriority::apply_to`].
    pub(super) fn apply(&self, at: &Progress) -> nix::Result<()> {
        at.enter(Step::IoPriority);
        sys::ioprio_set(Pid::from_raw(0), self.value())
    }
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
    fn an_io_priority_has_the_kernels_form() {
        let plan = |json: &str| IoPriority::plan(&serde_json::from_str(json).unwrap());
        let idle = plan(r#"{"class": "IOPRIO_CLASS_IDLE", "priority": 4}"#).unwrap();
        assert_eq!(idle.value(), 0x6004);
        assert_eq!(idle.describe(), "set IOPRIO_CLASS_IDLE 4");
        for level in [-1, 8] {
            let json = format!(r#"{{"class": "IOPRIO_CLASS_BE", "priority": {level}}}"#);
            let error = plan(&json).unwrap_err().to_string();
            let expected = format!("process.ioPriority.priority: {level} is not between 0 and 7");
            assert_eq!(error, expected);
        }
    }
}
