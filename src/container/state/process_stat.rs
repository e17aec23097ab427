//! /proc/<pid>/stat: whether a process has ended, and whether it has executed a program.

use anyhow::{Context, Result};
use nix::errno::Errno;
use procfs::FromRead;
use procfs::process::Stat;

use crate::trusted_proc::Proc;

/// What the kernel shows of a process (proc_pid_stat(5)).
pub(crate) struct ProcessStat(Stat);

impl ProcessStat {
    /// `None` when there is no process `pid`.
    pub(crate) fn read(proc: &Proc, pid: i32) -> Result<Option<ProcessStat>> {
        let path = format!("{pid}/stat");
        let subject = || format!("/proc/{path}");
        let text = match proc.read_record(&path) {
            Ok(text) => text,
            // ESRCH: the process ended while the file was open.
            Err(Errno::ENOENT | Errno::ESRCH) => return Ok(None),
            Err(errno) => return Err(errno).with_context(subject),
        };
        let stat = Stat::from_read(text.as_bytes()).with_context(subject)?;
        Ok(Some(ProcessStat(stat)))
    }

    /// Whether a signal such as SIGSTOP has stopped it. A process that is frozen too counts.
    pub(crate) fn is_stopped(&self) -> bool {
        self.0.state == 'T'
    }

    /// Whether another process has stopped it by ptrace(2).
    pub(crate) fn is_traced(&self) -> bool {
        self.0.state == 't'
    }

    /// When the process started, in clock ticks after boot.
    pub(crate) fn start_time(&self) -> u64 {
        self.0.starttime
    }

    /// Whether the process is dead, or a zombie. A process whose main thread has ended
    /// before the others is shown as a zombie too, but has more than one thread.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.state == 'X' || self.0.state == 'Z' && !self.has_other_threads()
    }

    fn has_other_threads(&self) -> bool {
        self.0.num_threads > 1
    }

    /// Whether the process has called execve(2) since it was cloned. The kernel clears the
    /// flag before it closes close-on-exec descriptors (`begin_new_exec`).
    pub(crate) fn has_executed(&self) -> bool {
        /// `PF_FORKNOEXEC`: "forked but didn't exec".
        const FORKED_NO_EXEC: u32 = 0x40;
        self.0.flags & FORKED_NO_EXEC == 0
    }

    /// Whether the process is exiting. PID 1 of a pid namespace stays in this state until
    /// all other processes of the namespace have been reaped.
    pub(crate) fn is_exiting(&self) -> bool {
        /// `PF_EXITING`.
        const EXITING: u32 = 0x4;
        self.0.flags & EXITING != 0 && !self.has_other_threads()
    }
}

/// The kernel's random id of the current boot.
pub(crate) fn boot_id(proc: &Proc) -> Result<String> {
    let text = proc
        .read_sysctl("kernel/random/boot_id")
        .context("boot_id")?;
    Ok(text.trim_end().to_owned())
}
