//! Init's page: every step between the clone and execve(2), in order.
//!
//! Init performs a plan and decides nothing. When a step fails, its position
//! goes to the runtime, which knows the words.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, Uid, geteuid};

use super::sync::InitEnd;
use super::waiting::Waiting;
use crate::namespaces::{Joined, Kind, Place};
use crate::plan::Plan;
use crate::process::WiredHooks;
use crate::rootfs::{Entered, Pty, Sources};
use crate::step::{Cause, Progress, Refusal, Step};
use crate::sys;
use crate::trusted_proc::Proc;

/// Everything that init was born with.
pub(super) struct Init<'a> {
    pub(super) plan: &'a Plan,
    pub(super) end: InitEnd,
    pub(super) start: Start,
    pub(super) joined: Joined,
    /// What belongs to the machine, if the runtime could open it.
    pub(super) sources: Option<Sources>,
    pub(super) hooks: WiredHooks,
    pub(super) proc: Proc,
    /// Who gets the other end of the terminal, if there is to be one.
    pub(super) console: Option<OwnedFd>,
    /// The soft RLIMIT_NOFILE that the runtime raised for its own sake.
    pub(super) descriptors: Option<u64>,
}

/// When the process is executed.
pub(super) enum Start {
    /// As soon as the runtime is content (`rt run`).
    AtOnce,
    /// When `rt start`, run by the same user, connects to start.sock.
    OnRequest { socket: OwnedFd },
}

impl Start {
    fn prepare(self) -> Result<Option<Waiting>, Cause> {
        Ok(match self {
            Start::AtOnce => None,
            Start::OnRequest { socket } => Some(Waiting::new(socket)?),
        })
    }
}

/// Becomes the container's process, or reports why not and ends.
pub(super) fn run(init: Init) -> ! {
    let at = Progress::new();
    init.end.follow(&at);
    let mut listener = None;
    let Err(cause) = perform(init, &mut listener, &at);
    // Kept open: the process's own filter may be in force, and allow no close(2).
    if let Some(end) = &listener {
        end.failed(at.failed(cause));
    }
    sys::exit(1)
}

/// The page. `listener` is who is to hear of a failure.
fn perform(init: Init, listener: &mut Option<InitEnd>, at: &Progress) -> Result<Infallible, Cause> {
    let Init {
        plan,
        end,
        start,
        joined,
        sources,
        hooks,
        proc,
        console,
        descriptors,
    } = init;
    let end = listener.insert(end);

    end.end_with_runtime()?;
    end.wait_for_go()?; // From here on it is in its cgroups.
    // Modes below are exact; the process gets its own umask at the end.
    let callers = umask(Mode::empty());

    plan.process.detach(at)?; // Signals and session are its own.
    plan.process.set_oom_score(&proc, at)?;
    plan.namespaces.join(&joined, at)?;
    plan.namespaces.set_clocks(&proc, at)?;
    drop(joined);

    let mut sources = opened(plan, sources, at)?;
    let ground = plan.rootfs.enter(at)?;
    let owner = geteuid(); // As this user namespace numbers the caller.
    plan.namespaces.become_root(&proc, at)?; // Until here it was the caller.
    end_with_runtime_again(plan, end)?;
    let mut root = plan.rootfs.attach(ground, &mut sources, &proc, at)?;
    plan.process.join_keyring(at)?;
    plan.namespaces.apply(at)?; // After the cgroups: a cgroup namespace begins where the process is.
    plan.rootfs.mount_all(&mut root, &mut sources, &proc, at)?;
    plan.rootfs.make_devices(&root, &mut sources, &proc, at)?;
    if plan.hooks.before_pivot() {
        at.enter(Step::RuntimeHooks);
        end.mounted()?;
        end.wait_for_go()?; // Hooks in the machine's namespaces have been called.
        plan.hooks
            .create_container(&hooks, root.as_fd(), callers, at)?;
    }
    if let Some(console) = console {
        take_terminal(plan, &root, &console, at)?;
    }
    plan.rootfs.leave_last(&mut root, &proc, at)?; // At the latest here the machine is out of reach.
    plan.namespaces.write_sysctls(&proc, at)?; // Before /proc/sys becomes read-only for good.
    plan.process.make_working_directory(at)?; // While the root can be written.
    plan.rootfs.protect(&root, &mut sources, &proc, at)?;
    drop((root, sources));

    let assumed = || end.end_with_runtime();
    let prepared = plan.process.prepare_with(assumed, Some(&proc), at)?; // Privileges are gone; the executable is found.
    drop(proc);
    descriptors.map_or(Ok(()), lower_limit)?;

    at.enter(Step::Start);
    let waiting = start.prepare()?;
    end.built()?;
    end.wait_for_go()?; // The state is saved: `rt create` returns, `rt run` goes on.
    let end = wait_for_start(waiting, owner, listener, at)?;

    let process = (&plan.process, &prepared);
    plan.hooks.start_container(&hooks, process, at)?; // As the process, and where it will be.
    drop(hooks);
    Err(plan.process.exec(&prepared, end.as_fd(), at))
}

/// The kernel forgets it with the ids, which change where there are a container's own.
fn end_with_runtime_again(plan: &Plan, end: &InitEnd) -> Result<(), Cause> {
    match plan.namespaces.place(Kind::User) {
        Place::Shared => Ok(()),
        Place::New | Place::Joined { .. } => end.end_with_runtime(),
    }
}

/// Init opens itself what the runtime had no rights to, without those to map ids.
fn opened(plan: &Plan, sources: Option<Sources>, at: &Progress) -> Result<Sources, Cause> {
    match sources {
        Some(sources) => Ok(sources),
        None => plan.rootfs.open_sources(&BTreeMap::new(), at),
    }
}

fn take_terminal(
    plan: &Plan,
    root: &Entered,
    console: &OwnedFd,
    at: &Progress,
) -> Result<(), Cause> {
    let Pty { master, terminal } = plan.rootfs.open_terminal(root, at)?;
    let console = console.as_fd();
    plan.process.take_terminal(master, &terminal, console, at)
}

fn lower_limit(soft: u64) -> nix::Result<()> {
    let (this, nofile) = (Pid::from_raw(0), libc::RLIMIT_NOFILE);
    let (_, hard) = sys::prlimit(this, nofile, None)?;
    sys::prlimit(this, nofile, Some((soft, hard))).map(drop)
}

/// Waits for `rt start`, if need be; a failure from then on is told to it.
fn wait_for_start<'a>(
    waiting: Option<Waiting>,
    owner: Uid,
    listener: &'a mut Option<InitEnd>,
    at: &Progress,
) -> Result<&'a InitEnd, Cause> {
    if let Some(waiting) = waiting {
        // The runtime that made this container is done: it is not to wait for a second answer.
        *listener = None;
        at.tell(None);
        // From here on, the end of this connection means "running".
        listener.insert(waiting.for_start(owner)?).follow(at);
    }
    listener.as_ref().ok_or(Refusal::Abandoned.into())
}
