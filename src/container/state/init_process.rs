//! The container's init process, as `state.json` identifies it: by pid, start time and boot.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::unistd::Pid;

use super::file::State;
use super::process_stat::{ProcessStat, boot_id};
use crate::namespaces::{Kind, Place};
use crate::plan::Plan;
use crate::sys;
use crate::trusted_proc::Proc;

impl State {
    /// Records `pid` as the container's init process, with its namespaces.
    ///
    /// # Errors
    /// When the process has ended already.
    pub(crate) fn set_init_process(&mut self, pid: Pid, plan: &Plan, proc: &Proc) -> Result<()> {
        let pid = pid.as_raw();
        self.init_process_pid = pid;
        let stat = ProcessStat::read(proc, pid)?.filter(|stat| !stat.has_ended());
        let stat = stat.context("init: ended before it was started")?;
        self.init_process_start = stat.start_time();
        self.namespace_paths = Kind::all()
            .into_iter()
            .map(|kind| {
                let path = match plan.namespaces.place(kind) {
                    Place::Joined { path, .. } => path.clone(),
                    Place::New | Place::Shared => format!("/proc/{pid}/ns/{}", kind.file()).into(),
                };
                (kind.state_key().to_owned(), path)
            })
            .collect();
        Ok(())
    }

    /// `None` when the init process has ended, even if another process has its pid now.
    ///
    /// # Errors
    /// When /proc hides the process from this user.
    pub(crate) fn init_stat(&self, proc: &Proc) -> Result<Option<ProcessStat>> {
        if self.init_process_pid <= 0 || self.boot_id != boot_id(proc)? {
            return Ok(None);
        }
        let stat = ProcessStat::read(proc, self.init_process_pid)?;
        ensure!(
            stat.is_some() || !self.is_hidden(),
            "/proc/{}: is hidden from this user (hidepid, proc(5))",
            self.init_process_pid
        );
        let is_init =
            |stat: &ProcessStat| !stat.has_ended() && stat.start_time() == self.init_process_start;
        Ok(stat.filter(is_init))
    }

    /// Whether this user may signal the init process although /proc does not show it.
    fn is_hidden(&self) -> bool {
        let pidfd = sys::pidfd_open(Pid::from_raw(self.init_process_pid));
        pidfd.is_ok_and(|pidfd| sys::pidfd_send_signal(pidfd.as_fd(), 0).is_ok())
    }

    /// Whether the init process is alive.
    pub(crate) fn is_alive(&self, proc: &Proc) -> Result<bool> {
        Ok(self.init_stat(proc)?.is_some())
    }

    /// A pidfd of the init process, if it is alive. The pidfd is opened before the start
    /// time is compared, so it cannot refer to a later process with the same pid.
    pub(crate) fn init_pidfd(&self, proc: &Proc) -> Result<Option<OwnedFd>> {
        match self.pidfd_of_init_pid()? {
            Some(pidfd) if self.is_alive(proc)? => Ok(Some(pidfd)),
            Some(_) | None => Ok(None),
        }
    }

    /// A pidfd of the process that has the init process's pid now. Only a later check of the
    /// status tells whether it is the same process.
    pub(crate) fn pidfd_of_init_pid(&self) -> Result<Option<OwnedFd>> {
        if self.init_process_pid <= 0 {
            return Ok(None);
        }
        match sys::pidfd_open(Pid::from_raw(self.init_process_pid)) {
            Ok(pidfd) => Ok(Some(pidfd)),
            Err(Errno::ESRCH) => Ok(None),
            Err(errno) => Err(errno).context("pidfd_open"),
        }
    }
}
