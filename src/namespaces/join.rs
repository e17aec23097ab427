//! Namespaces that the container joins by path.
//!
//! The runtime opens and checks them. Init or an intermediate process enters them
//! (`clone.rs` says which).

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Error, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::stat::{Mode, fstat, stat};
use nix::unistd::Pid;

use super::kind::KINDS;
use super::{Kind, Namespaces, Place};
use crate::step::{Cause, Progress, Step};
use crate::sys;
use crate::trusted_proc::Proc;

/// The namespaces that the container joins, opened before the clone.
pub(crate) struct Joined {
    /// Each with its index in `linux.namespaces`.
    pub(super) open: Vec<(Kind, usize, OwnedFd)>,
    /// The runtime's own pid namespace, to return to after init was cloned into a
    /// joined one. `None` when no pid namespace is joined, when an intermediate
    /// process enters it anyway, or when the runtime may not return.
    pub(super) own_pid: Option<OwnedFd>,
}

impl Joined {
    /// The network namespace that the container joins, or the new one of `init`.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn network(&self, init: Pid, proc: &Proc) -> Result<OwnedFd> {
        let opened = match self.get(Kind::Network) {
            Some(joined) => return joined.try_clone().context("network namespace"),
            None => proc.link(&format!("{init}/ns/net"), OFlag::O_RDONLY),
        };
        opened.with_context(|| format!("/proc/{init}/ns/net"))
    }

    pub(super) fn get(&self, kind: Kind) -> Option<&OwnedFd> {
        let mut open = self.open.iter();
        open.find_map(|(other, _, fd)| (*other == kind).then_some(fd))
    }
}

impl Namespaces {
    /// Runtime, before the clone: opens the namespaces to be joined, and checks
    /// that each file is a namespace of the right kind.
    ///
    /// # Errors
    /// When a file is missing, is not a namespace, or is a namespace of another
    /// kind, or when a setting would change a namespace of the host.
    pub(crate) fn wire(&self) -> Result<Joined> {
        let mut joined = Joined {
            open: Vec::new(),
            own_pid: None,
        };
        for kind in KINDS {
            joined.open.extend(self.open_joined(kind)?);
        }
        if joined.get(Kind::Pid).is_some() && !self.joins_with_user_namespace(&joined) {
            joined.own_pid = own_pid_namespace().context("/proc/self/ns/pid")?;
        }
        Ok(joined)
    }

    /// The errors of [`Namespaces::wire`] for each namespace that cannot be joined.
    pub(crate) fn unjoinable(&self) -> Vec<Error> {
        let opened = KINDS.into_iter().map(|kind| self.open_joined(kind));
        opened.filter_map(Result::err).collect()
    }

    /// Opens the namespace of this kind, if the container joins one by path.
    ///
    /// # Errors
    /// As [`Namespaces::wire`].
    pub(crate) fn open_joined(&self, kind: Kind) -> Result<Option<(Kind, usize, OwnedFd)>> {
        let Place::Joined { index, path } = self.place(kind) else {
            return Ok(None);
        };
        let fd = open_namespace(kind, path)
            .with_context(|| format!("linux.namespaces[{index}].path"))?;
        self.refuse_host_settings_by_path(kind, &fd)?;
        Ok(Some((kind, *index, fd)))
    }

    /// A path can name a namespace of the host, whose settings must not change.
    fn refuse_host_settings_by_path(&self, kind: Kind, fd: &OwnedFd) -> Result<()> {
        let sysctls = self.sysctls.iter().filter(|sysctl| sysctl.kind == kind);
        let mut settings: Vec<String> = sysctls
            .map(|sysctl| format!("linux.sysctl: {}", sysctl.key))
            .collect();
        if kind == Kind::Uts {
            settings.extend(self.hostname.iter().map(|_| "hostname".to_owned()));
            settings.extend(self.domainname.iter().map(|_| "domainname".to_owned()));
        }
        let Some(setting) = settings.first() else {
            return Ok(());
        };
        let own = is_own(kind, fd).with_context(|| format!("/proc/self/ns/{}", kind.file()))?;
        ensure!(
            !own,
            "{setting}: the {kind} namespace that the container joins is the host's"
        );
        Ok(())
    }

    /// Init, first: enters the namespaces that are joined by path. Does nothing if an
    /// intermediate process has entered them; the pid namespace was entered by clone3(2).
    pub(crate) fn join(&self, joined: &Joined, at: &Progress) -> Result<(), Cause> {
        if self.needs_intermediate(joined) {
            return Ok(());
        }
        for (kind, index, fd) in joined.open.iter().filter(|(kind, ..)| *kind != Kind::Pid) {
            at.at(Step::JoinNamespace, *index);
            setns(fd, kind.flag())?;
        }
        Ok(())
    }
}

/// Enters all joined namespaces.
///
/// setns(2) needs CAP_SYS_ADMIN in the user namespace that owns the target. A
/// namespace owned by the host can only be entered before the user namespace, and
/// one owned by that user namespace possibly only after it. So every namespace is
/// tried first, and again after the user namespace if it was refused.
pub(super) fn join_all(joined: &Joined, at: &Progress) -> Result<(), Cause> {
    let mut refused = Vec::new();
    for (kind, index, fd) in joined.open.iter().filter(|(kind, ..)| *kind != Kind::User) {
        at.at(Step::JoinNamespace, *index);
        match setns(fd, kind.flag()) {
            Err(Errno::EPERM) => refused.push((kind, index, fd)),
            done => done?,
        }
    }
    if let Some((_, index, fd)) = joined.open.iter().find(|(kind, ..)| *kind == Kind::User) {
        at.at(Step::JoinNamespace, *index);
        match setns(fd, CloneFlags::CLONE_NEWUSER) {
            // A process cannot enter the user namespace that it is in (setns(2)).
            Err(Errno::EINVAL) if is_own(Kind::User, fd)? => {}
            done => done?,
        }
        // The change of credentials has reset this to fs.suid_dumpable.
        prctl::set_dumpable(false)?;
    }
    for (kind, index, fd) in refused {
        at.at(Step::JoinNamespace, *index);
        setns(fd, kind.flag())?;
    }
    Ok(())
}

/// The runtime's own pid namespace, or `None` if the runtime may not enter it again:
/// root of a user namespace that does not own it may not (setns(2)).
fn own_pid_namespace() -> nix::Result<Option<OwnedFd>> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let own = open("/proc/self/ns/pid", flags, Mode::empty())?;
    match setns(&own, CloneFlags::CLONE_NEWPID) {
        Ok(()) => Ok(Some(own)),
        Err(Errno::EPERM) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Whether `fd` is the namespace that this process is in.
fn is_own(kind: Kind, fd: &OwnedFd) -> nix::Result<bool> {
    let own = stat(format!("/proc/self/ns/{}", kind.file()).as_str())?;
    let other = fstat(fd)?;
    Ok((own.st_dev, own.st_ino) == (other.st_dev, other.st_ino))
}

fn open_namespace(kind: Kind, path: &Path) -> Result<OwnedFd> {
    let subject = || path.display().to_string();
    let fd = open(
        path,
        OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK,
        Mode::empty(),
    )
    .with_context(subject)?;
    match sys::namespace_type(fd.as_fd()) {
        Ok(flag) if flag == kind.flag() => Ok(fd),
        Ok(flag) => {
            let other = KINDS
                .into_iter()
                .find(|kind| kind.flag() == flag)
                .map_or_else(|| "another".to_owned(), |kind| format!("a {kind}"));
            bail!(
                "{}: is {other} namespace, not a {kind} namespace",
                subject()
            )
        }
        Err(Errno::ENOTTY | Errno::EINVAL) => bail!("{}: is not a namespace", subject()),
        Err(errno) => Err(errno).with_context(subject),
    }
}
