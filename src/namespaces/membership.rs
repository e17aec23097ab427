//! The namespaces of a container that runs, for a process that joins it.
//!
//! A pidfd of the container's first process names all of them: one setns(2)
//! (Linux 5.8) enters whatever a process can enter itself. Its pid namespace it
//! has to be born in. Whoever rules the machine enters that one for its next
//! child; who does not must be in the user namespace first, and sends a
//! forerunner (`birth.rs`) that enters everything.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use serde::{Deserialize, Serialize};

use super::birth::send_forerunner;
use super::{Kind, Namespaces, Place, Stillborn, become_root, user};
use crate::log;
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

/// A process that was made to join a container.
pub(crate) enum Born {
    Runtime(Cloned),
    /// In the pid namespace; whether in all the others too.
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

    /// Makes the process that joins, in the pid namespace of the container whose
    /// first process `init` names, and in the cgroup `cgroup` if one is given.
    ///
    /// # Errors
    /// Nobody is left behind.
    pub(crate) fn bear(
        &self,
        init: BorrowedFd,
        cgroup: Option<BorrowedFd>,
    ) -> Result<Born, Stillborn> {
        let at = Progress::new();
        at.enter(Step::JoinContainer);
        let stillborn = |errno: Errno| Stillborn::At(at.failed(errno.into()));
        if self.has(Kind::Pid) {
            match setns(init, CloneFlags::CLONE_NEWPID) {
                Err(Errno::EPERM) if self.has(Kind::User) => {
                    return self.send_forerunner(init, cgroup);
                }
                done => done.map_err(stillborn)?,
            }
        }
        at.enter(Step::Clone);
        log::debug("Clone: container: make a process in it");
        let cloned = sys::clone3(CloneFlags::empty(), cgroup).map_err(stillborn)?;
        Ok(match cloned {
            Cloned::Init => Born::Guest { inside: false },
            Cloned::Runtime { .. } => Born::Runtime(cloned),
        })
    }

    fn send_forerunner(
        &self,
        init: BorrowedFd,
        cgroup: Option<BorrowedFd>,
    ) -> Result<Born, Stillborn> {
        let nothing_to_map = |_| Err(Errno::EPROTO.into());
        let cloned = send_forerunner(nothing_to_map, |_, at| {
            at.enter(Step::JoinContainer);
            setns(init, self.flags())?;
            prctl::set_dumpable(false)?;
            at.enter(Step::Clone);
            Ok(sys::clone3(CloneFlags::CLONE_PARENT, cgroup)?)
        })?;
        Ok(match cloned {
            Cloned::Init => Born::Guest { inside: true },
            Cloned::Runtime { .. } => Born::Runtime(cloned),
        })
    }

    /// The process that joins: enters what it was not born in.
    pub(crate) fn join(&self, init: BorrowedFd, at: &Progress) -> Result<(), Cause> {
        at.enter(Step::JoinContainer);
        let flags = self.flags() - CloneFlags::CLONE_NEWPID;
        if flags.is_empty() {
            return Ok(());
        }
        setns(init, flags)?;
        // With other rights comes what fs.suid_dumpable says.
        Ok(prctl::set_dumpable(false)?)
    }

    /// The process that joins: from here on it is root of the container's user
    /// namespace, if that has one. Until here it was the caller.
    pub(crate) fn become_root(&self, proc: &Proc, at: &Progress) -> Result<(), Cause> {
        if !self.has(Kind::User) {
            return Ok(());
        }
        at.enter(Step::NamespaceRoot);
        let (uids, gids) = user::own_maps(proc)?;
        become_root(uids.first().zip(gids.first()), at)
    }
}
