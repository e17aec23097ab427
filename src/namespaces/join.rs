//! Namespaces that the container joins by path: opened and checked by the
//! runtime, entered by whoever may.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::stat::{Mode, fstat, stat};

use super::kind::KINDS;
use super::{Kind, Namespaces, Place};
use crate::step::{Cause, Progress, Step};
use crate::sys;

/// The namespaces that are joined, open since before the clone.
pub(crate) struct Joined {
    /// Each with its place in `linux.namespaces`.
    pub(super) open: Vec<(Kind, usize, OwnedFd)>,
    /// The runtime's own pid namespace, for the way back, when it lends itself
    /// for a birth in another. None where it has no way back.
    pub(super) own_pid: Option<OwnedFd>,
}

impl Joined {
    pub(super) fn get(&self, wanted: Kind) -> Option<&OwnedFd> {
        let mut open = self.open.iter();
        open.find_map(|(kind, _, fd)| (*kind == wanted).then_some(fd))
    }
}

impl Namespaces {
    /// Runtime, before the clone: opens what is joined, and checks that each
    /// file names a namespace of its kind.
    ///
    /// # Errors
    /// A missing file, one that is no namespace, or one of another kind.
    pub(crate) fn wire(&self) -> Result<Joined> {
        let mut joined = Joined {
            open: Vec::new(),
            own_pid: None,
        };
        for kind in KINDS {
            let Place::Joined { index, path } = self.place(kind) else {
                continue;
            };
            let fd = open_namespace(kind, path)
                .with_context(|| format!("linux.namespaces[{index}].path"))?;
            self.refuse_settings_of_the_machine_by_path(kind, &fd)?;
            joined.open.push((kind, *index, fd));
        }
        if joined.get(Kind::Pid).is_some() && !self.brings_rights(&joined) {
            joined.own_pid = way_back().context("/proc/self/ns/pid")?;
        }
        Ok(joined)
    }

    /// A path can name the machine's own namespace, where a setting is not ours.
    fn refuse_settings_of_the_machine_by_path(&self, kind: Kind, fd: &OwnedFd) -> Result<()> {
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
            "{setting}: the {kind} namespace that the container joins is the machine's"
        );
        Ok(())
    }

    /// Init, first: enters what is joined by path, unless it was born in there.
    pub(crate) fn join(&self, joined: &Joined, at: &Progress) -> Result<(), Cause> {
        if self.needs_intermediate(joined) {
            return Ok(());
        }
        let born = |kind| kind == Kind::Pid;
        for (kind, index, fd) in joined.open.iter().filter(|(kind, ..)| !born(*kind)) {
            at.at(Step::JoinNamespace, *index);
            setns(fd, kind.flag())?;
        }
        Ok(())
    }
}

/// Enters all of them. Those that belong to the machine are closed to who is in
/// the user namespace, and those that belong to that one may be closed to who
/// is not: what is refused before is tried again after.
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
            // Where one is already, one cannot go (setns(2)).
            Err(Errno::EINVAL) if is_own(Kind::User, fd)? => {}
            done => done?,
        }
        // With other rights comes what fs.suid_dumpable says.
        prctl::set_dumpable(false)?;
    }
    for (kind, index, fd) in refused {
        at.at(Step::JoinNamespace, *index);
        setns(fd, kind.flag())?;
    }
    Ok(())
}

/// The runtime's own pid namespace, if it may enter it: who is root only of a
/// user namespace may not always (setns(2)).
fn way_back() -> nix::Result<Option<OwnedFd>> {
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
    let theirs = fstat(fd)?;
    Ok((own.st_dev, own.st_ino) == (theirs.st_dev, theirs.st_ino))
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
