//! The AppArmor profile of the process: `process.apparmorProfile`.

use anyhow::{Result, ensure};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::write;

use crate::trusted_proc::Proc;

/// Since Linux 5.8. Older kernels have one file for all security modules.
const ATTRIBUTE: &str = "self/attr/apparmor/exec";
const OLDER_ATTRIBUTE: &str = "self/attr/exec";

/// A profile that confines the process from the next execve(2) on.
#[derive(Debug)]
pub(super) struct AppArmor {
    pub(super) profile: String,
}

impl AppArmor {
    /// # Errors
    /// When AppArmor is not enabled on this host, or the name of the profile is invalid.
    pub(super) fn plan(profile: &str, enabled: bool) -> Result<AppArmor> {
        ensure!(
            enabled,
            "process.apparmorProfile: AppArmor is not enabled on this host (profile {profile:?})"
        );
        ensure!(
            !profile.contains(['\0', '\n']),
            "process.apparmorProfile: {profile:?} is not a valid profile name"
        );
        Ok(AppArmor {
            profile: profile.to_owned(),
        })
    }

    /// Podman recognizes an AppArmor failure by the path in backticks.
    pub(super) fn describe(&self) -> String {
        format!("write {:?} to `/proc/{ATTRIBUTE}`", self.command())
    }

    fn command(&self) -> String {
        format!("exec {}", self.profile)
    }

    /// # Errors
    /// `ENOENT` when the profile is not loaded, `EACCES` when this process is itself confined
    /// by a profile that does not permit the change.
    pub(super) fn apply(&self, proc: &Proc) -> nix::Result<()> {
        // The kernel requires the file to be opened and written with the same credentials.
        let file = match proc.file(ATTRIBUTE, OFlag::O_WRONLY) {
            Err(Errno::ENOENT) => proc.file(OLDER_ATTRIBUTE, OFlag::O_WRONLY),
            opened => opened,
        }?;
        let command = self.command();
        match write(&file, command.as_bytes())? {
            written if written == command.len() => Ok(()),
            _ => Err(Errno::EIO),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_refused_when_apparmor_is_not_enabled() {
        let error = AppArmor::plan("docker-default", false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "process.apparmorProfile: AppArmor is not enabled on this host (profile \"docker-default\")"
        );
    }

    #[test]
    fn a_profile_name_may_contain_spaces_but_no_newline() {
        let planned = AppArmor::plan("a//b (c)", true).unwrap();
        assert_eq!(planned.command(), "exec a//b (c)");
        assert_eq!(
            planned.describe(),
            "write \"exec a//b (c)\" to `/proc/self/attr/apparmor/exec`"
        );
        assert!(AppArmor::plan("a\nb", true).is_err());
        assert!(AppArmor::plan("a\0", true).is_err());
    }
}
