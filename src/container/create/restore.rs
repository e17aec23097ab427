//! `rt restore`: a container from a bundle, whose processes CRIU makes from the images of a
//! checkpoint.
//!
//! What the container has on the host is made as by `create`, from the bundle. CRIU starts in its
//! cgroups, and in a mount namespace with the mounts that it cannot make itself
//! ([`Rootfs::stage`](crate::rootfs)). Before the restored processes run, they are compared with the
//! bundle ([`verify`]).

mod options;
mod place;
mod request;
mod verify;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::CloneFlags;
use nix::sys::prctl;
use nix::unistd::{Pid, geteuid, pipe2};

use super::claims::{make_groups, open_groups, take_lease};
use super::{
    Attachment, CreateMode, Listeners, Rollback, begin, decide, exec_defaults, initial_state,
    open_sources, stay, upper,
};
use crate::container::checkpoint::images::Images;
use crate::container::checkpoint::{CriuRequest, yards};
use crate::container::child::Child;
use crate::container::foreground::{self, Foreground, Relay};
use crate::container::hooks;
use crate::container::ipc::{
    self, InitEnd, InitMessage, RuntimeEnd, UNEXPECTED_MESSAGE, write_pid_file,
};
use crate::container::state::{Container, State, Status};
use crate::container::teardown::{self, surviving_cgroups};
use crate::criu::{Criu, Notice, Service, Swrk, Task};
use crate::host::Host;
use crate::log;
use crate::namespaces::{Kind, Place};
use crate::network;
use crate::plan::Plan;
use crate::process::HookKind;
use crate::rootfs::{Sources, Staged};
use crate::step::{Cause, Progress};
use crate::sys::{self, Cloned};
use crate::trusted_proc::Proc;
use options::Inherited;
use request::LOG;
pub(crate) use request::RestoreRequest;

/// Restores a container. In the foreground, waits for its process as `rt run` does.
///
/// # Errors
/// When the bundle or the images cannot be used, or the restored processes are not as the bundle
/// demands. Everything is undone then.
pub(crate) fn restore(
    root: &Path,
    request: &RestoreRequest,
    attachment: &Attachment,
) -> Result<u8> {
    let (mode, mut foreground) = begin(attachment)?;
    let mut rollback = Rollback::default();
    let restored = perform(root, request, mode, (&mut rollback, &mut foreground));
    match restored.inspect_err(|_| rollback.undo()) {
        Ok(state) => stay(rollback, (state, None), attachment, foreground),
        Err(error) => foreground::end_with(error, foreground),
    }
}

/// What is made on the host before CRIU starts.
struct Prepared {
    plan: Plan,
    images: Images,
    inherited: Inherited,
    sources: Sources,
    listeners: Listeners,
    state: State,
}

fn perform(
    root: &Path,
    request: &RestoreRequest,
    mode: CreateMode,
    (rollback, foreground): (&mut Rollback, &mut Option<Foreground>),
) -> Result<State> {
    prctl::set_dumpable(false).context("become non-dumpable")?;
    let proc = Proc::open().context("/proc")?;
    let Prepared {
        plan,
        mut images,
        inherited,
        sources,
        listeners: Listeners { console, relay, .. },
        mut state,
    } = prepare(root, request, mode, (rollback, &proc))?;
    let parts = (&plan, &request.common, &inherited, &mut images);
    let (service, criu, staged) = start(parts, sources, rollback, (&mut state, &proc))?;
    let empty_network = request.common.empty_network || !images.have_network()?;
    let options = options::all(
        request,
        (&plan, &staged),
        (&images, &inherited),
        (criu, &proc),
        empty_network,
    )?;
    let Some(container) = &rollback.container else {
        bail!("nothing was made");
    };
    let mut restored = Restored {
        request,
        plan: &plan,
        container,
        state,
        proc: &proc,
        staged: &staged,
        brings_up_loopback: empty_network && *plan.namespaces.place(Kind::Network) == Place::New,
        child: None,
        refused: false,
        finished: false,
    };
    let done = service.perform(Task::Restore, options, &proc, |notice| {
        let answered = restored.answer(notice, console.as_ref().map(AsFd::as_fd), foreground);
        restored.refused |= answered.is_err();
        answered
    });
    let done = done.map_err(|failure| {
        restored.kill_all();
        images.explain(failure, LOG)
    });
    let (state, finished) = (restored.state, restored.finished);
    let mut pid = None;
    if let Some(child) = restored.child {
        pid = Some(child.pid);
        rollback.child = Some(child);
    }
    done?;
    let pid = pid.filter(|_| finished).context("criu: restored nothing")?;
    rollback.pid_file = write_pid_file(request.container.pid_file.as_deref(), pid)?;
    // CRIU has ended, and need not be killed with the others any more.
    state.save(container.as_fd())?;
    rollback.directories.finish();
    if let (Some(foreground), Some((caller, socket))) = (foreground.as_mut(), relay) {
        foreground.serve(Some(Relay::new(caller, &socket)?), None);
    }
    log::flush_deferred_warnings();
    Ok(state)
}

/// Takes what the container needs from the host, as `create` does.
fn prepare(
    root: &Path,
    request: &RestoreRequest,
    mode: CreateMode,
    (rollback, proc): (&mut Rollback, &Proc),
) -> Result<Prepared> {
    let host = Host::probe(proc)?;
    let plan = decide(root, &request.container, mode, &host, proc)?;
    refuse(&plan)?;
    let (images, work) = (&request.common.images, request.common.work.as_deref());
    let images = Images::open(images, work)?;
    let joined = plan.namespaces.wire()?;
    let listeners = Listeners::connect(&request.container, &plan, mode)?;
    let resctrl = open_groups(&plan, proc)?;
    let initial = || initial_state(&request.container, (&plan, resctrl.as_ref()), &host, proc);
    let (container, mut state) = Container::new(root, &request.container.id, initial)?;
    let container = rollback.container.insert(container);
    let (lease, files) = take_lease(&plan, container, &mut state, &mut rollback.network, proc)?;
    rollback.cgroups = Some(plan.cgroups.wire()?);
    make_groups(&plan, resctrl, &mut rollback.resctrl, &mut state)?;
    plan.rootfs.wire(&mut rollback.directories)?;
    upper::refuse_shared(container, &state, proc)?;
    let sources = open_sources(&plan, &host, &joined, proc)?;
    let sources = sources.context("CRIU needs root on the host")?;
    let inherited = Inherited::open(&plan, &images, lease, proc)?;
    Ok(Prepared {
        sources: sources.with_files(files),
        plan,
        images,
        inherited,
        listeners,
        state,
    })
}

/// # Errors
/// For what CRIU cannot restore, by its place in config.json.
fn refuse(plan: &Plan) -> Result<()> {
    ensure!(
        geteuid().is_root(),
        "CRIU can restore containers of root on the host only"
    );
    for kind in [Kind::Mount, Kind::Cgroup] {
        ensure!(
            !matches!(plan.namespaces.place(kind), Place::Joined { .. }),
            "linux.namespaces: CRIU cannot restore a container that joins a {kind} namespace"
        );
    }
    ensure!(
        plan.rootfs.can_be_staged(),
        "restore needs mount_setattr(2) (Linux 5.12)"
    );
    ensure!(
        plan.net_devices.is_none(),
        "linux.netDevices: CRIU cannot restore devices of the host"
    );
    ensure!(
        plan.network.is_none() || *plan.namespaces.place(Kind::User) == Place::Shared,
        "annotations: rt.network.bridge: CRIU cannot restore it in a user namespace"
    );
    ensure!(
        *plan.namespaces.place(Kind::Mount) == Place::New,
        "linux.namespaces: CRIU cannot restore a container without a mount namespace of its own"
    );
    ensure!(
        plan.process
            .filter()
            .is_none_or(|filter| filter.agent().is_none()),
        "linux.seccomp: CRIU cannot restore the connection to the agent of SCMP_ACT_NOTIFY"
    );
    Ok(())
}

/// Starts CRIU in the container's cgroups. Returns its pid, and what it has of the mounts.
fn start(
    (plan, common, inherited, images): (&Plan, &CriuRequest, &Inherited, &mut Images),
    sources: Sources,
    rollback: &mut Rollback,
    (state, proc): (&mut State, &Proc),
) -> Result<(Service, Pid, Staged)> {
    let (Some(container), Some(cgroups)) = (&rollback.container, &mut rollback.cgroups) else {
        bail!("nothing was made");
    };
    let (end, own_end) = ipc::pair(|| plan.step_descriptions()).context("socketpair")?;
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).context("pipe")?;
    let swrk = Swrk::new()?;
    let cloned = sys::clone3(CloneFlags::CLONE_NEWNS, cgroups.clone_into()).context("criu")?;
    let child = match cloned {
        Cloned::Parent { pid, pidfd } => rollback.child.insert(Child { pid, pidfd }),
        Cloned::Child => {
            drop((end, reader));
            let stage = Stage {
                plan,
                end: own_end,
                directory: place::of_mounts(plan, container),
                images,
                sources,
                proc,
                answer: writer,
            };
            stage.become_criu(&swrk, &common.criu, &inherited.descriptors())
        }
    };
    drop((own_end, sources, writer));
    let service = swrk.started(child.pid)?;
    cgroups.add_process(child.pid)?;
    if let Some(group) = &rollback.resctrl {
        group.join(child.pid)?;
    }
    state.set_cgroups(cgroups);
    state.set_init_process(child.pid, plan, proc)?;
    with_criu(state, common).save(container.as_fd())?;
    let staged = receive(&end, reader, plan)?;
    images.enter(child.pid, &staged.path, proc)?;
    Ok((service, child.pid, staged))
}

/// The state while CRIU and what it has made are in the cgroup.
fn with_criu(state: &State, common: &CriuRequest) -> State {
    State {
        own_pid_namespace: false,
        restore_directory: Some(common.work_directory().to_owned()),
        ..state.clone()
    }
}

/// CRIU's process before it executes CRIU.
struct Stage<'a> {
    plan: &'a Plan,
    end: InitEnd,
    /// The directory over which the mounts are staged.
    directory: PathBuf,
    images: &'a Images,
    sources: Sources,
    proc: &'a Proc,
    answer: OwnedFd,
}

impl Stage<'_> {
    /// Stages the mounts and executes CRIU, or reports the failure and exits.
    fn become_criu(self, swrk: &Swrk, criu: &Criu, inherited: &[BorrowedFd]) -> ! {
        let at = Progress::new();
        self.end.follow(&at);
        let Stage {
            plan,
            end,
            directory,
            images,
            mut sources,
            proc,
            answer,
        } = self;
        let staged = (|| {
            end.wait_for_go()?;
            let staged =
                plan.rootfs
                    .stage((&directory, images.directories()), &mut sources, proc, &at)?;
            let text = serde_json::to_vec(&staged).map_err(|_| Errno::EINVAL)?;
            let written = File::from(answer).write_all(&text);
            written.map_err(|_| Cause::from(Errno::EPIPE))
        })();
        drop(sources);
        match staged {
            Ok(()) => drop(criu.execute(swrk, inherited)),
            Err(cause) => end.send_failure(at.failed(cause)),
        }
        sys::exit(127)
    }
}

/// Lets CRIU's process go on, and waits until it executes CRIU.
fn receive(end: &RuntimeEnd, answer: OwnedFd, plan: &Plan) -> Result<Staged> {
    end.go().context("criu")?;
    let mut text = Vec::new();
    File::from(answer).read_to_end(&mut text).context("criu")?;
    match end.receive()? {
        InitMessage::Closed => serde_json::from_slice(&text).context("criu"),
        InitMessage::Failed(failure) => Err(plan.explain(failure)),
        InitMessage::Ready | InitMessage::Mounted | InitMessage::Listener { .. } => {
            bail!(UNEXPECTED_MESSAGE)
        }
    }
}

/// The container while CRIU restores it.
struct Restored<'a> {
    request: &'a RestoreRequest,
    plan: &'a Plan,
    container: &'a Container,
    state: State,
    proc: &'a Proc,
    staged: &'a Staged,
    /// CRIU leaves the new network namespace as it is.
    brings_up_loopback: bool,
    /// The restored process.
    child: Option<Child>,
    /// The answer to a notice was a failure. CRIU goes on after some of them.
    refused: bool,
    /// The processes are as the bundle demands.
    finished: bool,
}

impl Restored<'_> {
    fn answer(
        &mut self,
        notice: Notice,
        console: Option<BorrowedFd>,
        foreground: &mut Option<Foreground>,
    ) -> Result<()> {
        match notice {
            Notice::NamespacesReady { pid } => self.call_hooks(pid, foreground),
            Notice::Restored { pid } => {
                let pidfd = sys::pidfd_open(pid).context("pidfd_open")?;
                self.child = Some(Child { pid, pidfd });
                Ok(())
            }
            Notice::BeforeResume => self.finish().inspect_err(|_| self.kill()),
            Notice::TerminalMaster(master) => {
                let console = console
                    .context("process.terminal: the images have one, and config.json has none")?;
                sys::send_descriptor(console, b"/dev/ptmx", master.as_fd())
                    .context("console socket")
            }
            Notice::StatusReady | Notice::Dumped | Notice::Other => Ok(()),
        }
    }

    /// As runc does: nothing is mounted at this moment of a restore.
    fn call_hooks(&self, pid: Pid, foreground: &mut Option<Foreground>) -> Result<()> {
        if self.brings_up_loopback {
            network::bring_up_loopback(pid, self.proc)?;
        }
        for (moment, hooks) in [
            (HookKind::Prestart, &self.plan.hooks.prestart),
            (HookKind::CreateRuntime, &self.plan.hooks.create_runtime),
        ] {
            let status = (&self.state, Status::Creating);
            foreground::call_hooks(foreground, None, |wait| {
                hooks::call(moment, hooks, status, (pid, None), wait)
            })?;
        }
        Ok(())
    }

    /// The processes do not run yet: they run after this, unless it fails.
    fn finish(&mut self) -> Result<()> {
        ensure!(!self.refused, "criu: restored what was refused");
        let pid = self.child.as_ref().context("criu: restored nothing")?.pid;
        verify::compare(
            pid,
            (self.plan, self.staged),
            &self.state.cgroups(),
            self.proc,
        )?;
        self.state.restored = true;
        self.state.set_init_process(pid, self.plan, self.proc)?;
        let exec = exec_defaults(&self.request.container, self.plan)?;
        self.state.finish(exec);
        // If this command is killed before CRIU has its answer, the processes never run; after that
        // they run, whoever is killed.
        let state = with_criu(&self.state, &self.request.common);
        state.save(self.container.as_fd())?;
        self.finished = true;
        Ok(())
    }

    /// CRIU would let the processes run all the same, so they have to end now.
    fn kill(&self) {
        if let Some(child) = &self.child {
            let _ended = sys::pidfd_send_signal(child.pidfd.as_fd(), libc::SIGKILL);
        }
        let _killed = surviving_cgroups(&self.state).kill(libc::SIGKILL);
    }

    /// After a failure CRIU has killed all processes and removed what it made, unless it was killed
    /// itself. It may have told of none of the processes then.
    fn kill_all(&self) {
        let cgroups = self.state.cgroups();
        if cgroups.are_own() {
            let _killed = teardown::kill_frozen(&cgroups);
        }
        self.kill();
        let _removed = yards::remove(self.request.common.work_directory());
    }
}
