//! `rt create` and `rt run`, the runtime's side: from a bundle to a container that is ready to
//! execute its process. `init.rs` is the other side of the clone.
//!
//! [`prepare`] holds the order of the steps. If one fails, everything is undone.

mod claims;
mod listeners;
mod ready;
mod request;
mod restore;
mod rollback;
mod upper;

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::sys::prctl;
use nix::unistd::Pid;

use super::child::Child;
use super::delete;
use super::foreground::{self, Foreground};
use super::init::{self, Init, Lifetime, StartMode};
use super::ipc::{self, NotifyProxy, PidfdKind, PidfdSocket, write_pid_file};
use super::state::{Container, START_SOCKET, State};
use crate::cgroups::CreatedCgroups;
use crate::host::Host;
use crate::log;
use crate::namespaces::{CloneError, Joined};
use crate::network::{MovedDevices, Reservation};
use crate::plan::Plan;
use crate::process::Passed;
use crate::resctrl::OpenGroup;
use crate::rootfs::Sources;
use crate::step::Progress;
use crate::sys::{self, Cloned};
use crate::trusted_proc::Proc;
use claims::{Claims, claim};
use listeners::Listeners;
use ready::{ReadyContainer, Started};
pub(crate) use request::Request;
use request::exec_defaults;
pub(super) use request::{CreateMode, PLACEHOLDER, decide};
pub(crate) use restore::{RestoreRequest, restore};
use rollback::Rollback;

/// Descriptors that `rt` needs beside those for mounts, hooks and passed descriptors.
const SPARE_DESCRIPTORS: u64 = 64;

/// Whether `rt run` waits for the process.
pub(crate) enum Attachment {
    Detached,
    Foreground {
        /// The container is not deleted when its process ends.
        keep: bool,
        /// This process becomes a child subreaper, for a container without a pid namespace of
        /// its own (prctl(2), `PR_SET_CHILD_SUBREAPER`).
        reaps: bool,
    },
}

/// Creates a container that waits for `rt start` (runtime.md, "Create").
///
/// # Errors
/// The first step that fails, by its place in config.json. Everything is undone then.
pub(crate) fn create(root: &Path, request: &Request) -> Result<()> {
    let mut rollback = Rollback::default();
    let mode = CreateMode::Create;
    prepare(root, request, mode, (&mut rollback, &mut None))
        .and_then(|ready| ready.go())
        .inspect_err(|_| rollback.undo())
}

/// Creates a container and starts it. In the foreground, waits for its process and returns the
/// exit status, which is 128+n when signal n ended the process, or ended this command before
/// the process was started.
///
/// # Errors
/// The first step that fails, by its place in config.json. Everything is undone then.
pub(crate) fn run(root: &Path, request: &Request, attachment: &Attachment) -> Result<u8> {
    let (mode, mut foreground) = begin(attachment)?;
    let mut rollback = Rollback::default();
    let started = prepare(root, request, mode, (&mut rollback, &mut foreground))
        .and_then(|ready| ready.start(&mut foreground))
        .and_then(|started| {
            // From here on they belong to the container's network namespace.
            rollback.net_devices = None;
            if started.executed {
                rollback.directories.keep();
                rollback.call_poststart(&started.state, &mut foreground)?;
            }
            Ok(started)
        })
        .inspect_err(|_| rollback.undo());
    let Started { state, notify, .. } = match started {
        Ok(started) => started,
        Err(error) => return foreground::end_with(error, foreground),
    };
    stay(rollback, (state, notify), attachment, foreground)
}

/// What a command does before it makes a container that runs.
fn begin(attachment: &Attachment) -> Result<(CreateMode, Option<Foreground>)> {
    let Attachment::Foreground { reaps, .. } = attachment else {
        return Ok((CreateMode::RunDetached, None));
    };
    let foreground = Foreground::new()?;
    if *reaps {
        prctl::set_child_subreaper(true).context("become a child subreaper")?;
    }
    Ok((CreateMode::RunForeground, Some(foreground)))
}

/// What a command does with a container that runs: a detached one ends, the other waits for the
/// process and returns its exit status.
fn stay(
    mut rollback: Rollback,
    (state, notify): (State, Option<NotifyProxy>),
    attachment: &Attachment,
    foreground: Option<Foreground>,
) -> Result<u8> {
    let (Some(child), Some(container)) = (rollback.child.take(), rollback.container.take()) else {
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
        delete::delete_stopped(&container, &state)?;
    }
    drop(container); // A slow reader of the output must not keep the container locked.
    foreground.finish()?;
    // The program ends, and the kernel closes their descriptors.
    std::mem::forget((rollback, child));
    Ok(status)
}

/// Makes the container up to the point where init is ready to execute the program. What has
/// been made is recorded in `rollback`.
fn prepare(
    root: &Path,
    request: &Request,
    mode: CreateMode,
    (rollback, foreground): (&mut Rollback, &mut Option<Foreground>),
) -> Result<ReadyContainer> {
    // Init has a copy of this memory and of these descriptors. No process in the container may
    // read them through /proc (CVE-2016-9962).
    prctl::set_dumpable(false).context("become non-dumpable")?;
    let proc = Proc::open().context("/proc")?;
    let host = Host::probe(&proc)?;
    let plan = decide(root, request, mode, &host, &proc)?;

    // These steps change nothing on the host, so they come first.
    let joined = plan.namespaces.wire()?;
    let listeners = Listeners::connect(request, &plan, mode)?;
    let descriptors = raise_descriptors(&plan, request.passed)?;

    let claims = claim(root, request, (&plan, &host), rollback, &proc)?;
    let Claims {
        mut state,
        lease,
        files,
    } = claims;
    let (Some(container), Some(cgroups)) = (&rollback.container, &mut rollback.cgroups) else {
        bail!("nothing was made");
    };
    // After the cgroups exist: a mount may show them.
    let sources = (open_sources(&plan, &host, &joined, &proc)?, files);
    let hooks = plan.hooks.wire()?;
    let program = plan.process.wire_init(&proc)?;
    let start = start_mode(mode, container)?;
    let (end, init_end) = ipc::pair(|| plan.step_descriptions()).context("socketpair")?;

    let cloned = plan.namespaces.clone(&joined, cgroups.clone_into(), &proc);
    let child = match cloned.map_err(|error| clone_error(&plan, error))? {
        Cloned::Parent { pid, pidfd } => rollback.child.insert(Child { pid, pidfd }),
        Cloned::Child => {
            // Init must not hold the lock, the cgroups or the runtime's ends of sockets.
            drop((std::mem::take(rollback), foreground.take()));
            drop((end, lease, listeners.pidfd, listeners.manager));
            init::run(Init {
                plan: &plan,
                end: init_end,
                start,
                joined,
                sources,
                hooks,
                program,
                proc,
                console: listeners.console,
                descriptors,
            })
        }
    };
    plan.process.close_passed_fds()?; // Init has its own copies.
    drop((sources, start, listeners.console, init_end, program));
    let groups = (&mut *cgroups, rollback.resctrl.as_ref());
    let network = (lease, &mut rollback.net_devices);
    wire_init(&plan, child, (joined, network), groups, &proc)?;
    state.set_cgroups(cgroups); // Without those that an unprivileged user could not create.
    let mut ready = ReadyContainer::new(end, plan, hooks, state);
    let parts = (&*child, &*cgroups, &proc);
    ready.wait_until_ready(container, parts, &mut rollback.state, foreground)?;

    rollback.directories.finish();
    let exec = exec_defaults(request, &ready.plan)?;
    rollback.state = Some(ready.state.finish(exec));
    rollback.pid_file = announce(request, listeners.pidfd, child)?;
    ready.state.save(container.as_fd())?;
    let notify = NotifyProxy::listen(container.as_fd(), listeners.manager)?;
    ready.serve(foreground, (listeners.relay, notify))?;
    log::flush_deferred_warnings();
    Ok(ready)
}

/// Does for init, which waits, what needs its pid.
fn wire_init(
    plan: &Plan,
    child: &Child,
    (joined, (lease, devices)): (Joined, (Option<Reservation>, &mut Option<MovedDevices>)),
    (cgroups, resctrl): (&mut CreatedCgroups, Option<&OpenGroup>),
    proc: &Proc,
) -> Result<()> {
    plan.namespaces.write_id_maps(&joined, child.pid, proc)?;
    cgroups.add_process(child.pid)?;
    if let Some(group) = resctrl {
        group.join(child.pid)?;
    }
    if let (Some(network), Some(lease)) = (&plan.network, &lease) {
        network.wire(lease, child.pid, proc)?;
    }
    if let Some(planned) = &plan.net_devices {
        planned.wire(joined.network(child.pid, proc)?, proc, devices)?;
    }
    plan.process.raise_limits_of(child.pid)?;
    plan.process.set_io_priority_of(child.pid)
}

/// Sends the pidfd, then writes the pid file, in the order of runc. Returns the path of the pid
/// file.
fn announce(
    request: &Request,
    socket: Option<PidfdSocket>,
    child: &Child,
) -> Result<Option<PathBuf>> {
    if let Some(socket) = socket {
        socket.send(PidfdKind::Standard, child.pidfd.as_fd())?;
    }
    write_pid_file(request.pid_file.as_deref(), child.pid)
}

fn clone_error(plan: &Plan, error: CloneError) -> anyhow::Error {
    match error {
        CloneError::Step(failure) => plan.explain(failure),
        CloneError::Runtime(error) => error,
    }
}

/// Opens the sources of bind mounts and the devices of the host. `None` when the caller has no
/// right to do so; init opens them then.
fn open_sources(plan: &Plan, host: &Host, joined: &Joined, proc: &Proc) -> Result<Option<Sources>> {
    if !host.kernel.may_mount {
        return Ok(None);
    }
    let ids = plan.idmappings.wire(joined, proc)?;
    let at = Progress::new();
    ipc::log_progress(&at, || plan.step_descriptions());
    let opened = plan.rootfs.open_sources(&ids, &at);
    let opened = opened.map_err(|cause| plan.explain(at.failed(cause)))?;
    Ok(Some(opened))
}

fn start_mode(mode: CreateMode, container: &Container) -> Result<StartMode> {
    Ok(match mode {
        CreateMode::RunDetached => StartMode::Immediately {
            lifetime: Lifetime::Own,
        },
        CreateMode::RunForeground => StartMode::Immediately {
            lifetime: Lifetime::OfRuntime,
        },
        CreateMode::Create => StartMode::OnRequest {
            socket: sys::listen_at(container.as_fd(), START_SOCKET).context(START_SOCKET)?,
        },
    })
}

/// Raises the soft RLIMIT_NOFILE if it is too low for all descriptors to be opened. Returns the
/// original limit, which the container gets, if it was raised.
fn raise_descriptors(plan: &Plan, passed: Passed) -> Result<Option<u64>> {
    let (this, nofile) = (Pid::from_raw(0), libc::RLIMIT_NOFILE);
    let opened = plan.rootfs.descriptors() + plan.hooks.descriptors();
    let needed = opened + u64::from(passed.count());
    // The usual soft limit is 1024: for a small number no system call is needed.
    if needed + SPARE_DESCRIPTORS < 256 {
        return Ok(None);
    }
    let (soft, hard) = sys::prlimit(this, nofile, None).context("RLIMIT_NOFILE")?;
    if needed + SPARE_DESCRIPTORS <= soft {
        return Ok(None);
    }
    sys::prlimit(this, nofile, Some((hard, hard))).context("RLIMIT_NOFILE")?;
    Ok(Some(soft))
}
