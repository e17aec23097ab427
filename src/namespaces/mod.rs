//! The container's namespaces, each new, joined by path, or shared with the host,
//! and their settings: id maps, clock offsets, host name, domain name and sysctls.
//!
//! clone3(2) creates most new namespaces (`clone.rs`). Init unshares its cgroup
//! namespace once it is in its cgroup, because the cgroup at that moment becomes the
//! namespace's root (cgroup_namespaces(7)). It enters its time namespace once the
//! offsets are set. The runtime joins a pid namespace right before the clone, and
//! init joins every other kind right after it. If the container also has a user
//! namespace, an intermediate process joins them all.

mod clone;
mod decisions;
mod id_map;
mod idmappings;
mod join;
mod kind;
mod membership;
mod restored;
mod saved_maps;
mod subordinate;
mod sysctl;
mod time;
mod user;

use std::ffi::CString;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, setresgid, setresuid};
use oci_spec::runtime::Spec;

pub(crate) use clone::CloneError;
pub(crate) use idmappings::Idmappings;
pub(crate) use join::Joined;
pub(crate) use kind::Kind;
pub(crate) use membership::{ExecClone, Membership};
pub(crate) use saved_maps::SavedMaps;
pub(crate) use subordinate::mapping_program;
pub(crate) use user::{Mapper, Maps};

use crate::step::{Cause, Failure, Progress, Refusal, Step};
use crate::sys::{self, CloseBatch};
use crate::trusted_proc::Proc;
use kind::KINDS;
use sysctl::Sysctl;
use time::Offsets;

/// Which namespace of one kind the container is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The runtime's: `linux.namespaces` does not list the kind.
    Shared,
    /// A new one: `linux.namespaces` lists the kind without a path.
    New,
    /// The one at the path in `linux.namespaces[index]`.
    Joined { index: usize, path: PathBuf },
}

/// The planned namespaces of one container, with their settings.
#[derive(Debug)]
pub(crate) struct Namespaces {
    places: [Place; KINDS.len()],
    /// The id maps of a new user namespace, or those that a joined one must have.
    maps: Option<Maps>,
    offsets: Offsets,
    hostname: Option<String>,
    domainname: Option<CString>,
    sysctls: Vec<Sysctl>,
}

impl Namespaces {
    /// Plans from `linux.namespaces`, the id maps and time offsets in `linux`,
    /// `hostname`, `domainname` and `linux.sysctl`.
    ///
    /// # Errors
    /// When a path is relative, a value is invalid, or a setting belongs to a
    /// namespace that the container shares with the host.
    pub(crate) fn plan(spec: &Spec, mapper: Mapper) -> Result<Namespaces> {
        let linux = spec.linux().as_ref();
        let mut places = [const { Place::Shared }; KINDS.len()];
        let listed = linux.and_then(|linux| linux.namespaces().as_deref());
        for (index, namespace) in listed.unwrap_or_default().iter().enumerate() {
            let kind = Kind::of(namespace.typ());
            places[kind as usize] = match namespace.path() {
                None => Place::New,
                Some(path) if path.as_os_str().is_empty() => Place::New,
                Some(path) => {
                    ensure!(
                        path.is_absolute(),
                        "linux.namespaces[{index}].path: {path:?} is relative; want an absolute path, such as /proc/1/ns/{}",
                        kind.file()
                    );
                    Place::Joined {
                        index,
                        path: path.clone(),
                    }
                }
            };
        }
        let domainname = name("domainname", spec.domainname().as_ref())?;
        let sysctls = linux.and_then(|linux| linux.sysctl().as_ref());
        let namespaces = Namespaces {
            places,
            maps: Maps::plan(
                "linux.",
                linux.and_then(|linux| linux.uid_mappings().as_ref()),
                linux.and_then(|linux| linux.gid_mappings().as_ref()),
                mapper,
            )?,
            offsets: Offsets::plan(linux.and_then(|linux| linux.time_offsets().as_ref()))?,
            hostname: name("hostname", spec.hostname().as_ref())?,
            sysctls: sysctl::plan(sysctls, domainname.as_deref())?,
            domainname: domainname
                .map(CString::new)
                .transpose()
                .context("domainname")?,
        };
        namespaces.refuse_misplaced_maps_and_offsets(mapper)?;
        namespaces.refuse_host_settings()?;
        Ok(namespaces)
    }

    pub(crate) fn place(&self, kind: Kind) -> &Place {
        &self.places[kind as usize]
    }

    /// The `CLONE_NEW*` flags of the namespaces that clone3(2) creates.
    fn clone_flags(&self) -> CloneFlags {
        KINDS
            .into_iter()
            .filter(|kind| self.created_by_clone(*kind) && *self.place(*kind) == Place::New)
            .fold(CloneFlags::empty(), |flags, kind| flags | kind.flag())
    }

    /// Whether clone3(2) creates a new namespace of this kind; otherwise init unshares
    /// it. The root of a cgroup namespace is the process's cgroup when it is
    /// unshared. The offsets of a time namespace must be set before a process is in
    /// it. The message queues of an ipc namespace belong to the user that creates it,
    /// so init must be root of its user namespace by then.
    fn created_by_clone(&self, kind: Kind) -> bool {
        match kind {
            Kind::Cgroup | Kind::Time => false,
            Kind::Ipc => *self.place(Kind::User) == Place::Shared,
            _ => true,
        }
    }

    /// The host's uid for `uid` in the container. `None` if `uid` is not mapped, or if
    /// the container joins a user namespace whose id maps are not configured.
    pub(crate) fn outside(&self, uid: u32) -> Option<u32> {
        match (self.place(Kind::User), &self.maps) {
            (Place::Shared, _) => Some(uid),
            (_, maps) => maps.as_ref()?.host_uid(uid),
        }
    }

    /// The same for a gid.
    pub(crate) fn outside_gid(&self, gid: u32) -> Option<u32> {
        match (self.place(Kind::User), &self.maps) {
            (Place::Shared, _) => Some(gid),
            (_, maps) => maps.as_ref()?.host_gid(gid),
        }
    }

    /// The ids of the host that root of the container's own user namespace has.
    pub(crate) fn root_outside(&self) -> Option<(u32, u32)> {
        let (uid, gid) = self.maps.as_ref()?.root()?;
        Some((self.outside(uid)?, self.outside_gid(gid)?))
    }

    /// Whether a uid and a gid of the host are both mapped in the container.
    pub(crate) fn maps_outside(&self, uid: u32, gid: u32) -> bool {
        match (self.place(Kind::User), &self.maps) {
            (Place::Shared, _) => true,
            (_, maps) => (maps.as_ref()).is_some_and(|maps| maps.map_outside(uid, gid)),
        }
    }

    /// The id maps of a new user namespace, which the runtime must write.
    pub(crate) fn new_maps(&self) -> Option<&Maps> {
        let new = *self.place(Kind::User) == Place::New;
        self.maps.as_ref().filter(|_| new)
    }

    /// Id maps and clock offsets can be set once only, when the namespace is new.
    fn refuse_misplaced_maps_and_offsets(&self, mapper: Mapper) -> Result<()> {
        match self.place(Kind::User) {
            Place::Shared => ensure!(
                self.maps.is_none(),
                "linux.uidMappings: needs a user namespace: add {{\"type\": \"user\"}} to linux.namespaces"
            ),
            Place::New => ensure!(
                self.maps.is_some(),
                "linux.uidMappings: required with a new user namespace, such as {}",
                mapper.example()
            ),
            Place::Joined { .. } => {}
        }
        ensure!(
            self.offsets.is_empty() || *self.place(Kind::Time) == Place::New,
            "linux.timeOffsets: needs a new time namespace: add {{\"type\": \"time\"}} to linux.namespaces"
        );
        Ok(())
    }

    /// In a namespace that the container shares, a name or a sysctl would change the
    /// host.
    fn refuse_host_settings(&self) -> Result<()> {
        let shared = |kind| *self.place(kind) == Place::Shared;
        for (field, given) in [
            ("hostname", self.hostname.is_some()),
            ("domainname", self.domainname.is_some()),
        ] {
            ensure!(
                !given || !shared(Kind::Uts),
                "{field}: needs a uts namespace, because the container shares the host's: add {{\"type\": \"uts\"}} to linux.namespaces"
            );
        }
        for sysctl in &self.sysctls {
            ensure!(
                !shared(sysctl.kind),
                "linux.sysctl: {}: needs a {kind} namespace, because the container shares the host's: add {{\"type\": \"{kind}\"}} to linux.namespaces",
                sysctl.key,
                kind = sysctl.kind
            );
        }
        Ok(())
    }

    /// Init, while it still has the caller's ids and rights: enters its time namespace.
    pub(crate) fn enter_time_namespace(&self, proc: &Proc, at: &Progress) -> Result<(), Cause> {
        // The maps are written, so init need not be dumpable any more.
        if self.new_maps().is_some_and(Maps::needs_dumpable) {
            prctl::set_dumpable(false)?;
        }
        if *self.place(Kind::Time) == Place::New {
            at.enter(Step::TimeNamespace);
            self.offsets.apply(proc)?;
        }
        Ok(())
    }

    /// Init: takes the ids of root in its user namespace, if it has one. The caller's
    /// id may be unmapped there, and then init could not even create files.
    pub(crate) fn become_root(&self, proc: &Proc, at: &Progress) -> Result<(), Cause> {
        let root = match (self.place(Kind::User), &self.maps) {
            (Place::Shared, _) => return Ok(()),
            (Place::New, maps) => maps.as_ref().and_then(Maps::root),
            (Place::Joined { index, .. }, maps) => {
                at.at(Step::JoinNamespace, *index);
                let (uids, gids) = user::own_maps(proc)?;
                if maps
                    .as_ref()
                    .is_some_and(|maps| !maps.consist_of(&uids, &gids))
                {
                    return Err(Refusal::DifferentIdMaps.into());
                }
                uids.first().zip(gids.first())
            }
        };
        become_root(root, at)
    }

    /// Init, in its cgroup: unshares the remaining namespaces, brings up `lo`, and sets
    /// the host name and the domain name.
    pub(crate) fn apply(&self, unused: &CloseBatch, at: &Progress) -> Result<(), Cause> {
        let unshared = [Kind::Cgroup, Kind::Ipc]
            .into_iter()
            .filter(|kind| *self.place(*kind) == Place::New && !self.created_by_clone(*kind));
        let flags = unshared.fold(CloneFlags::empty(), |flags, kind| flags | kind.flag());
        if !flags.is_empty() {
            at.enter(Step::Unshare);
            unshare(flags)?;
        }
        if *self.place(Kind::Network) == Place::New {
            at.enter(Step::Loopback);
            unused.add(sys::loopback_up()?);
        }
        if let Some(name) = &self.hostname {
            at.enter(Step::Hostname);
            nix::unistd::sethostname(name)?;
        }
        if let Some(name) = &self.domainname {
            at.enter(Step::Domainname);
            sys::setdomainname(name)?;
        }
        Ok(())
    }

    /// Init: writes `linux.sysctl` through the host's /proc. A write there applies to
    /// the namespaces of the writer.
    pub(crate) fn write_sysctls(&self, proc: &Proc, at: &Progress) -> Result<(), Cause> {
        for (item, sysctl) in self.sysctls.iter().enumerate() {
            at.at(Step::Sysctl, item);
            proc.write(&sysctl.file, sysctl.value.as_bytes())?;
        }
        Ok(())
    }

    /// Writes those sysctls that belong to the network namespace of this process.
    pub(crate) fn write_network_sysctls(&self, proc: &Proc) -> nix::Result<()> {
        let of_network = self.sysctls.iter().filter(|one| one.kind == Kind::Network);
        for sysctl in of_network {
            proc.write(&sysctl.file, sysctl.value.as_bytes())?;
        }
        Ok(())
    }

    /// A hint at the usual cause of a failure in this plan.
    pub(crate) fn hint(&self, Failure { step, cause, .. }: Failure) -> Option<String> {
        let Cause::Errno(errno) = cause else {
            return None;
        };
        let hint = match (step, errno) {
            (Step::Clone | Step::Unshare, _) => self.clone_hint(errno)?,
            (Step::JoinNamespace, Errno::EPERM) => {
                "joining it needs CAP_SYS_ADMIN in the user namespace that owns it"
            }
            (Step::TimeNamespace, Errno::EINVAL | Errno::ENOENT) => {
                "does this kernel have time namespaces (Linux 5.6, CONFIG_TIME_NS)?"
            }
            (Step::TimeNamespace, Errno::ERANGE) => {
                "the clock would be negative, or later than the kernel counts"
            }
            (Step::NamespaceRoot, Errno::EINVAL) => "its root is not mapped",
            (Step::Sysctl, Errno::ENOENT) => "this kernel has no such sysctl in a new namespace",
            (Step::Sysctl, Errno::EINVAL | Errno::ERANGE) => "the sysctl does not take this value",
            (Step::Sysctl, Errno::EACCES | Errno::EPERM)
                if *self.place(Kind::User) != Place::Shared =>
            {
                "root of a user namespace may not write it"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// Why the kernel makes no process in these namespaces, or not the namespaces.
    fn clone_hint(&self, errno: Errno) -> Option<&'static str> {
        let shared = *self.place(Kind::User) == Place::Shared;
        let joins_pid = matches!(self.place(Kind::Pid), Place::Joined { .. });
        Some(match errno {
            Errno::EPERM if shared => {
                "a user without privileges needs a user namespace in linux.namespaces"
            }
            Errno::EPERM | Errno::EUSERS => {
                "may this user make user namespaces? see user.max_user_namespaces"
            }
            Errno::ENOSPC if shared => "too many namespaces, see the sysctls user.max_*_namespaces",
            Errno::ENOSPC => "may this user make user namespaces? see user.max_user_namespaces",
            Errno::EAGAIN => {
                "too many processes, see RLIMIT_NPROC and pids.max of the caller's cgroup"
            }
            Errno::EINVAL => "does this kernel have each kind of namespace (lsns, /proc/self/ns)?",
            // clone3(2) fails so when init of the pid namespace has ended (pid_namespaces(7)).
            Errno::ENOMEM if joins_pid => "has the first process of the pid namespace ended?",
            _ => return None,
        })
    }

    /// The place in config.json and a description of the action, for a step of this
    /// plan.
    pub(crate) fn describe(&self, step: Step, item: u16) -> Option<(String, String)> {
        let item = usize::from(item);
        Some(match step {
            Step::JoinNamespace => (
                format!("linux.namespaces[{item}]"),
                self.places.iter().find_map(|place| match place {
                    Place::Joined { index, path } if *index == item => {
                        Some(format!("join {}", path.display()))
                    }
                    _ => None,
                })?,
            ),
            Step::Clone => match self.place(Kind::Pid) {
                Place::Joined { index, .. } => (
                    format!("linux.namespaces[{index}]"),
                    "make a process in it".into(),
                ),
                _ => ("linux.namespaces".into(), "make a process in them".into()),
            },
            Step::TimeNamespace => ("linux.timeOffsets".into(), "make a time namespace".into()),
            Step::NamespaceRoot => (
                match self.place(Kind::User) {
                    Place::Joined { index, .. } => format!("linux.namespaces[{index}]"),
                    _ => "linux.uidMappings".into(),
                },
                "become root of the user namespace".into(),
            ),
            Step::Unshare => (
                "linux.namespaces".into(),
                "make the other namespaces".into(),
            ),
            Step::Loopback => ("linux.namespaces".into(), "bring up lo".into()),
            Step::Hostname => (
                "hostname".into(),
                format!("set {:?}", self.hostname.as_ref()?),
            ),
            Step::Domainname => (
                "domainname".into(),
                format!("set {:?}", self.domainname.as_ref()?),
            ),
            Step::Sysctl => {
                let sysctl = self.sysctls.get(item)?;
                (
                    format!("linux.sysctl: {}", sysctl.key),
                    format!("write {:?} to /proc/{}", sysctl.value, sysctl.file),
                )
            }
            _ => return None,
        })
    }
}

/// Sets all uids and gids of this process to `root`, a uid and a gid.
fn become_root(root: Option<(u32, u32)>, at: &Progress) -> Result<(), Cause> {
    at.enter(Step::NamespaceRoot);
    let (uid, gid) = root.ok_or(Refusal::EmptyIdMap)?;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    // The change of ids has reset this to fs.suid_dumpable.
    Ok(prctl::set_dumpable(false)?)
}

/// The longest host or domain name in bytes (uts_namespaces(7)).
const MAX_NAME: usize = 64;

/// A host or domain name: not too long, and without a NUL byte.
fn name(field: &str, value: Option<&String>) -> Result<Option<String>> {
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    ensure!(
        value.len() <= MAX_NAME,
        "{field}: {} bytes long; at most {MAX_NAME} are allowed",
        value.len()
    );
    ensure!(!value.contains('\0'), "{field}: holds a NUL byte");
    Ok(Some(value.clone()))
}
