//! `rt.init`: whether a small init stays as PID 1, and what it needs of the configuration. `pid_1.rs` makes it.

use anyhow::{Result, bail};

use super::seccomp::Seccomp;
use crate::annotations::{Annotations, invalid, key};

/// The system calls that PID 1 makes under the filter of the process, with the arguments by
/// which a profile may distinguish them.
const CALLS: [(&str, [u64; 6]); 9] = [
    ("execveat", [0, 0, 0, 0, libc::AT_EMPTY_PATH as u64, 0]),
    ("prctl", [libc::PR_SET_NAME as u64, 0, 0, 0, 0, 0]),
    ("madvise", [0, 0, libc::MADV_DONTNEED as u64, 0, 0, 0]),
    ("rt_sigtimedwait", [0; 6]),
    ("wait4", [u64::MAX, 0, libc::WNOHANG as u64, 0, 0, 0]),
    ("kill", [2, libc::SIGTERM as u64, 0, 0, 0, 0]),
    ("rt_sigqueueinfo", [2, libc::SIGTERM as u64, 0, 0, 0, 0]),
    ("ioctl", [0, libc::TIOCSPGRP, 0, 0, 0, 0]),
    ("exit_group", [0; 6]),
];

/// `rt.init` is `true`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Init(());

impl Init {
    /// `new_pid_namespace` says whether the container gets a pid namespace of its own.
    ///
    /// # Errors
    /// For an invalid value, or if the process is not the first one of a pid namespace.
    pub(crate) fn plan(annotations: &Annotations, new_pid_namespace: bool) -> Result<Option<Init>> {
        if annotations.flag(key::INIT)? != Some(true) {
            return Ok(None);
        }
        if !new_pid_namespace {
            let reason = "init is PID 1 of a pid namespace; add {\"type\": \"pid\"} without a path to linux.namespaces";
            return Err(invalid(key::INIT, "true", reason));
        }
        Ok(Some(Init(())))
    }

    /// # Errors
    /// When the filter forbids a system call that PID 1 makes.
    pub(super) fn require_calls(self, filter: &Seccomp) -> Result<()> {
        for (name, args) in CALLS {
            if !filter.permits(name, args) {
                let reason = format!(
                    "linux.seccomp does not allow {name}(2), which PID 1 calls; allow it in linux.seccomp.syscalls"
                );
                bail!(invalid(key::INIT, "true", &reason));
            }
        }
        Ok(())
    }
}
