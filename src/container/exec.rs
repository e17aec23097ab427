//! `rt exec`, the runtime's side: from the description of a process to that process in a
//! running container. `exec_process.rs` is the other side of the clone.
//!
//! The bundle is not read again: `state.json` holds what all processes of the container share.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::prctl;
use nix::unistd::Pid;
use serde_json::Value;

use super::child::Child;
use super::exec_process::{self, ExecProcess};
use super::foreground::{self, CallerTerminal, ConsoleCommand, ConsoleSocket, Foreground, Relay};
use super::ipc::{
    self, InitEnd, InitMessage, PidfdKind, PidfdSocket, RuntimeEnd, UNEXPECTED_MESSAGE,
    write_pid_file,
};
use super::seccomp_agent;
use super::state::{Container, ExecDefaults, ProcessStat, State, Status};
use crate::bundle::{self, ProcessOverrides};
use crate::cgroups::{CgroupJoin, SubCgroups, UnitRecord};
use crate::host;
use crate::log;
use crate::namespaces::ExecClone;
use crate::plan::{ExecPlan, ExecSettings, Shared};
use crate::process::{self, Passed, StdioOwnership};
use crate::step::{Cause, Failure, Step};
use crate::sys;
use crate::trusted_proc::Proc;

const ENDED_BEFORE_EXEC: &str = "process: ended before it was executed";

/// The process to run, and how.
pub(crate) struct ExecRequest {
    pub(crate) process: ProcessDescription,
    pub(crate) below: SubCgroups,
    /// Absolute.
    pub(crate) pid_file: Option<PathBuf>,
    /// Absolute. Receives the terminal when the command does not stay in the foreground.
    pub(crate) console_socket: Option<PathBuf>,
    /// Absolute. Receives a pidfd of the process.
    pub(crate) pidfd_socket: Option<PathBuf>,
    /// The command does not wait for the process to end.
    pub(crate) detach: bool,
    /// The container may be paused. The process is then frozen too.
    pub(crate) ignore_paused: bool,
    pub(crate) passed: Passed,
}

/// The description of the process.
pub(crate) enum ProcessDescription {
    /// A complete `process` object, as in config.json.
    Complete(Value),
    /// The container's own `process` with changes.
    FromContainer(ProcessOverrides),
}

/// Runs a process in the container `id`. Unless detached, waits for it and returns the exit
/// status, which is 128+n when signal n ended the process, or ended this command before the
/// process was started.
///
/// # Errors
/// When the container is not running, or a step fails, by its place in the process's
/// description. No process is left then.
pub(crate) fn exec(root: &Path, id: &str, request: ExecRequest) -> Result<u8> {
    // The process has a copy of this memory and of these descriptors, and processes in the
    // container can see it. They may not read either through /proc (CVE-2016-9962).
    prctl::set_dumpable(false).context("become non-dumpable")?;
    let (container, state) = Container::find(root, id)?;
    let proc = open_proc()?;
    // Opened before the status is read, so that both are about the same process.
    let init = state.pidfd_of_init_pid()?;
    ensure_running(id, container.status(&state, &proc)?, request.ignore_paused)?;
    let init = init.context("container not running")?;
    let ExecDefaults { process, shared } = ExecDefaults::load(&state)?;
    let (description, passed) = (request.process, request.passed);
    let streams = if request.detach {
        StdioOwnership::Transferred
    } else {
        StdioOwnership::Kept
    };
    let plan = decide(
        &state,
        (description, process),
        shared,
        (passed, streams),
        &proc,
    )?;
    let mut foreground = (!request.detach).then(Foreground::new).transpose()?;
    let terminal = plan.process.has_terminal();
    let socket = request.console_socket.as_deref();
    let command = ConsoleCommand::exec(request.detach);
    let (console, relay) = ConsoleSocket::open(terminal, command, socket)?.split();
    let pidfd = PidfdSocket::connect(request.pidfd_socket.as_deref())?;
    let explain_if_stopping = |error| explain_if_stopping(error, &state);
    let cgroup_join = state.cgroups().join(&request.below);
    let cgroup_join = cgroup_join.map_err(explain_if_stopping)?;
    drop(container);
    let mut pending = PendingExec {
        state: &state,
        plan: &plan,
        // The process gets the host's /proc only if processes in the container cannot take it.
        proc: (!plan.membership.exposes_exec_process()).then_some(proc),
        cgroup_join,
        unit: None,
        waits: relay.is_some() || pidfd.is_some() || needs_pid(&plan, &state),
    };
    let cloned = pending.clone_process(init, console);
    let (child, end) = cloned.map_err(explain_if_stopping)?;
    let pid_file = request.pid_file.as_deref();
    let running = pending
        .wait_until_running(&end, (relay, pidfd), (&child, pid_file), &mut foreground)
        .map_err(explain_if_stopping)
        .inspect_err(|_| {
            let killed = match &mut foreground {
                Some(foreground) => foreground.kill(child.pid, child.pidfd.as_fd()),
                None => child.kill(),
            };
            if let Err(error) = killed {
                log::warn(&format!("left behind: {}", log::format_error(&error)));
            }
        });
    if let Err(error) = running {
        return foreground::end_with(error, foreground);
    }
    log::flush_deferred_warnings();
    foreground.map_or(Ok(0), |foreground| {
        foreground.wait_and_finish(child.pid, child.pidfd.as_fd())
    })
}

/// Whether the runtime has to change something of the exec process from outside.
fn needs_pid(plan: &ExecPlan, state: &State) -> bool {
    plan.process.has_oom_score() || plan.process.has_scheduler() || state.resctrl.is_some()
}

fn ensure_running(id: &str, status: Status, ignore_paused: bool) -> Result<()> {
    match status {
        Status::Created | Status::Running => Ok(()),
        Status::Paused if ignore_paused => Ok(()),
        Status::Paused => {
            bail!(
                "cannot exec in a paused container (use --ignore-paused to override); resume it with rt resume {id}"
            )
        }
        Status::Stopped => {
            bail!("cannot exec in a stopped container; remove it with rt delete {id}")
        }
        Status::Creating => bail!("cannot exec in a container in the creating state"),
    }
}

/// Replaces an error that only results from the container stopping: then the kernel refuses
/// new processes with ENOMEM, and the cgroups are removed.
fn explain_if_stopping(error: Error, state: &State) -> Error {
    let init = Proc::open()
        .map_err(Error::new)
        .and_then(|proc| ProcessStat::read(&proc, state.init_process_pid));
    match init {
        Ok(Some(init)) if !init.is_exiting() => error,
        Ok(_) | Err(_) => anyhow!("container not running"),
    }
}

fn decide(
    state: &State,
    (description, own): (ProcessDescription, Value),
    mut shared: Shared,
    (passed, streams): (Passed, StdioOwnership),
    proc: &Proc,
) -> Result<ExecPlan> {
    let process = match description {
        ProcessDescription::Complete(process) => process,
        ProcessDescription::FromContainer(changes) => {
            ensure!(
                own.is_object(),
                "process: the container has none; describe one with --process"
            );
            changes.apply(own)
        }
    };
    let process = bundle::check_process(process)?;
    let membership = shared
        .membership
        .excluding_own(state.init_process_pid, proc);
    shared.membership = match membership {
        Err(Errno::ENOENT | Errno::ESRCH) => bail!("container not running"),
        membership => membership.context("namespaces")?,
    };
    let settings = ExecSettings {
        id: &state.id,
        caller: process::Caller::read(proc)?,
        selinux: process.selinux_label().is_some() && host::uses_selinux(),
        apparmor: process.apparmor_profile().is_some() && host::enforces_apparmor(),
        streams,
        passed,
    };
    ExecPlan::new(&process, shared, &settings)
}

fn open_proc() -> Result<Proc> {
    Proc::open().context("/proc")
}

/// An exec process that does not run its program yet.
struct PendingExec<'a> {
    state: &'a State,
    plan: &'a ExecPlan,
    proc: Option<Proc>,
    cgroup_join: CgroupJoin,
    /// The unit to whose cgroup systemd has to move the exec process.
    unit: Option<UnitRecord>,
    /// After *Ready* the exec process waits for *Go*, because the runtime has something to do before.
    waits: bool,
}

/// What the exec process gets through the clone, in addition to [`PendingExec`].
struct CloneArguments<'a> {
    end: &'a InitEnd,
    init: BorrowedFd<'a>,
    root: Option<BorrowedFd<'a>>,
    console: Option<BorrowedFd<'a>>,
}

impl PendingExec<'_> {
    /// Clones the exec process, which starts with its steps at once.
    fn clone_process(
        &mut self,
        init: OwnedFd,
        console: Option<OwnedFd>,
    ) -> Result<(Child, RuntimeEnd)> {
        let root = self.open_root(init.as_fd())?;
        let describe = || self.plan.step_descriptions(&self.cgroup_join);
        let (end, exec_end) = ipc::pair(describe).context("socketpair")?;
        seccomp_agent::expect(&end, self.state)?;
        self.plan.process.apply_initial_affinity()?;
        let arguments = CloneArguments {
            end: &exec_end,
            init: init.as_fd(),
            root: root.as_ref().map(AsFd::as_fd),
            console: console.as_ref().map(AsFd::as_fd),
        };
        let (pid, pidfd) = self.clone_in_cgroup(&arguments)?;
        Ok((Child { pid, pidfd }, end))
    }

    /// The root directory of init, if it is not the root of a mount namespace. Init is checked
    /// after the directory was opened by pid, so that it cannot be another process's root.
    fn open_root(&self, init: BorrowedFd) -> Result<Option<OwnedFd>> {
        if !self.plan.chroot {
            return Ok(None);
        }
        let proc = open_proc()?;
        let link = format!("{}/root", self.state.init_process_pid);
        let root = proc.link(&link, OFlag::O_PATH | OFlag::O_DIRECTORY);
        match sys::pidfd_send_signal(init, 0) {
            Err(Errno::ESRCH) => bail!("container not running"),
            alive => alive.and(root).map(Some).context(format!("/proc/{link}")),
        }
    }

    /// The error for a failure of the exec process. Its hint may come from a look at the
    /// container's root.
    fn explain(&self, failure: Failure) -> Error {
        let link = format!("{}/root", self.state.init_process_pid);
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        // Without the root, the error only lacks a hint.
        let root = || Proc::open().and_then(|proc| proc.link(&link, flags)).ok();
        self.plan.explain(failure, &self.cgroup_join, root)
    }

    /// Clones the exec process into the container's cgroup. If the container has moved its
    /// processes to a cgroup below, the kernel refuses with EBUSY; the exec process is then
    /// cloned into the cgroup of init. If the kernel does not let a user do that, systemd has to
    /// move the process.
    fn clone_in_cgroup(&mut self, arguments: &CloneArguments) -> Result<(Pid, OwnedFd)> {
        let cloned = match self.try_clone(arguments)? {
            Err(Failure {
                step: Step::Clone,
                cause: Cause::Errno(Errno::EBUSY),
                ..
            }) => {
                let pid = self.state.init_process_pid;
                let lines = open_proc()?.read(&format!("{pid}/cgroup"));
                let lines = lines.with_context(|| format!("/proc/{pid}/cgroup"))?;
                let own = lines.lines().find_map(|line| line.strip_prefix("0::"));
                self.cgroup_join
                    .follow(Path::new(own.unwrap_or_default()))?;
                self.try_clone(arguments)?
            }
            Err(
                failure @ Failure {
                    step: Step::Clone,
                    cause: Cause::Errno(Errno::EACCES),
                    ..
                },
            ) => {
                self.unit = self.cgroup_join.leave_to_systemd();
                match self.unit {
                    Some(_) => self.try_clone(arguments)?,
                    None => Err(failure),
                }
            }
            cloned => cloned,
        };
        cloned.map_err(|failure| self.explain(failure))
    }

    fn try_clone(&mut self, arguments: &CloneArguments) -> Result<Result<(Pid, OwnedFd), Failure>> {
        let membership = &self.plan.membership;
        if membership.exposes_exec_process() {
            self.cgroup_join.detach()?;
        }
        let proc = self.proc.as_ref();
        let kept = [arguments.end.as_fd(), arguments.init]
            .into_iter()
            .chain(arguments.console)
            .chain(proc.map(AsFd::as_fd))
            .chain(self.cgroup_join.descriptors())
            .map(|fd| fd.as_raw_fd());
        let clone = ExecClone {
            init: arguments.init,
            root: arguments.root,
            cgroup: self.cgroup_join.clone_into(),
            inherited_fds: self.plan.process.passed().chain(kept).collect(),
        };
        let cloned = membership.clone_exec_process(&clone, &mut |inside| {
            exec_process::run(&ExecProcess {
                plan: self.plan,
                end: arguments.end,
                cgroup_join: &self.cgroup_join,
                init: (arguments.init, arguments.root),
                inside,
                proc,
                console: arguments.console,
                attached: self.unit.is_some(),
                waits: self.waits,
            })
        });
        Ok(cloned)
    }

    /// Waits until the process runs its program, or execve(2) has failed and the process has
    /// printed the reason. Sends the pidfd and writes the pid file.
    fn wait_until_running(
        &self,
        end: &RuntimeEnd,
        (relay, pidfd): (Option<(CallerTerminal, OwnedFd)>, Option<PidfdSocket>),
        (child, pid_file): (&Child, Option<&Path>),
        foreground: &mut Option<Foreground>,
    ) -> Result<()> {
        self.plan.process.close_passed_fds()?;
        let explain = |failure| Err(self.explain(failure));
        if let Some(unit) = &self.unit {
            match foreground::receive(end, foreground).context("process")? {
                InitMessage::Ready => {}
                InitMessage::Failed(failure) => return explain(failure),
                InitMessage::Closed | InitMessage::Mounted | InitMessage::Listener { .. } => {
                    bail!(ENDED_BEFORE_EXEC)
                }
            }
            unit.attach(child.pid).context("linux.cgroupsPath")?;
            end.go().context("process")?;
        }
        let proc = open_proc()?;
        if let Err(failure) = self.plan.process.set_oom_score_of(child.pid, &proc) {
            return explain(failure);
        }
        if let Some(groups) = &self.state.resctrl {
            groups.join(child.pid)?;
        }
        match foreground::receive(end, foreground).context("process")? {
            InitMessage::Ready => {}
            InitMessage::Failed(failure) => return explain(failure),
            InitMessage::Closed => bail!(ENDED_BEFORE_EXEC),
            InitMessage::Mounted | InitMessage::Listener { .. } => bail!(UNEXPECTED_MESSAGE),
        }
        self.plan.process.set_scheduler_of(child.pid)?;
        let relay = relay.map(|(caller, socket)| Relay::new(caller, &socket));
        let relay = relay.transpose()?;
        if let Some(foreground) = foreground {
            foreground.serve(relay, None);
        }
        if let Some(socket) = pidfd {
            socket.send(PidfdKind::Setns, child.pidfd.as_fd())?;
        }
        if self.waits {
            end.go().context("process")?;
        }
        let state = (self.state, Status::Running);
        let message = seccomp_agent::serve(end, state, || {
            foreground::receive(end, foreground).context("process")
        });
        match message? {
            // The socket closes on execve(2), but also when the container's seccomp filter
            // kills the process before.
            InitMessage::Closed => {
                let stat = ProcessStat::read(&proc, child.pid.as_raw())?;
                ensure!(
                    stat.is_some_and(|stat| stat.has_executed()),
                    ENDED_BEFORE_EXEC
                );
            }
            InitMessage::Failed(failure) if failure.step == Step::Exec => {}
            InitMessage::Failed(failure) => return explain(failure),
            InitMessage::Ready | InitMessage::Mounted | InitMessage::Listener { .. } => {
                bail!(UNEXPECTED_MESSAGE)
            }
        }
        write_pid_file(pid_file, child.pid)?;
        Ok(())
    }
}
