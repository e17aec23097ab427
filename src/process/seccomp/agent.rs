//! `linux.seccomp.flags`, `listenerPath` and `listenerMetadata`: what a filter is installed with.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use nix::libc;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompFilterFlag as Flag};
use serde::{Deserialize, Serialize};

use super::profile::{Profile, ReturnValue};

/// The names of `linux.seccomp.flags` with the flags of seccomp(2).
pub(super) const FLAGS: [(&str, Flag, libc::c_ulong); 4] = [
    (
        "SECCOMP_FILTER_FLAG_TSYNC",
        Flag::SeccompFilterFlagTsync,
        libc::SECCOMP_FILTER_FLAG_TSYNC,
    ),
    (
        "SECCOMP_FILTER_FLAG_LOG",
        Flag::SeccompFilterFlagLog,
        libc::SECCOMP_FILTER_FLAG_LOG,
    ),
    (
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        Flag::SeccompFilterFlagSpecAllow,
        libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    ),
    (
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        Flag::SeccompFilterFlagWaitKillableRecv,
        libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
    ),
];

/// The seccomp agent: the process that decides about the system calls with `SCMP_ACT_NOTIFY`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Agent {
    /// Of its socket. Relative to the bundle, unless it is absolute.
    pub(crate) path: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<String>,
}

impl Agent {
    /// `None` if the profile passes no system call to an agent: then the path is ignored
    /// (config-linux.md, "Seccomp").
    pub(super) fn plan(listed: &LinuxSeccomp, profile: &Profile) -> Result<Option<Agent>> {
        let metadata = listed.listener_metadata().clone();
        let Some(path) = listed.listener_path() else {
            ensure!(
                metadata.is_none(),
                "linux.seccomp.listenerMetadata: not without linux.seccomp.listenerPath"
            );
            ensure!(
                !notifies(profile),
                "linux.seccomp.listenerPath: required for SCMP_ACT_NOTIFY"
            );
            return Ok(None);
        };
        Ok(notifies(profile).then(|| Agent {
            path: path.clone(),
            metadata,
        }))
    }

    /// The path of its socket, for a container with this bundle.
    pub(crate) fn path_from(&self, bundle: &Path) -> PathBuf {
        bundle.join(&self.path)
    }
}

fn notifies(profile: &Profile) -> bool {
    let entries = profile.entries.iter().map(|entry| entry.return_value);
    let is_notify = |value: ReturnValue| value == libc::SECCOMP_RET_USER_NOTIF;
    entries.chain([profile.default]).any(is_notify)
}

/// The flags of seccomp(2). Without a list it is SPEC_ALLOW, as with runc: before Linux 5.16 a filter
/// slows the process down otherwise.
pub(super) fn flags(listed: &LinuxSeccomp, agent: Option<&Agent>) -> libc::c_ulong {
    let Some(listed) = listed.flags() else {
        return libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    };
    let given = FLAGS.iter().filter(|(_, flag, _)| listed.contains(flag));
    let all = given.fold(0, |all, (.., number)| all | number);
    all & !match agent {
        // It is about the wait for an agent.
        None => libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
        // The thread that hands over the listener must have no filter. It ends with execve(2).
        Some(_) => libc::SECCOMP_FILTER_FLAG_TSYNC,
    }
}
