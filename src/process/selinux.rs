//! The SELinux label of the process: `process.selinuxLabel`.

use anyhow::Result;

use crate::selinux::Label;
use crate::trusted_proc::Proc;

const EXEC_ATTRIBUTE: &str = "self/attr/exec";
const KEY_ATTRIBUTE: &str = "self/attr/keycreate";

/// A label that the process has from the next execve(2) on, and its session keyring from the
/// start (proc_pid_attr(5)).
#[derive(Debug)]
pub(super) struct ProcessLabel(pub(super) Label);

impl ProcessLabel {
    /// # Errors
    /// When SELinux is not enabled on this host, or the label holds a NUL byte.
    pub(super) fn plan(label: Option<&str>, enabled: bool) -> Result<Option<ProcessLabel>> {
        let label = Label::plan("process.selinuxLabel", label, enabled)?;
        Ok(label.map(ProcessLabel))
    }

    /// Podman recognizes a failure of SELinux by the path in backticks.
    pub(super) fn describe(&self) -> String {
        format!("write {:?} to `/proc/{EXEC_ATTRIBUTE}`", self.0.text())
    }

    pub(super) fn describe_keyring(&self, joining: &str) -> String {
        let label = self.0.text();
        format!("write {label:?} to `/proc/{KEY_ATTRIBUTE}` and {joining}")
    }

    /// # Errors
    /// `EINVAL` for a label that the policy does not have, `EACCES` when the policy forbids this
    /// process to set it.
    pub(super) fn apply(&self, proc: &Proc) -> nix::Result<()> {
        proc.write(EXEC_ATTRIBUTE, self.0.as_c_string().as_bytes())
    }

    /// Calls `create`, whose new keys get the label.
    ///
    /// # Errors
    /// Those of `create`, and as [`ProcessLabel::apply`].
    pub(super) fn label_keys(
        &self,
        proc: &Proc,
        create: impl FnOnce() -> nix::Result<()>,
    ) -> nix::Result<()> {
        proc.write(KEY_ATTRIBUTE, self.0.as_c_string().as_bytes())?;
        create()?;
        proc.write(KEY_ATTRIBUTE, b"\0")
    }
}
