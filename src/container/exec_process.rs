//! The exec process's side of `rt exec`: every step between the clone and execve(2), in order.
//! `exec.rs` is the runtime's side. Most steps are those of init.

use std::convert::Infallible;
use std::os::fd::BorrowedFd;

use nix::sys::stat::{Mode, umask};

use super::ipc::InitEnd;
use crate::cgroups::CgroupJoin;
use crate::plan::ExecPlan;
use crate::rootfs::{self, Pty};
use crate::step::{Cause, Progress, Step};
use crate::sys::{self, CloseBatch};
use crate::trusted_proc::Proc;

/// What the process has from the runtime, through the clone. It borrows everything: its memory
/// is a copy of the runtime's, and all descriptors are closed together before execve(2).
pub(super) struct ExecProcess<'a> {
    pub(super) plan: &'a ExecPlan,
    pub(super) end: &'a InitEnd,
    pub(super) cgroup_join: &'a CgroupJoin,
    /// A pidfd of init, and init's root directory if that is not the root of its mount
    /// namespace.
    pub(super) init: (BorrowedFd<'a>, Option<BorrowedFd<'a>>),
    /// It was cloned in the container's namespaces and root by an intermediate process.
    pub(super) inside: bool,
    /// The host's /proc, unless processes in the container can inspect this process.
    pub(super) proc: Option<&'a Proc>,
    /// The socket on which to send the master end of the terminal, if there is one.
    pub(super) console: Option<BorrowedFd<'a>>,
    /// It waits, with the caller's ids, until systemd has moved it into the container's cgroup.
    pub(super) attached: bool,
    /// The process waits for the runtime before execve(2).
    pub(super) waits: bool,
}

/// Becomes the exec process, or reports the failure and exits.
pub(super) fn run(process: &ExecProcess) -> ! {
    let (at, unused) = (Progress::new(), CloseBatch::default());
    process.end.follow(&at);
    let Err(cause) = perform(process, &unused, &at);
    process.end.send_failure(at.failed(cause));
    sys::exit(1)
}

/// Takes the steps. `unused` gets the descriptors that are not needed any more.
fn perform(process: &ExecProcess, unused: &CloseBatch, at: &Progress) -> Result<Infallible, Cause> {
    let ExecProcess {
        plan,
        end,
        cgroup_join,
        init,
        inside,
        proc,
        console,
        attached,
        waits,
    } = *process;
    umask(Mode::empty()); // The process gets its own umask at the end.

    if attached {
        end.ready()?;
        end.wait_for_go()?;
    }
    plan.process.detach(at)?; // From the caller's session and signal settings.
    cgroup_join.enter(at)?;
    plan.process.raise_limits(at)?; // While it has the runtime's privileges.
    plan.process.set_io_priority(at)?;
    plan.membership.join(init, inside, at)?;
    plan.membership.become_root(proc, at)?; // It had the caller's ids until here.
    at.enter(Step::SelinuxLabel);
    let detached = match proc {
        None if plan.process.is_confined() => Some(Proc::detached()?),
        _ => None,
    };
    let proc = proc.or(detached.as_ref());
    plan.process.join_keyring(proc, at)?;
    if let Some(console) = console {
        let Pty { master, terminal } = rootfs::open_terminal(at)?;
        plan.process.take_terminal(master, &terminal, console, at)?;
    }

    // Drops privileges, and looks up the executable.
    let prepared = plan.process.prepare(|| Ok(()), (proc, unused), at)?;
    drop(detached);
    at.enter(Step::Start);
    end.ready()?;
    if waits {
        end.wait_for_go()?;
    }
    Err(plan.process.exec(&prepared, end.to_runtime(), at))
}
