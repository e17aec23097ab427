//! Init's side of `rt create` and `rt run`: every step between the clone and execve(2), in
//! order. `create.rs` is the runtime's side.
//!
//! Init carries out the plan and decides nothing. When a step fails, it sends the position to
//! the runtime, which writes the error message.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, Uid, geteuid};

use super::ipc::{InitEnd, StartSocket};
use crate::namespaces::{Joined, Kind, Place};
use crate::plan::Plan;
use crate::process::{InitHookFiles, InitProgram};
use crate::rootfs::{Content, NewRoot, Pty, Sources};
use crate::step::{Cause, Progress, Refusal, Step};
use crate::sys::{self, CloseBatch};
use crate::trusted_proc::Proc;

/// What init has from the runtime, through the clone.
pub(super) struct Init<'a> {
    pub(super) plan: &'a Plan,
    pub(super) end: InitEnd,
    pub(super) start: StartMode,
    pub(super) joined: Joined,
    /// What is opened on the host, `None` when the runtime had no right to open it; and the
    /// files that are written for the container.
    pub(super) sources: (Option<Sources>, Vec<Content>),
    pub(super) hooks: InitHookFiles,
    /// Only with `rt.init`.
    pub(super) program: Option<InitProgram>,
    pub(super) proc: Proc,
    /// The socket on which to send the master end of the terminal, if there is one.
    pub(super) console: Option<OwnedFd>,
    /// The original soft RLIMIT_NOFILE, if the runtime has raised it.
    pub(super) descriptors: Option<u64>,
}

/// When init executes the program.
pub(super) enum StartMode {
    /// As soon as the runtime has saved the state (`rt run`).
    Immediately { lifetime: Lifetime },
    /// When the same user runs `rt start`, which connects to this socket.
    OnRequest { socket: OwnedFd },
}

/// Whether the container's process may outlive the runtime.
#[derive(Clone, Copy)]
pub(super) enum Lifetime {
    /// `rt create` and `rt run --detach` end before it.
    Own,
    /// `rt run` waits for it and deletes the container. If SIGKILL ends `rt run`, the kernel kills the process:
    /// it has the caller's standard streams, and who waits for their end would wait as long as it runs.
    OfRuntime,
}

impl Lifetime {
    fn ready(self, end: &InitEnd) -> Result<(), Cause> {
        match self {
            Lifetime::Own => end.ready_to_outlive_runtime(),
            Lifetime::OfRuntime => end.ready(),
        }
    }
}

impl StartMode {
    /// Who may run `rt start`: the caller's uid in this user namespace. `None` where nobody has to.
    fn owner(&self) -> Option<Uid> {
        match self {
            StartMode::Immediately { .. } => None,
            StartMode::OnRequest { .. } => Some(geteuid()),
        }
    }

    /// Init may wait for hours, so it closes what it does not need.
    fn prepare(self, unused: &CloseBatch) -> Result<(Option<StartSocket>, Lifetime), Cause> {
        Ok(match self {
            StartMode::Immediately { lifetime } => (None, lifetime),
            StartMode::OnRequest { socket } => {
                unused.close();
                (Some(StartSocket::new(socket)?), Lifetime::Own)
            }
        })
    }
}

/// Becomes the container's process, or reports the failure and exits.
pub(super) fn run(init: Init) -> ! {
    let at = Progress::new();
    init.end.follow(&at);
    let (mut reporter, unused) = (None, CloseBatch::default());
    let Err(cause) = perform(init, (&mut reporter, &unused), &at);
    // Neither the end nor the batch is dropped: the container's seccomp filter may be in force, and
    // forbid close(2).
    if let Some(end) = &reporter {
        end.send_failure(at.failed(cause));
    }
    sys::exit(1)
}

/// Takes the steps. A failure is sent to the end in `reporter`. `unused` gets the descriptors that are not
/// needed any more: before execve(2) all are closed together.
fn perform(
    init: Init,
    (reporter, unused): (&mut Option<InitEnd>, &CloseBatch),
    at: &Progress,
) -> Result<Infallible, Cause> {
    let Init {
        plan,
        end,
        start,
        joined,
        sources,
        hooks,
        program,
        proc,
        console,
        descriptors,
    } = init;
    let end = reporter.insert(end);

    end.wait_for_first_go()?; // Init is in its cgroups from here on.
    // The steps below set exact modes. The process gets its own umask at the end.
    let caller_umask = umask(Mode::empty());

    plan.process.detach(at)?; // From the caller's session and signal settings.
    plan.process.set_oom_score(&proc, at)?;
    plan.namespaces.join(&joined, at)?;
    plan.namespaces.enter_time_namespace(&proc, at)?;
    drop(joined);

    let mut sources = sources_or_open(plan, sources, at)?;
    let entered = plan.rootfs.enter(at)?;
    let owner = start.owner(); // While this process has the caller's ids.
    plan.namespaces.become_root(&proc, at)?; // Init had the caller's ids until here.
    die_with_runtime_again(plan, end)?;
    let mut root = plan.rootfs.attach(entered, &mut sources, &proc, at)?;
    plan.process.join_keyring(Some(&proc), at)?;
    // In its cgroups already: the current cgroup becomes the root of a new cgroup namespace.
    plan.namespaces.apply(unused, at)?;
    let tools = (&proc, unused);
    plan.rootfs.mount_all(&mut root, &mut sources, tools, at)?;
    plan.rootfs.create_devices(&root, &mut sources, tools, at)?;
    if plan.hooks.before_pivot() {
        call_hooks_before_pivot((plan, &hooks), end, &root, caller_umask, at)?;
    }
    if let Some(console) = console {
        take_terminal(plan, &root, &console, at)?;
    }
    plan.rootfs.switch_after_mounts(&mut root, &proc, at)?; // The host's mounts are out of reach now.
    plan.namespaces.write_sysctls(&proc, at)?; // Before /proc/sys becomes read-only.
    plan.process.make_working_directory(at)?; // Before the root becomes read-only.
    plan.rootfs.finalize(root, sources, tools, at)?;

    let ids_changed = || end.die_with_runtime();
    // Drops privileges, and looks up the executable.
    let tools = (Some(&proc), unused);
    let mut prepared = plan.process.prepare(ids_changed, tools, at)?;
    unused.add(proc.into());
    plan.process.check_init(program.as_ref(), at)?;
    descriptors.map_or(Ok(()), lower_limit)?;

    at.enter(Step::Start);
    let (start_socket, lifetime) = start.prepare(unused)?;
    lifetime.ready(end)?;
    end.wait_for_go()?; // The state is saved. `rt create` returns now.
    let end = wait_for_start(start_socket.zip(owner), reporter, at)?;

    let process = (&plan.process, &prepared);
    plan.hooks.start_container(&hooks, process, at)?; // With the process's ids and directory.
    drop(hooks);
    plan.process
        .become_child_of_init(program, &mut prepared, at)?;
    Err(plan.process.exec(&prepared, end.to_runtime(), at))
}

fn call_hooks_before_pivot(
    (plan, hooks): (&Plan, &InitHookFiles),
    end: &InitEnd,
    root: &NewRoot,
    caller_umask: Mode,
    at: &Progress,
) -> Result<(), Cause> {
    at.enter(Step::RuntimeHooks);
    end.mounted()?;
    end.wait_for_go()?; // The runtime has called the prestart and createRuntime hooks.
    plan.hooks
        .create_container(hooks, root.as_fd(), caller_umask, at)
}

/// Repeats [`InitEnd::die_with_runtime`], which the kernel resets when a process changes its
/// ids: so it did on becoming root of a user namespace.
fn die_with_runtime_again(plan: &Plan, end: &InitEnd) -> Result<(), Cause> {
    match plan.namespaces.place(Kind::User) {
        Place::Shared => Ok(()),
        Place::New | Place::Joined { .. } => end.die_with_runtime(),
    }
}

/// The sources, which init opens if the runtime could not. Idmapped mounts are not possible
/// then.
fn sources_or_open(
    plan: &Plan,
    (sources, files): (Option<Sources>, Vec<Content>),
    at: &Progress,
) -> Result<Sources, Cause> {
    let sources = match sources {
        Some(sources) => sources,
        None => plan.rootfs.open_sources(&BTreeMap::new(), at)?,
    };
    Ok(sources.with_files(files))
}

fn take_terminal(
    plan: &Plan,
    root: &NewRoot,
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

/// Waits for `rt start`, if the container was created with `rt create`. A later failure is
/// reported to `rt start`.
fn wait_for_start<'a>(
    request: Option<(StartSocket, Uid)>,
    reporter: &'a mut Option<InitEnd>,
    at: &Progress,
) -> Result<&'a InitEnd, Cause> {
    if let Some((start_socket, owner)) = request {
        // Closes the socket to `rt create`, which has ended or is about to.
        *reporter = None;
        at.report_to(None);
        // From here on, an end of file on this connection means "running".
        reporter
            .insert(start_socket.wait_for_start(owner)?)
            .follow(at);
    }
    reporter.as_ref().ok_or(Refusal::RuntimeEnded.into())
}
