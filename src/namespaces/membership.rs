//! The namespaces of a container that runs, for a process that joins it.
//!
//! A pidfd of the container's first process names all of them: one setns(2)
//! (Linux 5.8) enters whatever a process can enter itself. Its pid namespace it
//! has to be born in. From then on the container's processes see it, and those
//! with CAP_SYS_PTRACE may look into it (ptrace(2)), unless the container has a
//! user namespace of its own, where that right says nothing about a process that
//! is not dumpable and began outside (`__ptrace_may_access`). So without one a
//! forerunner, which nobody inside sees, enters everything and lets
//! go of whatever is the machine's, and the process is born of that.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, chroot, fchdir};
use serde::{Deserialize, Serialize};

use super::{Kind, Namespaces, Place, become_root, user};
use crate::log;
use crate::step::{Cause, Failure, Progress, Step};
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
    /// The other descriptors from 3 on that it needs.
    pub(crate) kept: Vec<RawFd>,
}

impl Birth<'_> {
    fn kept_and(&self, other: Option<BorrowedFd>) -> Vec<RawFd> {
        let other = other.map(|fd| fd.as_raw_fd());
        self.kept.iter().copied().chain(other).collect()
    }
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

    /// Makes the process that joins, in the container's pid namespace. It becomes
    /// `run`, which does not return, and learns whether it was born in all other
    /// namespaces and the root, too.
    ///
    /// # Errors
    /// No process is left.
    pub(crate) fn bear(
        &self,
        birth: &Birth,
        run: &mut dyn FnMut(bool),
    ) -> Result<(Pid, OwnedFd), Failure> {
        let at = Progress::new();
        at.enter(Step::JoinContainer);
        let failed = |errno: Errno| at.failed(errno.into());
        if self.exposes() {
            return self.clone_by_intermediate(birth, run);
        }
        if self.has(Kind::Pid) {
            match setns(birth.init, CloneFlags::CLONE_NEWPID) {
                // Only who is in the user namespace may.
                Err(Errno::EPERM) => return self.clone_by_intermediate(birth, run),
                done => done.map_err(failed)?,
            }
        }
        at.enter(Step::Clone);
        log::debug("Clone: container: make a process in it");
        match sys::clone3(CloneFlags::empty(), birth.cgroup).map_err(failed)? {
            Cloned::Init => {
                // Without a word: the runtime sees the end of the socket.
                if sys::keep_only(birth.kept_and(birth.root)).is_err() {
                    sys::exit(1);
                }
                run(false);
                sys::exit(1)
            }
            Cloned::Runtime { pid, pidfd } => Ok((pid, pidfd)),
        }
    }

    /// The forerunner stands in this process's memory, so that it costs little, but
    /// has descriptors of its own, of which the process is born with a copy.
    fn clone_by_intermediate(
        &self,
        birth: &Birth,
        run: &mut dyn FnMut(bool),
    ) -> Result<(Pid, OwnedFd), Failure> {
        let at = Progress::new();
        let failed = |errno: Errno| at.failed(errno.into());
        log::debug("Clone: container: make a process in it");
        // What it says if it is killed.
        let mut born = Err(Errno::ECANCELED);
        let forerunner = sys::run_ahead(&mut || {
            born = self.go_ahead(birth, &at).map(|cloned| match cloned {
                Cloned::Init => {
                    run(true);
                    sys::exit(1)
                }
                Cloned::Runtime { pid, .. } => pid,
            });
        });
        waitpid(forerunner.map_err(failed)?, Some(WaitPidFlag::__WALL)).map_err(failed)?;
        let pid = born.map_err(failed)?;
        Ok((pid, sys::pidfd_open(pid).map_err(failed)?))
    }

    fn go_ahead(&self, birth: &Birth, at: &Progress) -> nix::Result<Cloned> {
        at.enter(Step::JoinContainer);
        // Nobody who shares memory enters a time namespace (time_namespaces(7)).
        setns(birth.init, self.flags() - Kind::Time.flag())?;
        prctl::set_dumpable(false)?;
        enter_root(birth.root)?;
        at.enter(Step::Descriptors);
        sys::keep_only(birth.kept_and(birth.cgroup))?;
        at.enter(Step::Clone);
        sys::clone3(CloneFlags::CLONE_PARENT, birth.cgroup)
    }

    /// The process that joins: enters what it was not born in, which is all but the
    /// pid namespace or, born `inside`, no more than the time namespace.
    pub(crate) fn join(
        &self,
        (init, root): (BorrowedFd, Option<BorrowedFd>),
        inside: bool,
        at: &Progress,
    ) -> Result<(), Cause> {
        at.enter(Step::JoinContainer);
        let flags = match inside {
            true => self.flags() & Kind::Time.flag(),
            false => self.flags() - CloneFlags::CLONE_NEWPID,
        };
        if !flags.is_empty() {
            setns(init, flags)?;
            // With other rights comes what fs.suid_dumpable says.
            prctl::set_dumpable(false)?;
        }
        if !inside {
            enter_root(root)?;
        }
        Ok(())
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
