//! A small init as PID 1 of the container (`rt.init`), and the process as its child.
//!
//! Init becomes two processes right before the end:
//!
//! ```text
//!   init ── clone ───────▶ child
//!   limits, filter         waits until the pipe closes
//!   execveat(rt) ────────▶ (close-on-exec closes the pipe)
//!   src/sys/init.rs        process group, foreground of the terminal
//!                          limits, filter, execve(2) of the program
//! ```
//!
//! Both have the user, the groups, the capabilities, the limits, the AppArmor profile and the
//! seccomp filter of the process, so a container gains nothing from control over PID 1. The
//! child continues only when no memory and no descriptor of the runtime is left in PID 1.
//!
//! The file of `rt` is the one from which the runtime itself was executed, which `seal.rs` has
//! checked, so /proc/1/exe cannot be written to.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use nix::fcntl::{AtFlags, OFlag};
use nix::unistd::{AccessFlags, Pid, faccessat, getpid, pipe2, setpgid, tcsetpgrp};

use super::{Prepared, Process};
use crate::step::{Cause, Progress, Step};
use crate::sys::{self, Forked, Pointers};
use crate::trusted_proc::Proc;

/// Executing `rt` as PID 1: the item of [`Step::InitProcess`]. Item 0 is the clone.
pub(super) const EXECUTE: usize = 1;

/// The file of `rt`, which init executes as PID 1.
pub(crate) struct InitProgram(OwnedFd);

impl Process {
    /// Runtime: opens the file of `rt` for PID 1. `None` without `rt.init`.
    ///
    /// # Errors
    /// When /proc/self/exe cannot be opened.
    pub(crate) fn wire_init(&self, proc: &Proc) -> Result<Option<InitProgram>> {
        if self.init.is_none() {
            return Ok(None);
        }
        let program = proc.link("self/exe", OFlag::O_PATH);
        Ok(Some(InitProgram(program.context("/proc/self/exe")?)))
    }

    /// Init, with the ids of the process: whether it may execute the file.
    pub(crate) fn check_init(
        &self,
        program: Option<&InitProgram>,
        at: &Progress,
    ) -> Result<(), Cause> {
        let Some(InitProgram(file)) = program else {
            return Ok(());
        };
        at.enter(Step::InitProgram);
        let flags = AtFlags::AT_EACCESS | AtFlags::AT_EMPTY_PATH;
        Ok(faccessat(file, c"", AccessFlags::X_OK, flags)?)
    }

    /// Makes this process PID 1, and returns in a child that continues as the process, once
    /// PID 1 is in place. Without `rt.init` it returns at once.
    ///
    /// # Errors
    /// In this process: when the clone, a limit, the filter or the execution of `rt` fails.
    pub(crate) fn become_child_of_init(
        &self,
        program: Option<InitProgram>,
        prepared: &mut Prepared,
        at: &Progress,
    ) -> Result<(), Cause> {
        let Some(program) = program else {
            return Ok(());
        };
        at.at(Step::InitProcess, 0);
        let (in_place, not_yet) = pipe2(OFlag::O_CLOEXEC)?;
        // What arrives from here on stays pending for PID 1.
        sys::block_all_and_reserved()?;
        match sys::fork()? {
            Forked::Parent { pid, .. } => Err(self.execute_init(&program, pid, prepared, at)),
            Forked::Child => {
                drop((program, not_yet));
                sys::read_to_end(in_place.as_fd())?;
                Ok(self.leave_init(prepared)?)
            }
        }
    }

    /// PID 1: takes the limits and the filter of the process, and executes `rt`. Returns
    /// only on failure.
    fn execute_init(
        &self,
        InitProgram(file): &InitProgram,
        child: Pid,
        prepared: &Prepared,
        at: &Progress,
    ) -> Cause {
        let Ok(pid) = CString::new(child.to_string()) else {
            return nix::Error::EINVAL.into();
        };
        let Ok(name) = CString::new(sys::INIT_NAME) else {
            return nix::Error::EINVAL.into();
        };
        // For those who list processes, the program that it runs follows.
        let args = [&*name, &*pid, c"--"].into_iter();
        let args: Pointers = args
            .chain(self.command.args.iter().map(CString::as_c_str))
            .collect();
        let env: Pointers = self.environment(prepared).map(CString::as_c_str).collect();
        let restricted = self.restrict(at);
        if let Err(errno) = restricted {
            return errno.into();
        }
        at.at(Step::InitProcess, EXECUTE);
        sys::execveat(file.as_fd(), &args, &env).into()
    }

    /// The child: a job in the foreground, with default signal settings.
    fn leave_init(&self, prepared: &mut Prepared) -> nix::Result<()> {
        let this = Pid::from_raw(0);
        setpgid(this, this)?;
        let pid = getpid();
        if self.terminal.is_some() {
            // SIGTTOU is still blocked, which permits this.
            tcsetpgrp(std::io::stdin(), pid)?;
        }
        prepared.listen_pid = self.passed.listen_pid(pid);
        sys::unblock_all()
    }
}
