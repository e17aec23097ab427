//! The namespaces of a running container, and how an exec process joins them.
//!
//! One setns(2) with a pidfd of the container's init (Linux 5.8) enters all
//! namespaces that a process can enter itself. A pid namespace is entered by a
//! child only, so the exec process must be cloned into it. From then on the
//! container's processes see the exec process, and those with CAP_SYS_PTRACE may
//! read its memory (ptrace(2)). A user namespace prevents this: CAP_SYS_PTRACE in
//! it does not apply to a process that is not dumpable and started outside
//! (`__ptrace_may_access` in kernel/ptrace.c).
//!
//! For a container without a user namespace, an intermediate process that the
//! container cannot see therefore enters all namespaces, closes the descriptors of
//! the host, and then clones the exec process.

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

/// The namespaces of a container that are not shared with its runtime. The field
/// names are keys of state.json.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Membership {
    /// In the order in which they are entered.
    own: Vec<Kind>,
    /// The part of `own` that was joined by path. Such a path may name a namespace of
    /// the runtime.
    joined: Vec<Kind>,
}

/// The arguments for cloning an exec process.
pub(crate) struct ExecClone<'a> {
    /// A pidfd of the container's init.
    pub(crate) init: BorrowedFd<'a>,
    /// The root directory of init, if it differs from that of its mount namespace.
    pub(crate) root: Option<BorrowedFd<'a>>,
    /// The cgroup v2 directory to clone into, if there is one.
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
    /// The other descriptors from 3 on that the exec process needs.
    pub(crate) inherited_fds: Vec<RawFd>,
}

impl ExecClone<'_> {
    fn inherited_and(&self, another: Option<BorrowedFd>) -> Vec<RawFd> {
        let another = another.map(|fd| fd.as_raw_fd());
        self.inherited_fds.iter().copied().chain(another).collect()
    }
}

impl Namespaces {
    /// The [`Membership`] to save in state.json.
    pub(crate) fn membership(&self) -> Membership {
        let kinds = Kind::all().into_iter();
        let own = kinds.filter(|kind| *self.place(*kind) != Place::Shared);
        let own: Vec<Kind> = own.collect();
        let is_joined = |kind: &Kind| matches!(self.place(*kind), Place::Joined { .. });
        let joined = own.iter().copied().filter(is_joined).collect();
        Membership { own, joined }
    }
}

impl Membership {
    /// Runtime: the namespaces of the container whose init is `pid`, without those
    /// that this process is in already. For these, setns(2) would fail or need
    /// rights that the caller may lack.
    ///
    /// # Errors
    /// When init has ended.
    pub(crate) fn excluding_own(&self, pid: i32, proc: &Proc) -> nix::Result<Membership> {
        let mut remaining = self.clone();
        for kind in &self.joined {
            let theirs = proc.link_text(&format!("{pid}/ns/{}", kind.file()))?;
            let ours = proc.link_text(&format!("self/ns/{}", kind.file()))?;
            remaining.own.retain(|own| own != kind || theirs != ours);
        }
        Ok(remaining)
    }

    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.own.contains(&kind)
    }

    fn flags(&self) -> CloneFlags {
        let flags = self.own.iter().map(|kind| kind.flag());
        flags.fold(CloneFlags::empty(), |all, one| all | one)
    }

    /// Enters one of the namespaces, if the container has one of this kind.
    pub(crate) fn enter(&self, kind: Kind, init: BorrowedFd) -> nix::Result<()> {
        if self.has(kind) {
            setns(init, kind.flag())?;
            // A change of credentials resets this to fs.suid_dumpable.
            prctl::set_dumpable(false)?;
        }
        Ok(())
    }

    /// Whether processes of the container that have CAP_SYS_PTRACE could trace an
    /// exec process between clone3(2) and execve(2).
    pub(crate) fn exposes_exec_process(&self) -> bool {
        self.has(Kind::Pid) && !self.has(Kind::User)
    }

    /// Clones the exec process into the container's pid namespace. The child calls
    /// `run`, which does not return. The argument of `run` is true if the child was
    /// cloned in the container's other namespaces and root as well, except
    /// [`entered_by_exec_process`].
    ///
    /// # Errors
    /// When a namespace or the root cannot be entered, or clone3(2) fails. No child
    /// process remains.
    pub(crate) fn clone_exec_process(
        &self,
        request: &ExecClone,
        run: &mut dyn FnMut(bool),
    ) -> Result<(Pid, OwnedFd), Failure> {
        let at = Progress::new();
        at.enter(Step::JoinContainer);
        let failed = |errno: Errno| at.failed(errno.into());
        if self.exposes_exec_process() {
            return self.clone_by_intermediate(request, run);
        }
        if self.has(Kind::Pid) {
            match setns(request.init, CloneFlags::CLONE_NEWPID) {
                // An unprivileged caller must enter the container's user namespace first,
                // as the intermediate process does.
                Err(Errno::EPERM) => return self.clone_by_intermediate(request, run),
                done => done.map_err(failed)?,
            }
        }
        at.enter(Step::Clone);
        log::debug("Clone: container: make a process in it");
        match sys::clone3(CloneFlags::empty(), request.cgroup).map_err(failed)? {
            Cloned::Child => {
                // The runtime sees end of file on the socket.
                if sys::close_all_except(request.inherited_and(request.root)).is_err() {
                    sys::exit(1);
                }
                run(false);
                sys::exit(1)
            }
            Cloned::Parent { pid, pidfd } => Ok((pid, pidfd)),
        }
    }

    /// Clones the exec process from an intermediate process. That process shares this
    /// process's memory, which makes it cheap, but not its descriptors: the exec
    /// process gets a copy of the intermediate process's own table.
    fn clone_by_intermediate(
        &self,
        request: &ExecClone,
        run: &mut dyn FnMut(bool),
    ) -> Result<(Pid, OwnedFd), Failure> {
        let at = Progress::new();
        let failed = |errno: Errno| at.failed(errno.into());
        log::debug("Clone: container: make a process in it");
        // Stays so if the intermediate process is killed.
        let mut result = Err(Errno::ECANCELED);
        let intermediate = sys::clone_vfork(&mut || {
            result = self
                .join_and_clone(request, &at)
                .map(|cloned| match cloned {
                    Cloned::Child => {
                        run(true);
                        sys::exit(1)
                    }
                    Cloned::Parent { pid, .. } => pid,
                });
        });
        waitpid(intermediate.map_err(failed)?, Some(WaitPidFlag::__WALL)).map_err(failed)?;
        let pid = result.map_err(failed)?;
        Ok((pid, sys::pidfd_open(pid).map_err(failed)?))
    }

    /// Intermediate process: enters the container and clones the exec process as its
    /// sibling.
    fn join_and_clone(&self, request: &ExecClone, at: &Progress) -> nix::Result<Cloned> {
        at.enter(Step::JoinContainer);
        setns(request.init, self.flags() - entered_by_exec_process())?;
        prctl::set_dumpable(false)?;
        enter_root(request.root)?;
        at.enter(Step::Descriptors);
        sys::close_all_except(request.inherited_and(request.cgroup))?;
        at.enter(Step::Clone);
        sys::clone3(CloneFlags::CLONE_PARENT, request.cgroup)
    }

    /// Exec process: enters the namespaces that it was not cloned into. These are all
    /// but the pid namespace or, if it was cloned `inside` by an intermediate process,
    /// only [`entered_by_exec_process`].
    pub(crate) fn join(
        &self,
        (init, root): (BorrowedFd, Option<BorrowedFd>),
        inside: bool,
        at: &Progress,
    ) -> Result<(), Cause> {
        at.enter(Step::JoinContainer);
        let flags = if inside {
            self.flags() & entered_by_exec_process()
        } else {
            self.flags() - CloneFlags::CLONE_NEWPID
        };
        if !flags.is_empty() {
            setns(init, flags)?;
            // A change of credentials resets this to fs.suid_dumpable.
            prctl::set_dumpable(false)?;
        }
        if !inside {
            enter_root(root)?;
        }
        Ok(())
    }

    /// Exec process: takes the ids of root in the container's user namespace, if it
    /// has one. Before this the process has the caller's ids.
    pub(crate) fn become_root(&self, proc: Option<&Proc>, at: &Progress) -> Result<(), Cause> {
        if !self.has(Kind::User) {
            return Ok(());
        }
        at.enter(Step::NamespaceRoot);
        let (uids, gids) = user::own_maps(proc.ok_or(Errno::EPROTO)?)?;
        become_root(uids.first().zip(gids.first()), at)
    }
}

/// The namespaces that an intermediate process does not enter, for two reasons:
///
/// - A process that shares its memory cannot enter a time namespace (`timens_install` in
///   kernel/time/namespace.c).
/// - Where cgroup v2 is mounted with `nsdelegate`, as by systemd, a process in the container's
///   cgroup namespace cannot create another one in the container's cgroup, because its own
///   cgroup is outside of that namespace (`cgroup_procs_write_permission` in
///   kernel/cgroup/cgroup.c).
fn entered_by_exec_process() -> CloneFlags {
    Kind::Time.flag() | Kind::Cgroup.flag()
}

fn enter_root(root: Option<BorrowedFd>) -> nix::Result<()> {
    let Some(root) = root else {
        return Ok(());
    };
    fchdir(root)?;
    chroot(".")
}
