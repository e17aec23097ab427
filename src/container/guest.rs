//! The page of a process that joins a container: every step between the clone
//! and execve(2), in order. Most are those of init.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::stat::{Mode, umask};

use super::sync::InitEnd;
use crate::cgroups::Doors;
use crate::plan::GuestPlan;
use crate::rootfs::{self, Pty};
use crate::step::{Cause, Progress, Step};
use crate::sys;
use crate::trusted_proc::Proc;

/// Everything that the process was born with.
pub(super) struct Guest<'a> {
    pub(super) plan: &'a GuestPlan,
    pub(super) end: InitEnd,
    pub(super) doors: &'a Doors,
    /// What it was not born in; `None` when that is nothing.
    pub(super) outside: Option<Outside>,
    /// The machine's, where nobody in the container can look into this process.
    pub(super) proc: Option<Proc>,
    /// Who gets the other end of the terminal, if there is to be one.
    pub(super) console: Option<OwnedFd>,
    /// The runtime has something to do before the process runs.
    pub(super) waits: bool,
}

/// What a process is to enter that was not born inside.
pub(super) struct Outside {
    /// A pidfd of the container's first process.
    pub(super) init: OwnedFd,
    /// The root of that process, where its mount namespace has another.
    pub(super) root: Option<OwnedFd>,
}

/// Becomes the process, or reports why not and ends.
pub(super) fn run(guest: Guest) -> ! {
    let at = Progress::new();
    let mut listener = None;
    let Err(cause) = perform(guest, &mut listener, &at);
    if let Some(end) = listener {
        end.failed(at.failed(cause));
    }
    sys::exit(1)
}

/// The page.
fn perform(
    guest: Guest,
    listener: &mut Option<InitEnd>,
    at: &Progress,
) -> Result<Infallible, Cause> {
    let Guest {
        plan,
        end,
        doors,
        outside,
        proc,
        console,
        waits,
    } = guest;
    let end = listener.insert(end);
    umask(Mode::empty()); // The process gets its own at the end.

    plan.process.detach(at)?; // Signals and session are its own.
    doors.enter(at)?;
    plan.process.raise_limits(at)?; // While it has the runtime's rights.
    if let Some(Outside { init, root }) = outside {
        let root = root.as_ref().map(AsFd::as_fd);
        plan.membership.join(init.as_fd(), root, at)?;
    }
    plan.membership.become_root(proc.as_ref(), at)?; // Until here it was the caller.
    plan.process.join_keyring(at)?;
    if let Some(console) = console {
        let Pty { master, terminal } = rootfs::open_terminal(at)?;
        plan.process
            .take_terminal(master, &terminal, console.as_fd(), at)?;
    }

    at.enter(Step::AppArmor);
    let proc = match proc {
        None if plan.process.has_label() => Some(Proc::detached()?),
        proc => proc,
    };
    let prepared = plan.process.prepare(proc.as_ref(), at)?; // Privileges are gone; the executable is found.
    drop(proc);
    at.enter(Step::Start);
    end.ready()?;
    if waits {
        end.wait_for_go()?;
    }
    Err(plan.process.exec(&prepared, end.as_fd(), at))
}
