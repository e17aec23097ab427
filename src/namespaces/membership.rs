//! The namespaces of a container that runs, for a process that joins it.
//!
//! A pidfd of the container's first process names all of them: one setns(2)
//! (Linux 5.8) enters whatever a process can enter itself. Its pid namespace it
//! has to be born in. From then on the container's processes see it, and those
//! with CAP_SYS_PTRACE may look into it (ptrace(2)), unless the container has a
//! user namespace of its own, where that right says nothing about a process that
//! is not dumpable and began outside (`__ptrace_may_access`). So without one a
//! forerunner (`birth.rs`), which nobody inside sees, enters everything and lets
//! go of whatever is the machine's, and the process is born of that.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::unistd::{chroot, fchdir};
use serde::{Deserialize, Serialize};

use super::birth::send_forerunner;
use super::{Kind, Namespaces, Place, Stillborn, become_root, user};
use crate::step::{Cause, Progress, Step};
use crate::sys::{self, Cloned};
use crate::trusted_proc::Proc;

/// Which namespaces a container has that its runtime is not in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Membership {
    /// In the order in which they are entered.
    own: Vec<Kind>,
    /// Those of them that were joined by path: they may be the runtime's, after all.
    joined: Vec<Kind>,
}

/// What a process is born with that joins a container.
pub(crate) struct Birth<'a> {
    /// A pidfd of the container's first process.
    pub(crate) init: BorrowedFd<'a>,
    /// The root of that process, where its mount namespace has another.
    pub(crate) root: Option<BorrowedFd<'a>>,
    /// A cgroup of version 2.
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
    /// How many descriptors from 3 on the caller hands on.
    pub(crate) passed: u32,
    /// The other descriptors that it needs.
    pub(crate) kept: Vec<BorrowedFd<'a>>,
}

/// A process that was made to join a container.
pub(crate) enum Born {
    Runtime(Cloned),
    /// In the pid namespace; whether in all the others and in the root, too.
    Guest {
        inside: bool,
    },
}

impl Namespaces {
    /// What [`Membership`] is to be remembered of these.
    pub(crate) fn membership(&self) -> Membership {
        let all = Kind::all().into_iter();
        let own = all.filter(|kind| *self.place(*kind) != Place::Shared);
        let own: Vec<Kind> = own.collect();
        let is_joined = |kind: &Kind| matches!(self.place(*kind), Place::Joined { .. });
        let joined = own.iter().copied().filter(is_joined).collect();
        Membership { own, joined }
    }
}

impl Membership {
    /// Runtime: those that this process is not in already, of the container
    /// whose first process is `pid`. To enter one's own is an error of setns(2)
    /// or takes rights that are not needed.
    ///
    /// # Errors
    /// When the process is gone.
    pub(crate) fn seen_from_here(&self, pid: i32, proc: &Proc) -> nix::Result<Membership> {
        let mut seen = self.clone();
        for kind in &self.joined {
            let theirs = proc.link_text(&format!("{pid}/ns/{}", kind.file()))?;
            let ours = proc.link_text(&format!("self/ns/{}", kind.file()))?;
            seen.own.retain(|own| own != kind || theirs != ours);
        }
        Ok(seen)
    }

    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.own.contains(&kind)
    }

    fn flags(&self) -> CloneFlags {
        let flags = self.own.iter().map(|kind| kind.flag());
        flags.fold(CloneFlags::empty(), |all, one| all | one)
    }

    /// Whether the container's processes can see into one that joins before it is
    /// executed, if they have the right.
    pub(crate) fn exposes(&self) -> bool {
        self.has(Kind::Pid) && !self.has(Kind::User)
    }

    /// Makes the process that joins, in the container's pid namespace.
    ///
    /// # Errors
    /// No process is left.
    pub(crate) fn bear(&self, birth: &Birth) -> Result<Born, Stillborn> {
        let at = Progress::new();
        at.enter(Step::JoinContainer);
        let stillborn = |errno: Errno| Stillborn::At(at.failed(errno.into()));
        if self.exposes() {
            return self.send_forerunner(birth);
        }
        if self.has(Kind::Pid) {
            match setns(birth.init, CloneFlags::CLONE_NEWPID) {
                // Only who is in the user namespace may.
                Err(Errno::EPERM) => return self.send_forerunner(birth),
                done => done.map_err(stillborn)?,
            }
        }
        at.enter(Step::Clone);
        let cloned = sys::clone3(CloneFlags::empty(), birth.cgroup).map_err(stillborn)?;
        Ok(match cloned {
            Cloned::Init => Born::Guest { inside: false },
            Cloned::Runtime { .. } => Born::Runtime(cloned),
        })
    }

    fn send_forerunner(&self, birth: &Birth) -> Result<Born, Stillborn> {
        let nothing_to_map = |_| Err(Errno::EPROTO.into());
        let cloned = send_forerunner(nothing_to_map, |runtime, at| {
            at.enter(Step::JoinContainer);
            setns(birth.init, self.flags())?;
            prctl::set_dumpable(false)?;
            enter_root(birth.root)?;
            at.enter(Step::Descriptors);
            let own = [Some(runtime.as_fd()), birth.cgroup];
            let kept = birth.kept.iter().copied();
            sys::keep_only(birth.passed, kept.chain(own.into_iter().flatten()))?;
            at.enter(Step::Clone);
            Ok(sys::clone3(CloneFlags::CLONE_PARENT, birth.cgroup)?)
        })?;
        Ok(match cloned {
            Cloned::Init => Born::Guest { inside: true },
            Cloned::Runtime { .. } => Born::Runtime(cloned),
        })
    }

    /// The process that joins: enters what it was not born in.
    pub(crate) fn join(
        &self,
        init: BorrowedFd,
        root: Option<BorrowedFd>,
        at: &Progress,
    ) -> Result<(), Cause> {
        at.enter(Step::JoinContainer);
        let flags = self.flags() - CloneFlags::CLONE_NEWPID;
        if !flags.is_empty() {
            setns(init, flags)?;
            // With other rights comes what fs.suid_dumpable says.
            prctl::set_dumpable(false)?;
        }
        Ok(enter_root(root)?)
    }

    /// The process that joins: from here on it is root of the container's user
    /// namespace, if that has one. Until here it was the caller.
    pub(crate) fn become_root(&self, proc: Option<&Proc>, at: &Progress) -> Result<(), Cause> {
        if !self.has(Kind::User) {
            return Ok(());
        }
        at.enter(Step::NamespaceRoot);
        let (uids, gids) = user::own_maps(proc.ok_or(Errno::EPROTO)?)?;
        become_root(uids.first().zip(gids.first()), at)
    }
}

fn enter_root(root: Option<BorrowedFd>) -> nix::Result<()> {
    let Some(root) = root else {
        return Ok(());
    };
    fchdir(root)?;
    chroot(".")
}
