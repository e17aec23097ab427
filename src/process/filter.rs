//! Installs the seccomp filter of the process.

use caps::Capability;

use super::{Process, Seccomp};
use crate::step::{Progress, Step};

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
        if let Some(capability) = self.temporary_capability() {
            // It stays effective until execve(2), which computes the permitted and effective
            // sets anew, from the other three sets and the file (capabilities(7)).
            self.capabilities.make_effective(capability)?;
        }
        at.report_to(None); // The filter may forbid the write to the report socket.
        filter.install()
    }

    /// CAP_SYS_ADMIN, if the process lacks it and needs it to install its filter: it stays
    /// permitted until execve(2). A process with no_new_privs does not need it (seccomp(2)).
    pub(super) fn temporary_capability(&self) -> Option<Capability> {
        let capability = Seccomp::REQUIRED_CAPABILITY;
        let lacks = !self.no_new_privileges && !self.capabilities.has(capability);
        (self.seccomp.is_some() && lacks).then_some(capability)
    }
}
