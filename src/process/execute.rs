//! The very last steps: what is not the process's is closed, its limits and its
//! filter come into force, and it is executed.

use std::ffi::CString;
use std::os::fd::BorrowedFd;

use caps::Capability;

use super::{Prepared, Process, Seccomp, obstacle};
use crate::step::{Cause, Progress, Step};
use crate::sys;

impl Process {
    /// Closes what the process is not to have, sets the limits and becomes the
    /// container's process. Returns only with why it did not, for `report`, the
    /// one descriptor of the runtime's that is still open; of execve(2) itself, it
    /// has then said so, as the process.
    pub(crate) fn exec(&self, prepared: &Prepared, report: BorrowedFd, at: &Progress) -> Cause {
        let args = self.command.args.iter().map(CString::as_c_str).collect();
        let env = self.environment(prepared).map(CString::as_c_str).collect();
        let ready = self.passed.close_others(report, at);
        let ready = ready.and_then(|()| self.limits.apply(at));
        let ready = ready.and_then(|()| self.passed.give(at));
        if let Err(errno) = ready.and_then(|()| self.install_filter(at)) {
            return errno.into();
        }
        // The one system call that a filter has to allow.
        at.enter(Step::Exec);
        let errno = sys::execve(&prepared.executable, &args, &env);
        obstacle::say(&prepared.executable, errno, prepared.obstacle.as_ref());
        errno.into()
    }

    /// `process.env`, and HOME.
    pub(super) fn environment<'a>(
        &'a self,
        prepared: &'a Prepared,
    ) -> impl Iterator<Item = &'a CString> {
        self.command.env.iter().chain(&prepared.home)
    }

    /// A child of init: the limits and the filter of the process, for a hook.
    pub(super) fn restrict(&self, at: &Progress) -> nix::Result<()> {
        self.limits.apply(at)?;
        self.install_filter(at)
    }

    fn install_filter(&self, at: &Progress) -> nix::Result<()> {
        at.enter(Step::Seccomp);
        let Some(filter) = &self.seccomp else {
            return Ok(());
        };
        if let Some(right) = self.reserved() {
            // For good, as far as this program goes, but no further: execve(2)
            // computes both sets anew, from the other three and the file.
            self.capabilities.use_reserved(right)?;
        }
        at.report_to(None); // The filter may forbid sendto(2).
        filter.install()
    }

    /// The capability that the process must not have and needs for its filter.
    pub(super) fn reserved(&self) -> Option<Capability> {
        let lacks = !self.no_new_privileges && !self.capabilities.has(Seccomp::RIGHT);
        (self.seccomp.is_some() && lacks).then_some(Seccomp::RIGHT)
    }
}
