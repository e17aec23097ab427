//! The page of a process that joins a container: every step between the clone
//! and execve(2), in order. Most are those of init.

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::stat::{Mode, umask};

use super::sync::InitEnd;
use crate::cgroups::CgroupJoin;
use crate::plan::ExecPlan;
use crate::rootfs::{self, Pty};
use crate::step::{Cause, Progress, Step};
use crate::sys;
use crate::trusted_proc::Proc;

/// Everything that the process was born with. It owns none of it: this memory is a
/// copy of the runtime's, and all is closed together, right before execve(2).
pub(super) struct ExecProcess<'a> {
    pub(super) plan: &'a ExecPlan,
    pub(super) end: &'a InitEnd,
    pub(super) cgroup_join: &'a CgroupJoin,
    /// A pidfd of the container's first process, and the root of that process where
    /// its mount namespace has another.
    pub(super) first: (BorrowedFd<'a>, Option<BorrowedFd<'a>>),
    /// It was born in the container's namespaces and root.
    pub(super) inside: bool,
    /// The machine's, where nobody in the container can look into this process.
    pub(super) proc: Option<&'a Proc>,
    /// Who gets the other end of the terminal, if there is to be one.
    pub(super) console: Option<BorrowedFd<'a>>,
    /// The runtime has something to do before the process runs.
    pub(super) waits: bool,
}

/// Becomes the process, or reports why not and ends.
pub(super) fn run(process: &ExecProcess) -> ! {
    let at = Progress::new();
    process.end.follow(&at);
    let Err(cause) = perform(process, &at);
    process.end.failed(at.failed(cause));
    sys::exit(1)
}

/// The page.
fn perform(process: &ExecProcess, at: &Progress) -> Result<Infallible, Cause> {
    let ExecProcess {
        plan,
        end,
        cgroup_join,
        first,
        inside,
        proc,
        console,
        waits,
    } = *process;
    umask(Mode::empty()); // The process gets its own at the end.

    plan.process.detach(at)?; // Signals and session are its own.
    cgroup_join.enter(at)?;
    plan.process.raise_limits(at)?; // While it has the runtime's rights.
    plan.membership.join(first, inside, at)?;
    plan.membership.become_root(proc, at)?; // Until here it was the caller.
    plan.process.join_keyring(at)?;
    if let Some(console) = console {
        let Pty { master, terminal } = rootfs::open_terminal(at)?;
        plan.process.take_terminal(master, &terminal, console, at)?;
    }

    at.enter(Step::AppArmor);
    let detached = match proc {
        None if plan.process.has_label() => Some(Proc::detached()?),
        _ => None,
    };
    let prepared = plan.process.prepare(proc.or(detached.as_ref()), at)?; // Privileges are gone; the executable is found.
    drop(detached);
    at.enter(Step::Start);
    end.ready()?;
    if waits {
        end.wait_for_go()?;
    }
    Err(plan.process.exec(&prepared, end.as_fd(), at))
}
