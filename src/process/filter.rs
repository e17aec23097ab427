//! Installs the seccomp filter of the process.

use std::os::fd::OwnedFd;

use caps::Capability;

use super::{Prepared, Process, Seccomp, exec_refusal};
use crate::step::{Cause, Progress, Step};
use crate::sys::{ListenerFailure, Program};

impl Process {
    /// A startContainer hook, as a child of init: sets the limits and installs the filter of
    /// the container's process.
    pub(super) fn restrict(&self, at: &Progress) -> nix::Result<()> {
        self.limits.apply(at)?;
        self.install_filter(at)
    }

    pub(super) fn install_filter(&self, at: &Progress) -> nix::Result<()> {
        at.enter(Step::Seccomp);
        let Some(filter) = &self.seccomp else {
            return Ok(());
        };
        self.permit_filter()?;
        at.report_to(None); // The filter may forbid the write to the report socket.
        filter.install()
    }

    /// [`Process::exec`] under a filter that passes system calls to an agent. `hand_over` gives the
    /// listener to the runtime. Limits come after the filter, because the listener needs a descriptor.
    pub(super) fn exec_with_agent(
        &self,
        filter: &Seccomp,
        (program, prepared): (&Program, &Prepared),
        hand_over: impl FnOnce(OwnedFd) -> Result<(), Cause>,
        at: &Progress,
    ) -> Cause {
        at.enter(Step::Seccomp);
        if let Err(errno) = self.permit_filter() {
            return errno.into();
        }
        let failure = filter.execute_with_agent(program, |listener| {
            hand_over(listener)?;
            self.limits.apply(at)?;
            self.passed.clear_cloexec(at)?;
            at.enter(Step::Exec);
            Ok(())
        });
        match failure {
            ListenerFailure::Filter(errno) => errno.into(),
            ListenerFailure::HandOver(cause) => cause,
            ListenerFailure::Exec(errno) => {
                exec_refusal::report(program.path, errno, prepared.refusal.as_ref());
                errno.into()
            }
        }
    }

    fn permit_filter(&self) -> nix::Result<()> {
        if let Some(capability) = self.temporary_capability() {
            // It stays effective until execve(2), which computes the permitted and effective
            // sets anew, from the other three sets and the file (capabilities(7)).
            self.capabilities.make_effective(capability)?;
        }
        Ok(())
    }

    /// CAP_SYS_ADMIN, if the process lacks it and needs it to install its filter: it stays
    /// permitted until execve(2). A process with no_new_privs does not need it (seccomp(2)).
    pub(super) fn temporary_capability(&self) -> Option<Capability> {
        let capability = Seccomp::REQUIRED_CAPABILITY;
        let lacks = !self.no_new_privileges && !self.capabilities.has(capability);
        (self.seccomp.is_some() && lacks).then_some(capability)
    }
}
