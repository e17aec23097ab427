//! The runtime's page for `rt exec`: from a description of a process to that
//! process in a container that runs.
//!
//! The bundle is not looked at again: what the container's processes have in
//! common was remembered when it was made.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::prctl;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::create::OUT_OF_TURN;
use super::exec_process::{self, ExecProcess};
use super::foreground::{self, Foreground};
use super::pid_file::write_pid_file;
use super::pidfd::{PidfdSocket, Sent};
use super::relay::Relay;
use super::rollback::Child;
use super::state::{Shown, State, Status};
use super::sync::{self, FromInit, InitEnd, RuntimeEnd};
use super::terminal::{Caller, Console};
use super::{Container, existing, kill, missing};
use crate::bundle::{self, Changes};
use crate::cgroups::{Below, CgroupJoin};
use crate::host;
use crate::log;
use crate::namespaces::Birth;
use crate::plan::{ExecPlan, ExecSettings, Plan, Shared};
use crate::process::{self, Passed, Streams};
use crate::step::{Cause, Failure, Step};
use crate::sys;
use crate::trusted_proc::Proc;

const ENDED_BEFORE_EXEC: &str = "process: ended before it was executed";

/// What is to join which container.
pub(crate) struct Joining {
    pub(crate) process: Wanted,
    pub(crate) below: Below,
    /// Absolute.
    pub(crate) pid_file: Option<PathBuf>,
    /// Absolute. Where the terminal goes when nobody stays to serve it.
    pub(crate) console_socket: Option<PathBuf>,
    /// Absolute. Who gets a pidfd of the process.
    pub(crate) pidfd_socket: Option<PathBuf>,
    /// Nobody waits for its end.
    pub(crate) detach: bool,
    /// It joins a container that is held still, and is held still as well.
    pub(crate) ignore_paused: bool,
    pub(crate) passed: Passed,
}

/// What the process is to be.
pub(crate) enum Wanted {
    /// A whole `process`, as config.json has it.
    Described(Value),
    /// The container's own, changed.
    Like(Changes),
}

/// What a container remembers of itself for those that join it.
#[derive(Serialize, Deserialize)]
struct Remembered {
    process: Value,
    #[serde(flatten)]
    shared: Shared,
}

/// What `rt exec` will need, as state.json has it.
pub(super) fn remember(process: Value, plan: &Plan) -> Result<Box<RawValue>> {
    let shared = plan.shared();
    to_raw_value(&Remembered { process, shared }).context("state.json")
}

fn recall(state: &State) -> Result<Remembered> {
    let exec = state.exec.as_ref();
    let text = exec.context("state.json: nothing is remembered for processes that join")?;
    serde_json::from_str(text.get()).context("state.json")
}

/// Runs a process in the container `id`; unless detached, waits for it and
/// returns its exit status, 128+n when signal n ended it, or this command before.
///
/// # Errors
/// By place in the process's description; nothing is left behind.
pub(crate) fn exec(root: &Path, id: &str, joining: Joining) -> Result<u8> {
    // The process copies this memory and these descriptors, and others in the
    // container can see it: nobody may look into either (CVE-2016-9962).
    prctl::set_dumpable(false).context("become non-dumpable")?;
    let container = Container::unlocked(root, id)?.ok_or_else(missing)?;
    let state = container.state()?.ok_or_else(missing)?;
    let proc = open_proc()?;
    let init = kill::find(&state)?; // The process whose status follows, for it comes first.
    refuse_unless_open(container.status(&state, &proc)?, joining.ignore_paused)?;
    let init = init.context("container not running")?;
    let Remembered { process, shared } = recall(&state)?;
    let (wanted, passed) = (joining.process, joining.passed);
    let streams = match joining.detach {
        true => Streams::Left,
        false => Streams::Lent,
    };
    let plan = decide(&state, (wanted, process), shared, (passed, streams), &proc)?;
    let mut foreground = match joining.detach {
        true => None,
        false => Some(Foreground::new()?),
    };
    let terminal = plan.process.has_terminal();
    let socket = joining.console_socket.as_deref();
    let (console, relay) = Console::open(terminal, joining.detach, socket)?.split();
    let pidfd = PidfdSocket::connect(joining.pidfd_socket.as_deref())?;
    let blame = |error| blame(error, &state);
    let cgroup_join = existing(&state).join(&joining.below).map_err(blame)?;
    drop(container);
    let mut visit = Visit {
        state: &state,
        plan: &plan,
        // The machine's /proc comes along where nobody in the container can look for it.
        proc: (!plan.membership.exposes()).then_some(proc),
        cgroup_join,
    };
    let waits = relay.is_some() || pidfd.is_some() || plan.process.has_oom_score();
    let begun = visit.begin(init, console, waits);
    let (child, end) = begun.map_err(blame)?;
    let pid_file = joining.pid_file.as_deref();
    let seen = visit
        .see_running(&end, (relay, pidfd), (&child, pid_file), &mut foreground)
        .map_err(blame)
        .inspect_err(|_| {
            let ended = match &mut foreground {
                Some(foreground) => foreground.end(child.pid, child.pidfd.as_fd()),
                None => child.end(),
            };
            if let Err(left) = ended {
                log::warn(&format!("left behind: {}", log::sentence(&left)));
            }
        });
    if let Err(error) = seen {
        return foreground::end_with(error, foreground);
    }
    log::tell();
    foreground.map_or(Ok(0), |foreground| {
        foreground.stay(child.pid, child.pidfd.as_fd())
    })
}

fn refuse_unless_open(status: Status, ignore_paused: bool) -> Result<()> {
    match status {
        Status::Created | Status::Running => Ok(()),
        Status::Paused if ignore_paused => Ok(()),
        Status::Paused => {
            bail!("cannot exec in a paused container (use --ignore-paused to override)")
        }
        Status::Stopped => bail!("cannot exec in a stopped container"),
        Status::Creating => bail!("cannot exec in a container in the creating state"),
    }
}

/// Whatever fails once the container is on its way out fails for that: the
/// kernel says ENOMEM of new processes, and its cgroups go.
fn blame(error: Error, state: &State) -> Error {
    let init = Proc::open()
        .map_err(Error::new)
        .and_then(|proc| Shown::of(&proc, state.init_process_pid));
    match init {
        Ok(Some(init)) if !init.is_ending() => error,
        Ok(_) | Err(_) => anyhow!("container not running"),
    }
}

fn decide(
    state: &State,
    (wanted, own): (Wanted, Value),
    mut shared: Shared,
    (passed, streams): (Passed, Streams),
    proc: &Proc,
) -> Result<ExecPlan> {
    let described = match wanted {
        Wanted::Described(process) => process,
        Wanted::Like(changes) => changes.apply(own),
    };
    let described = bundle::process(described)?;
    let membership = shared
        .membership
        .seen_from_here(state.init_process_pid, proc);
    shared.membership = match membership {
        Err(Errno::ENOENT | Errno::ESRCH) => bail!("container not running"),
        seen => seen.context("namespaces")?,
    };
    let settings = ExecSettings {
        id: &state.id,
        caller: process::Caller::read(proc)?,
        apparmor: described.apparmor_profile().is_some() && host::enforces_apparmor(),
        streams,
        passed,
    };
    ExecPlan::new(&described, shared, &settings)
}

fn open_proc() -> Result<Proc> {
    Proc::open().context("/proc")
}

/// A process on its way into a container.
struct Visit<'a> {
    state: &'a State,
    plan: &'a ExecPlan,
    proc: Option<Proc>,
    cgroup_join: CgroupJoin,
}

/// What the process is born with, beside what it finds in the plan.
struct Belongings<'a> {
    end: &'a InitEnd,
    init: BorrowedFd<'a>,
    root: Option<BorrowedFd<'a>>,
    console: Option<BorrowedFd<'a>>,
    waits: bool,
}

impl Visit<'_> {
    /// Makes the process, which goes its way.
    fn begin(
        &mut self,
        init: OwnedFd,
        console: Option<OwnedFd>,
        waits: bool,
    ) -> Result<(Child, RuntimeEnd)> {
        let root = self.root(init.as_fd())?;
        let words = || self.plan.step_descriptions(&self.cgroup_join);
        let (end, exec_end) = sync::pair(words).context("socketpair")?;
        self.plan.process.begin()?;
        let belongings = Belongings {
            end: &exec_end,
            init: init.as_fd(),
            root: root.as_ref().map(AsFd::as_fd),
            console: console.as_ref().map(AsFd::as_fd),
            waits,
        };
        let (pid, pidfd) = self.bear(&belongings)?;
        Ok((Child { pid, pidfd }, end))
    }

    /// The root of the container's first process, where it is not that of a mount
    /// namespace. It is still there after its root was opened by number.
    fn root(&self, init: BorrowedFd) -> Result<Option<OwnedFd>> {
        if !self.plan.chroot {
            return Ok(None);
        }
        let proc = open_proc()?;
        let link = format!("{}/root", self.state.init_process_pid);
        let root = proc.link(&link, OFlag::O_PATH | OFlag::O_DIRECTORY);
        match sys::pidfd_send_signal(init, 0) {
            Err(Errno::ESRCH) => bail!("container not running"),
            there => there.and(root).map(Some).context(format!("/proc/{link}")),
        }
    }

    /// Where the container has moved its processes further down, next to its first one.
    fn bear(&mut self, belongings: &Belongings) -> Result<(Pid, OwnedFd)> {
        let born = match self.bear_at_door(belongings)? {
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
                self.bear_at_door(belongings)?
            }
            born => born,
        };
        born.map_err(|failure| self.plan.explain(failure, &self.cgroup_join))
    }

    fn bear_at_door(&mut self, with: &Belongings) -> Result<Result<(Pid, OwnedFd), Failure>> {
        let membership = &self.plan.membership;
        if membership.exposes() {
            self.cgroup_join.detach()?;
        }
        let proc = self.proc.as_ref();
        let kept = [with.end.as_fd(), with.init]
            .into_iter()
            .chain(with.console);
        let kept = kept.chain(proc.map(AsFd::as_fd));
        let kept = kept
            .chain(self.cgroup_join.descriptors())
            .map(|fd| fd.as_raw_fd());
        let birth = Birth {
            init: with.init,
            root: with.root,
            cgroup: self.cgroup_join.clone_into(),
            kept: self.plan.process.passed().chain(kept).collect(),
        };
        let born = membership.bear(&birth, &mut |inside| {
            exec_process::run(&ExecProcess {
                plan: self.plan,
                end: with.end,
                cgroup_join: &self.cgroup_join,
                first: (with.init, with.root),
                inside,
                proc,
                console: with.console,
                waits: with.waits,
            })
        });
        Ok(born)
    }

    /// Waits until the process runs, which then has its terminal and its pid file;
    /// or has been refused by execve(2), and has said so.
    fn see_running(
        &self,
        end: &RuntimeEnd,
        (relay, pidfd): (Option<(Caller, OwnedFd)>, Option<PidfdSocket>),
        (child, pid_file): (&Child, Option<&Path>),
        foreground: &mut Option<Foreground>,
    ) -> Result<()> {
        self.plan.process.let_go()?;
        let explain = |failure| Err(self.plan.explain(failure, &self.cgroup_join));
        let proc = open_proc()?;
        if let Err(failure) = self.plan.process.wire_oom_score(child.pid, &proc) {
            return explain(failure);
        }
        match foreground::hear(end, foreground).context("process")? {
            FromInit::Ready => {}
            FromInit::Failed(failure) => return explain(failure),
            FromInit::Gone => bail!(ENDED_BEFORE_EXEC),
            FromInit::Mounted => bail!(OUT_OF_TURN),
        }
        let relay = relay.map(|(caller, socket)| Relay::new(caller, &socket));
        let relay = relay.transpose()?;
        let waits = relay.is_some() || pidfd.is_some() || self.plan.process.has_oom_score();
        if let Some(foreground) = foreground {
            foreground.attend(relay, None);
        }
        if let Some(socket) = pidfd {
            socket.send(Sent::Setns, child.pidfd.as_fd())?;
        }
        if waits {
            end.go().context("process")?;
        }
        match foreground::hear(end, foreground).context("process")? {
            // It may have been killed instead, by its own filter.
            FromInit::Gone => {
                let shown = Shown::of(&proc, child.pid.as_raw())?;
                ensure!(
                    shown.is_some_and(|shown| shown.has_executed()),
                    ENDED_BEFORE_EXEC
                );
            }
            FromInit::Failed(failure) if failure.step == Step::Exec => {}
            FromInit::Failed(failure) => return explain(failure),
            FromInit::Ready | FromInit::Mounted => bail!(OUT_OF_TURN),
        }
        write_pid_file(pid_file, child.pid)?;
        Ok(())
    }
}
