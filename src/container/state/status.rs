//! The status of a container: creating, created, running, paused or stopped.

use std::fmt;

use anyhow::{Error, Result, anyhow};

use super::directory::Container;
use super::file::State;
use crate::trusted_proc::Proc;

/// The states of runtime.md, "State", and `paused`, as in other runtimes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

/// The error of a command that needs a process of the container, with the status.
pub(crate) fn not_running(status: Status) -> Error {
    anyhow!("container not running: {status}")
}

impl Container {
    /// # Errors
    /// When /proc cannot be read, or hides the init process from this user.
    pub(crate) fn status(&self, state: &State, proc: &Proc) -> Result<Status> {
        if state.creating {
            // The command that creates a container holds its lock throughout. If the lock is
            // free, the command was killed.
            return Ok(if self.is_locked_by_other() {
                Status::Creating
            } else {
                Status::Stopped
            });
        }
        // An exiting init process only waits for the rest of its pid namespace to end.
        let Some(init) = state.init_stat(proc)?.filter(|init| !init.is_exiting()) else {
            return Ok(Status::Stopped);
        };
        // A restore was killed before its end. CRIU still has the processes.
        if state.restore_directory.is_some() && init.is_traced() {
            return Ok(Status::Stopped);
        }
        // A created container can be paused as well.
        Ok(if state.cgroups().is_paused() {
            Status::Paused
        } else if init.has_executed() || state.restored {
            Status::Running
        } else {
            Status::Created
        })
    }
}
