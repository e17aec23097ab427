//! The runtime's page: from a bundle to a container that is ready to execute
//! its process, step by step, and all of it undone when a step fails.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow, bail};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::unistd::Pid;

use super::foreground::{self, Foreground};
use super::init::{self, Init, Start};
use super::listeners::Listeners;
use super::notify::Notify;
use super::pid_file::write_pid_file;
use super::pidfd::{PidfdSocket, Sent};
use super::relay::Relay;
use super::request::{Request, decide, draft, remember};
use super::rollback::{Child, Rollback};
use super::state::{State, Status};
use super::sync::{self, FromInit, RuntimeEnd};
use super::terminal;
use super::{Container, SOCKET, delete, hooks, notify, start};
use crate::cgroups::Wired;
use crate::host::Host;
use crate::log;
use crate::namespaces::{CloneError, Joined};
use crate::plan::Plan;
use crate::process::{Moment, Passed, WiredHooks};
use crate::rootfs::Sources;
use crate::step::{Failure, Progress, Step};
use crate::sys::{self, Cloned};
use crate::trusted_proc::Proc;

/// Descriptors that `rt` itself needs beside one for each mount.
const SPARE_DESCRIPTORS: u64 = 64;

/// What no init does.
pub(super) const OUT_OF_TURN: &str = "init answers out of turn";

/// How `rt run` goes on once the process runs.
pub(crate) enum Attachment {
    Detached,
    Foreground {
        /// The container's state outlives its process.
        keep: bool,
        /// Processes that lose their parent become children of this one, where
        /// the container has no pid namespace that ends with its first process.
        reaps: bool,
    },
}

/// Makes a container that waits for `rt start` (runtime.md, "Create").
///
/// # Errors
/// By place in config.json; nothing is left behind.
pub(crate) fn create(root: &Path, request: &Request) -> Result<()> {
    let mut rollback = Rollback::default();
    make(root, request, Way::Create, (&mut rollback, &mut None))
        .and_then(|made| made.end.go().map_err(unstarted))
        .inspect_err(|_| rollback.undo())
}

/// Makes a container and starts it; in the foreground, waits for it and returns
/// its exit status, 128+n when signal n ended it, or this command before.
///
/// # Errors
/// By place in config.json; nothing is left behind.
pub(crate) fn run(root: &Path, request: &Request, attachment: &Attachment) -> Result<u8> {
    let (way, mut foreground) = match attachment {
        Attachment::Detached => (Way::RunDetached, None),
        Attachment::Foreground { .. } => (Way::RunForeground, Some(Foreground::new()?)),
    };
    if let Attachment::Foreground { reaps: true, .. } = attachment {
        prctl::set_child_subreaper(true).context("become a child subreaper")?;
    }
    let mut rollback = Rollback::default();
    let started = make(root, request, way, (&mut rollback, &mut foreground))
        .and_then(|made| made.start(&mut foreground))
        .and_then(|started| {
            if started.executed {
                rollback.call_poststart(&started.state, &mut foreground)?;
            }
            Ok(started)
        })
        .inspect_err(|_| rollback.undo());
    let Started { state, notify, .. } = match started {
        Ok(started) => started,
        Err(error) => return foreground::end_with(error, foreground),
    };
    let (Some(child), Some(container)) = (rollback.child, rollback.container) else {
        bail!("nothing was started");
    };
    let (Attachment::Foreground { keep, .. }, Some(mut foreground)) = (attachment, foreground)
    else {
        if let Some(notify) = notify {
            container.unlock()?;
            notify.forward(child.pid, child.pidfd.as_fd());
        }
        return Ok(0);
    };
    container.unlock()?;
    let status = foreground.wait(child.pid, child.pidfd.as_fd())?;
    if !keep {
        delete::after_run(&container, &state)?;
    }
    drop(container); // Whoever reads may take their time: nobody else waits for them.
    foreground.finish()?;
    Ok(status)
}

/// A container that has been started.
struct Started {
    state: State,
    /// For whoever is not in the foreground.
    notify: Option<Notify>,
    /// Its process runs its program. Else execve(2) was refused, and it has said so.
    executed: bool,
}

/// What becomes of the container, and of this process, once it is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// It waits for `rt start`, on a socket in its directory.
    Create,
    /// It is started, by a word on the sockets that init was born with.
    RunDetached,
    /// It is started, and served until it ends.
    RunForeground,
}

/// A container that is ready to execute its process.
struct Made {
    end: RuntimeEnd,
    plan: Plan,
    hooks: WiredHooks,
    state: State,
    notify: Option<Notify>,
}

impl Made {
    fn new(end: RuntimeEnd, plan: Plan, hooks: WiredHooks, state: State) -> Made {
        Made {
            end,
            plan,
            hooks,
            state,
            notify: None,
        }
    }

    /// Lets init build the container, and waits until it has. `called` takes the
    /// state as soon as hooks are called.
    fn see_built(
        &mut self,
        container: &Container,
        (child, cgroups, proc): (&Child, &Wired, &Proc),
        called: &mut Option<State>,
        foreground: &mut Option<Foreground>,
    ) -> Result<()> {
        self.state.know_init(child, &self.plan, proc)?;
        // Init and hooks may take their time: who deletes it meanwhile finds whom to end.
        self.state.save(container.as_fd())?;
        hooks::tell(&self.hooks, &self.state, child.pid, proc)?;
        let mut heard = self.go_on(foreground)?;
        if heard == FromInit::Mounted {
            *called = Some(self.state.clone());
            for (moment, hooks) in [
                (Moment::Prestart, &self.plan.hooks.prestart),
                (Moment::CreateRuntime, &self.plan.hooks.create_runtime),
            ] {
                let status = (&self.state, Status::Creating);
                let init = (child.pid, Some(child.pidfd.as_fd()));
                foreground::call_hooks(foreground, None, |wait| {
                    hooks::call(moment, hooks, status, init, wait)
                })?;
            }
            heard = self.go_on(foreground)?;
        }
        match heard {
            FromInit::Ready => Ok(()),
            FromInit::Failed(failure) => Err(self.explain(failure)),
            FromInit::Gone => Err(child.how_it_ended(cgroups)),
            FromInit::Mounted => bail!(OUT_OF_TURN),
        }
    }

    /// Takes what this command does for a container beside making it.
    fn attend(
        &mut self,
        foreground: &mut Option<Foreground>,
        (relay, notify): (Option<(terminal::Caller, OwnedFd)>, Option<Notify>),
    ) -> Result<()> {
        let relay = relay.map(|(caller, socket)| Relay::new(caller, &socket));
        match foreground {
            Some(foreground) => foreground.attend(relay.transpose()?, notify),
            None => self.notify = notify,
        }
        Ok(())
    }

    fn start(self, foreground: &mut Option<Foreground>) -> Result<Started> {
        self.end.go().map_err(unstarted)?;
        let executed = match foreground::hear(&self.end, foreground).context("init")? {
            FromInit::Gone => {
                start::refuse_unless_executed(&self.state)?;
                true
            }
            FromInit::Failed(failure) if failure.step == Step::Exec => false,
            FromInit::Failed(failure) => return Err(self.explain(failure)),
            FromInit::Ready | FromInit::Mounted => bail!(OUT_OF_TURN),
        };
        Ok(Started {
            state: self.state,
            notify: self.notify,
            executed,
        })
    }

    /// Lets init go on, and hears how far it came.
    fn go_on(&self, foreground: &mut Option<Foreground>) -> Result<FromInit> {
        match self.end.go() {
            // It has ended, and may have said why.
            Ok(()) | Err(Errno::EPIPE) => foreground::hear(&self.end, foreground).context("init"),
            Err(errno) => Err(errno).context("init"),
        }
    }

    /// The sentence for a failure of init, with what its hook has said.
    fn explain(&self, failure: Failure) -> anyhow::Error {
        let (error, said) = (self.plan.explain(failure), self.hooks.said(failure));
        anyhow!("{error}{said}")
    }
}

/// The page.
fn make(
    root: &Path,
    request: &Request,
    way: Way,
    (rollback, foreground): (&mut Rollback, &mut Option<Foreground>),
) -> Result<Made> {
    // Init copies this memory and these descriptors: nobody may look into either (CVE-2016-9962).
    prctl::set_dumpable(false).context("become non-dumpable")?;
    let proc = Proc::open().context("/proc")?;
    let host = Host::probe(&proc)?;
    let plan = decide(root, request, way, &host, &proc)?;

    // Nothing is made yet: what only looks comes first.
    let joined = plan.namespaces.wire()?;
    let listeners = Listeners::connect(request, &plan, way)?;
    let (console, relay) = (listeners.console, listeners.relay);
    let descriptors = raise_descriptors(&plan, request.passed)?;

    // The state names the cgroups before they exist: a delete finds them.
    let first = || draft(request, &plan, &host, &proc);
    let (container, mut state) = Container::new(root, &request.id, first)?;
    let container = rollback.container.insert(container);
    notify::make_directory(container.as_fd(), request.notify_socket.as_ref())?;
    let cgroups = rollback.cgroups.insert(plan.cgroups.wire()?);
    let sources = open_sources(&plan, &host, &joined, &proc)?; // After the cgroups: a mount may show them.
    let hooks = plan.hooks.wire()?;
    let start = way.prepare(container)?;
    let (end, init_end) = sync::pair(|| plan.step_descriptions()).context("socketpair")?;

    let cloned = plan.namespaces.clone(&joined, cgroups.clone_into(), &proc);
    let child = match cloned.map_err(|why| clone_error(&plan, why))? {
        Cloned::Runtime { pid, pidfd } => rollback.child.insert(Child { pid, pidfd }),
        Cloned::Init => {
            // The lock, the cgroups and the runtime's ends are not init's to hold.
            drop((std::mem::take(rollback), foreground.take()));
            drop((end, listeners.pidfd, listeners.manager));
            init::run(Init {
                plan: &plan,
                end: init_end,
                start,
                joined,
                sources,
                hooks,
                proc,
                console,
                descriptors,
            })
        }
    };
    plan.process.let_go()?; // Init has its own copies.
    drop((sources, start, console, init_end));
    plan.namespaces.map(&joined, child.pid, &proc)?;
    drop(joined);
    cgroups.admit(child.pid)?;
    state.know_cgroups(cgroups); // Those that a user was not kept out of.
    plan.process.wire(child.pid)?;
    let mut made = Made::new(end, plan, hooks, state);
    let held = (&*child, &*cgroups, &proc);
    made.see_built(container, held, &mut rollback.state, foreground)?;

    made.state.creating = false;
    made.state.exec = Some(remember(request, &made.plan)?);
    rollback.state = Some(made.state.clone());
    rollback.pid_file = announce(request, listeners.pidfd, child)?;
    made.state.save(container.as_fd())?;
    let notify = Notify::listen(container.as_fd(), listeners.manager)?;
    made.attend(foreground, (relay, notify))?;
    log::tell();
    Ok(made)
}

/// Why init, which was ready, does not go on.
fn unstarted(errno: Errno) -> anyhow::Error {
    match errno {
        Errno::EPIPE => anyhow!("init: ended before it was started"),
        other => Error::new(other).context("init"),
    }
}

/// The pidfd goes out before the pid file is there, as in runc. Returns the file.
fn announce(
    request: &Request,
    socket: Option<PidfdSocket>,
    child: &Child,
) -> Result<Option<PathBuf>> {
    if let Some(socket) = socket {
        socket.send(Sent::Standard, child.pidfd.as_fd())?;
    }
    write_pid_file(request.pid_file.as_deref(), child.pid)
}

fn clone_error(plan: &Plan, why: CloneError) -> anyhow::Error {
    match why {
        CloneError::At(failure) => plan.explain(failure),
        CloneError::Outside(error) => error,
    }
}

/// Nothing where the caller may not: init is to do it then.
fn open_sources(plan: &Plan, host: &Host, joined: &Joined, proc: &Proc) -> Result<Option<Sources>> {
    if !host.kernel.may_mount {
        return Ok(None);
    }
    let ids = plan.idmappings.wire(joined, proc)?;
    let at = Progress::new();
    sync::follow(&at, || plan.step_descriptions());
    let opened = plan.rootfs.open_sources(&ids, &at);
    let opened = opened.map_err(|cause| plan.explain(at.failed(cause)))?;
    Ok(Some(opened))
}

impl Way {
    fn prepare(self, container: &Container) -> Result<Start> {
        Ok(match self {
            Way::RunDetached | Way::RunForeground => Start::AtOnce,
            Way::Create => Start::OnRequest {
                socket: sys::listen_at(container.as_fd(), SOCKET).context(SOCKET)?,
            },
        })
    }
}

/// Makes room below the soft limit for all that is to be opened; returns the one
/// that the container gets all the same, when it had to be raised.
fn raise_descriptors(plan: &Plan, passed: Passed) -> Result<Option<u64>> {
    let (this, nofile) = (Pid::from_raw(0), libc::RLIMIT_NOFILE);
    let opened = plan.rootfs.descriptors() + plan.hooks.descriptors();
    let wanted = opened + u64::from(passed.count());
    // The usual soft limit of 1024 need not be asked for.
    if wanted + SPARE_DESCRIPTORS < 256 {
        return Ok(None);
    }
    let (soft, hard) = sys::prlimit(this, nofile, None).context("RLIMIT_NOFILE")?;
    if wanted + SPARE_DESCRIPTORS <= soft {
        return Ok(None);
    }
    sys::prlimit(this, nofile, Some((hard, hard))).context("RLIMIT_NOFILE")?;
    Ok(Some(soft))
}
