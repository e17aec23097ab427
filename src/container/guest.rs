//! The page of a process that joins a container: every step between the clone
//! and execve(2), in order. Most are those of init.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::stat::{Mode, umask};
use nix::unistd::{chroot, fchdir};

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
    /// A pidfd of the container's first process.
    pub(super) init: OwnedFd,
    /// It was born in all of the container's namespaces.
    pub(super) inside: bool,
    /// The root of the container's first process, where its mount namespace has another.
    pub(super) root: Option<OwnedFd>,
    pub(super) proc: &'a Proc,
    /// Who gets the other end of the terminal, if there is to be one.
    pub(super) console: Option<OwnedFd>,
    /// The runtime has something to do before the process runs.
    pub(super) waits: bool,
}

/// Becomes the process, or reports why not and ends.
pub(super) fn run(guest: Guest) -> ! {
    let at = Progress::new();
    let mut listener = None;
    let Err(cause) = perform(guest, &mut listener, &at);
    // Kept open: the process's own filter may be in force, and allow no close(2).
    if let Some(end) = &listener {
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
        init,
        inside,
        root,
        proc,
        console,
        waits,
    } = guest;
    let end = listener.insert(end);
    umask(Mode::empty()); // The process gets its own at the end.

    plan.process.detach(proc, at)?; // Signals and session are its own.
    doors.enter(at)?;
    plan.process.raise_limits(at)?; // While it has the runtime's rights.
    if !inside {
        plan.membership.join(init.as_fd(), at)?;
    }
    drop(init);
    if let Some(root) = root {
        fchdir(&root)?;
        chroot(".")?;
    }
    plan.membership.become_root(proc, at)?; // Until here it was the caller.
    plan.process.join_keyring(at)?;
    if let Some(console) = console {
        let Pty { master, terminal } = rootfs::open_terminal(at)?;
        plan.process
            .take_terminal(master, &terminal, console.as_fd(), at)?;
    }

    let prepared = plan.process.prepare(proc, at)?; // Privileges are gone; the executable is found.
    at.enter(Step::Start);
    end.ready()?;
    if waits {
        end.wait_for_go()?;
    }
    Err(plan.process.exec(&prepared, at))
}
