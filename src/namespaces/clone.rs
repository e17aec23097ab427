//! How init comes into being: by one clone3(2) out of the runtime, or out of a
//! forerunner.
//!
//! Who is born into a user namespace has no rights in namespaces that others
//! own, and what is made before a user namespace is entered does not belong to
//! it. So where a container has a user namespace, new or joined, and joins
//! anything by path, a forerunner goes first: it enters what is joined, makes
//! the user namespace if it is to be new, clones init as its own sibling
//! (`CLONE_PARENT`), and ends. Init is the runtime's child either way. One also
//! goes where the runtime could enter a pid namespace for init's birth and not
//! come back to its own: root of somebody else's user namespace, in a pid
//! namespace of the machine.
//!
//! ```text
//!   runtime                            forerunner                     init
//!   clone3 ───────────────────────────▶ joins
//!   writes the id maps ◀─────── Unmapped  (only if the user namespace is new)
//!   Mapped ───────────────────────────▶ clone3(CLONE_PARENT) ─────────▶ (waits)
//!          ◀──────────────── its pid, or Failed
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

/// Why there is no init.
pub(crate) enum CloneError {
    /// A position in the plan.
    At(Failure),
    /// The runtime's own part failed.
    Outside(anyhow::Error),
}

impl Namespaces {
    /// Makes init, in every namespace that it can be born in, and in the cgroup
    /// `cgroup` if one is given.
    ///
    /// # Errors
    /// Nobody is left behind.
    pub(crate) fn clone(
        &self,
        joined: &Joined,
        cgroup: Option<BorrowedFd>,
        proc: &Proc,
    ) -> Result<Cloned, CloneError> {
        if self.needs_intermediate(joined) {
            let map = |pid| match self.new_maps() {
                Some(maps) => maps.write(pid, proc),
                None => Ok(()),
            };
            return clone_by_intermediate(map, |runtime, at| {
                self.go_ahead(joined, cgroup, runtime, at)
            });
        }
        let at = Progress::new();
        at.enter(Step::Clone);
        log::debug("Clone: linux.namespaces: make init");
        let cloned = self.clone_directly(joined, cgroup);
        cloned.map_err(|errno| CloneError::At(at.failed(errno.into())))
    }

    /// Runtime: the ids of init's new user namespace, unless a forerunner has
    /// brought them.
    ///
    /// # Errors
    /// By place in config.json.
    pub(crate) fn map(&self, joined: &Joined, pid: Pid, proc: &Proc) -> anyhow::Result<()> {
        match self.new_maps() {
            Some(maps) if !self.needs_intermediate(joined) => maps.write(pid, proc),
            _ => Ok(()),
        }
    }

    pub(super) fn needs_intermediate(&self, joined: &Joined) -> bool {
        let no_way_back = joined.get(Kind::Pid).is_some() && joined.own_pid.is_none();
        no_way_back || self.brings_rights(joined)
    }

    /// Whether what is joined is entered by way of a user namespace.
    pub(super) fn brings_rights(&self, joined: &Joined) -> bool {
        *self.place(Kind::User) != Place::Shared && !joined.open.is_empty()
    }

    /// With the child born in the joined pid namespace if there is one; the
    /// runtime's children after it are born in its own again
    /// (pid_namespaces(7): setns(2) moves only children).
    fn clone_directly(&self, joined: &Joined, cgroup: Option<BorrowedFd>) -> nix::Result<Cloned> {
        let flags = self.clone_flags();
        if let (Some(theirs), Some(own)) = (joined.get(Kind::Pid), &joined.own_pid) {
            setns(theirs, CloneFlags::CLONE_NEWPID)?;
            let cloned = sys::clone3(flags, cgroup);
            if !matches!(cloned, Ok(Cloned::Init)) {
                setns(own, CloneFlags::CLONE_NEWPID)?;
            }
            return cloned;
        }
        clone_mapped(self.new_maps(), flags, cgroup)
    }

    /// The forerunner's part.
    fn go_ahead(
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
            // Nobody in a joined pid namespace can see this process.
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

/// clone3(2) of a process whose ids are to be mapped: it takes back what that needs
/// before it has anything to hide.
pub(super) fn clone_mapped(
    maps: Option<&Maps>,
    flags: CloneFlags,
    cgroup: Option<BorrowedFd>,
) -> nix::Result<Cloned> {
    let bare = maps.is_some_and(Maps::needs_dumpable);
    if bare {
        prctl::set_dumpable(true)?;
    }
    let cloned = sys::clone3(flags, cgroup);
    if bare && !matches!(cloned, Ok(Cloned::Init)) {
        prctl::set_dumpable(false)?;
    }
    cloned
}

/// Sends a process ahead that does `go_ahead` and, with it, clones its own
/// sibling; `map` writes the ids of its user namespace when it asks for them.
///
/// # Errors
/// Nobody is left behind.
fn clone_by_intermediate(
    map: impl FnOnce(Pid) -> anyhow::Result<()>,
    go_ahead: impl FnOnce(&OwnedFd, &Progress) -> Result<Cloned, Cause>,
) -> Result<Cloned, CloneError> {
    let (ours, theirs) = sys::socketpair().map_err(outside)?;
    match sys::clone3(CloneFlags::empty(), None).map_err(outside)? {
        Cloned::Init => {
            drop(ours);
            let at = Progress::new();
            match go_ahead(&theirs, &at) {
                Ok(Cloned::Init) => Ok(Cloned::Init),
                Ok(Cloned::Runtime { pid, .. }) => end(&theirs, &pid.as_raw().to_le_bytes()),
                Err(cause) => end(&theirs, &at.failed(cause).encode()),
            }
        }
        Cloned::Runtime { pid, .. } => {
            drop(theirs);
            let born = attend(&ours, || map(pid));
            drop(ours); // One that still waits ends.
            let reaped = waitpid(pid, Some(WaitPidFlag::__WALL));
            let init = born?;
            reaped.map_err(outside)?;
            let pidfd = sys::pidfd_open(init).map_err(outside)?;
            Ok(Cloned::Runtime { pid: init, pidfd })
        }
    }
}

/// The runtime's part: maps when it is asked to, and learns who was born.
fn attend(
    forerunner: &OwnedFd,
    map: impl FnOnce() -> anyhow::Result<()>,
) -> Result<Pid, CloneError> {
    let mut map = Some(map);
    let mut bytes = [0; Failure::LENGTH + 1];
    loop {
        let length = sys::recv(forerunner.as_fd(), &mut bytes).map_err(outside)?;
        match bytes[..length] {
            [word] if [word] == UNMAPPED => {
                let map = map.take().ok_or_else(|| outside(Errno::EPROTO))?;
                map().map_err(CloneError::Outside)?;
                sys::send(forerunner.as_fd(), &MAPPED).map_err(outside)?;
            }
            [a, b, c, d] => return Ok(Pid::from_raw(i32::from_le_bytes([a, b, c, d]))),
            [a, b, c, d, e, f, g, h] => {
                let failure = Failure::decode([a, b, c, d, e, f, g, h]);
                return Err(failure.map_or_else(|| outside(Errno::EPROTO), CloneError::At));
            }
            _ => return Err(outside(Errno::EPROTO)),
        }
    }
}

fn outside(errno: Errno) -> CloneError {
    CloneError::Outside(anyhow!(errno).context("forerunner"))
}

/// The forerunner's last word. A runtime that is gone needs none.
fn end(runtime: &OwnedFd, word: &[u8]) -> ! {
    sys::send(runtime.as_fd(), word).unwrap_or_default();
    sys::exit(0)
}
