//! Creates init: with one clone3(2) by the runtime, or with the help of an
//! intermediate process.
//!
//! A process that is cloned into a user namespace has no rights in namespaces
//! owned by another one, and a namespace created before a user namespace is
//! entered is not owned by it (user_namespaces(7)). A container that has a user
//! namespace, new or joined, and joins any namespace by path therefore needs an
//! intermediate process. That process enters the joined namespaces, creates the
//! user namespace if it is new, clones init as its own sibling (`CLONE_PARENT`),
//! and exits. Init is the runtime's child in either case.
//!
//! An intermediate process is also needed when the runtime could not return to
//! its own pid namespace after cloning init into a joined one. This is the case
//! when the runtime is root of a user namespace that does not own its pid
//! namespace.
//!
//! ```text
//!   runtime                       intermediate process                init
//!   clone3 ───────────────────────────▶ joins
//!   writes the id maps ◀─────── Unmapped  (only if the user namespace is new)
//!   Mapped ───────────────────────────▶ clone3(CLONE_PARENT) ─────────▶ (waits)
//!          ◀──────────────── init's pid, or Failure
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::anyhow;
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::join::join_all;
use super::{Joined, Kind, Maps, Namespaces, Place};
use crate::log;
use crate::step::{Cause, Failure, Progress, Step};
use crate::sys::{self, Cloned};
use crate::trusted_proc::Proc;

const UNMAPPED: [u8; 1] = [1];
const MAPPED: [u8; 1] = [2];

/// Why init could not be created.
pub(crate) enum CloneError {
    /// A step of the plan failed, in the runtime or in the intermediate process.
    Step(Failure),
    /// The runtime could not set up the intermediate process or talk to it.
    Runtime(anyhow::Error),
}

impl Namespaces {
    /// Clones init into every namespace that clone3(2) can create, and into the
    /// cgroup v2 directory `cgroup` if one is given.
    ///
    /// # Errors
    /// When a namespace cannot be created or joined, or the id maps cannot be
    /// written. No child process remains.
    pub(crate) fn clone(
        &self,
        joined: &Joined,
        cgroup: Option<BorrowedFd>,
        proc: &Proc,
    ) -> Result<Cloned, CloneError> {
        if self.needs_intermediate(joined) {
            let write_maps = |pid| match self.new_maps() {
                Some(maps) => maps.write(pid, proc),
                None => Ok(()),
            };
            return clone_by_intermediate(write_maps, |runtime, at| {
                self.join_and_clone(joined, cgroup, runtime, at)
            });
        }
        let at = Progress::new();
        at.enter(Step::Clone);
        log::debug("Clone: linux.namespaces: make init");
        let cloned = self.clone_directly(joined, cgroup);
        cloned.map_err(|errno| CloneError::Step(at.failed(errno.into())))
    }

    /// Runtime: writes the id maps of init's new user namespace, unless they were
    /// written while the intermediate process waited for them.
    ///
    /// # Errors
    /// When the kernel or newuidmap(1) refuses a map. The error names its place in
    /// config.json.
    pub(crate) fn write_id_maps(
        &self,
        joined: &Joined,
        pid: Pid,
        proc: &Proc,
    ) -> anyhow::Result<()> {
        match self.new_maps() {
            Some(maps) if !self.needs_intermediate(joined) => maps.write(pid, proc),
            _ => Ok(()),
        }
    }

    pub(super) fn needs_intermediate(&self, joined: &Joined) -> bool {
        let cannot_return = joined.get(Kind::Pid).is_some() && joined.own_pid.is_none();
        cannot_return || self.joins_with_user_namespace(joined)
    }

    /// Whether the container has a user namespace and joins any namespace by path.
    pub(super) fn joins_with_user_namespace(&self, joined: &Joined) -> bool {
        *self.place(Kind::User) != Place::Shared && !joined.open.is_empty()
    }

    /// Clones init from the runtime, into the joined pid namespace if there is one.
    /// The runtime then sets its own pid namespace for its later children: setns(2)
    /// changes the pid namespace of children only (pid_namespaces(7)).
    fn clone_directly(&self, joined: &Joined, cgroup: Option<BorrowedFd>) -> nix::Result<Cloned> {
        let flags = self.clone_flags();
        if let (Some(target), Some(own)) = (joined.get(Kind::Pid), &joined.own_pid) {
            setns(target, CloneFlags::CLONE_NEWPID)?;
            let cloned = sys::clone3(flags, cgroup);
            if !matches!(cloned, Ok(Cloned::Child)) {
                setns(own, CloneFlags::CLONE_NEWPID)?;
            }
            return cloned;
        }
        clone_for_mapping(self.new_maps(), flags, cgroup)
    }

    /// Intermediate process: joins the namespaces, creates a new user namespace if
    /// the container has one, and clones init as its sibling.
    fn join_and_clone(
        &self,
        joined: &Joined,
        cgroup: Option<BorrowedFd>,
        runtime: &OwnedFd,
        at: &Progress,
    ) -> Result<Cloned, Cause> {
        join_all(joined, at)?;
        at.enter(Step::Clone);
        if let Some(maps) = self.new_maps() {
            unshare(CloneFlags::CLONE_NEWUSER)?;
            // This process is not in a joined pid namespace itself, so the processes
            // there cannot see it while it is dumpable.
            prctl::set_dumpable(maps.needs_dumpable())?;
            sys::send(runtime.as_fd(), &UNMAPPED)?;
            let mut answer = [0; 2];
            if sys::recv(runtime.as_fd(), &mut answer)? != 1 || answer[..1] != MAPPED {
                return Err(Errno::ECANCELED.into());
            }
            prctl::set_dumpable(false)?;
        }
        let flags = self.clone_flags() - CloneFlags::CLONE_NEWUSER;
        Ok(sys::clone3(flags | CloneFlags::CLONE_PARENT, cgroup)?)
    }
}

/// Clones a process whose id maps the caller writes next. If writing them needs a
/// dumpable child, the child is created dumpable; it must clear the attribute
/// itself before it holds anything that others must not read.
pub(super) fn clone_for_mapping(
    maps: Option<&Maps>,
    flags: CloneFlags,
    cgroup: Option<BorrowedFd>,
) -> nix::Result<Cloned> {
    let dumpable = maps.is_some_and(Maps::needs_dumpable);
    if dumpable {
        prctl::set_dumpable(true)?;
    }
    let cloned = sys::clone3(flags, cgroup);
    if dumpable && !matches!(cloned, Ok(Cloned::Child)) {
        prctl::set_dumpable(false)?;
    }
    cloned
}

/// Creates an intermediate process that calls `join_and_clone`, and waits for it.
/// `write_maps` writes the id maps of its user namespace when it asks for them.
///
/// # Errors
/// No child process remains.
fn clone_by_intermediate(
    write_maps: impl FnOnce(Pid) -> anyhow::Result<()>,
    join_and_clone: impl FnOnce(&OwnedFd, &Progress) -> Result<Cloned, Cause>,
) -> Result<Cloned, CloneError> {
    let (ours, theirs) = sys::socketpair().map_err(runtime_error)?;
    match sys::clone3(CloneFlags::empty(), None).map_err(runtime_error)? {
        Cloned::Child => {
            drop(ours);
            let at = Progress::new();
            match join_and_clone(&theirs, &at) {
                Ok(Cloned::Child) => Ok(Cloned::Child),
                Ok(Cloned::Parent { pid, .. }) => {
                    send_and_exit(&theirs, &pid.as_raw().to_le_bytes())
                }
                Err(cause) => send_and_exit(&theirs, &at.failed(cause).encode()),
            }
        }
        Cloned::Parent { pid, .. } => {
            drop(theirs);
            let received = receive_init_pid(&ours, || write_maps(pid));
            drop(ours); // An intermediate process that still waits for its maps exits.
            let reaped = waitpid(pid, Some(WaitPidFlag::__WALL));
            let init = received?;
            reaped.map_err(runtime_error)?;
            let pidfd = sys::pidfd_open(init).map_err(runtime_error)?;
            Ok(Cloned::Parent { pid: init, pidfd })
        }
    }
}

/// Runtime: receives init's pid from the intermediate process, and writes the id
/// maps when it asks for them.
fn receive_init_pid(
    intermediate: &OwnedFd,
    write_maps: impl FnOnce() -> anyhow::Result<()>,
) -> Result<Pid, CloneError> {
    let mut write_maps = Some(write_maps);
    let mut bytes = [0; Failure::LENGTH + 1];
    loop {
        let length = sys::recv(intermediate.as_fd(), &mut bytes).map_err(runtime_error)?;
        match bytes[..length] {
            [message] if [message] == UNMAPPED => {
                let write_maps = write_maps
                    .take()
                    .ok_or_else(|| runtime_error(Errno::EPROTO))?;
                write_maps().map_err(CloneError::Runtime)?;
                sys::send(intermediate.as_fd(), &MAPPED).map_err(runtime_error)?;
            }
            [a, b, c, d] => return Ok(Pid::from_raw(i32::from_le_bytes([a, b, c, d]))),
            [a, b, c, d, e, f, g, h] => {
                let failure = Failure::decode([a, b, c, d, e, f, g, h]);
                return Err(failure.map_or_else(|| runtime_error(Errno::EPROTO), CloneError::Step));
            }
            _ => return Err(runtime_error(Errno::EPROTO)),
        }
    }
}

fn runtime_error(errno: Errno) -> CloneError {
    CloneError::Runtime(anyhow!(errno).context("intermediate process"))
}

/// Intermediate process: sends its result and exits. An error of send(2) is
/// ignored: it means that the runtime has ended.
fn send_and_exit(runtime: &OwnedFd, result: &[u8]) -> ! {
    sys::send(runtime.as_fd(), result).unwrap_or_default();
    sys::exit(0)
}
