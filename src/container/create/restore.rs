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
mod restored;
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
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, geteuid, pipe2};

use super::claims::{Claims, claim};
use super::{Attachment, CreateMode, Listeners, Rollback, begin, decide, open_sources, stay};
use crate::container::checkpoint::CriuRequest;
use crate::container::checkpoint::images::Images;
use crate::container::child::Child;
use crate::container::foreground::{self, Foreground, Relay};
use crate::container::ipc::{
    self, InitEnd, InitMessage, RuntimeEnd, UNEXPECTED_MESSAGE, write_pid_file,
};
use crate::container::state::State;
use crate::criu::{Criu, Service, Swrk, Task};
use crate::host::Host;
use crate::log;
use crate::namespaces::{Kind, Place};
use crate::plan::Plan;
use crate::rootfs::{Sources, Staged};
use crate::step::{Cause, Progress};
use crate::sys::{self, Cloned};
use crate::trusted_proc::Proc;
use options::Inherited;
use request::LOG;
pub(crate) use request::RestoreRequest;
use restored::{Restored, with_criu};

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
        images: &images,
        criu,
        brings_up_loopback: empty_network && *plan.namespaces.place(Kind::Network) == Place::New,
        child: None,
        refused: false,
        finished: false,
    };
    let done = service.perform(Task::Restore, options, &proc, |notice| {
        restored.answer(notice, console.as_ref().map(AsFd::as_fd), foreground)
    });
    let done = done.map_err(|failure| {
        restored.kill_all();
        images.explain(failure, LOG, inherited.hint())
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
    let mut images = Images::open(images, work)?;
    images.demand_filter(plan.process.filter())?;
    let joined = plan.namespaces.wire()?;
    let listeners = Listeners::connect(&request.container, &plan, mode)?;
    let claims = claim(root, &request.container, (&plan, &host), rollback, proc)?;
    let Claims {
        state,
        lease,
        files,
    } = claims;
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
    plan.process.set_io_priority_of(child.pid)?;
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
        // What is made has exact modes.
        let caller_umask = umask(Mode::empty());
        let staged = (|| {
            end.wait_for_go()?;
            plan.process.prepare_criu(proc, &at)?;
            let staged =
                plan.rootfs
                    .stage((&directory, images.for_criu()), &mut sources, proc, &at)?;
            let text = serde_json::to_vec(&staged).map_err(|_| Errno::EINVAL)?;
            let written = File::from(answer).write_all(&text);
            written.map_err(|_| Cause::from(Errno::EPIPE))
        })();
        drop(sources);
        umask(caller_umask);
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
