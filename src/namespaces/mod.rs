//! What is private to a container: the namespaces it gets new, joins by path,
//! or shares with the machine, and the few settings that belong to them.
//!
//! Most are born in the one clone3(2) (`birth.rs`); a cgroup namespace is
//! unshared once the process is in its cgroup, because its root is where the
//! process is at that moment (cgroup_namespaces(7)), and a time namespace once
//! its clocks are set. A pid namespace is joined by the runtime just before the
//! clone, every other one by init just after it, unless there is a user
//! namespace too.

mod clone;
mod idmappings;
mod join;
mod kind;
mod membership;
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
pub(crate) use membership::{Birth, Membership};
pub(crate) use user::{Mapper, Maps};

use crate::step::{Cause, Progress, Refusal, Step};
use crate::sys;
use crate::trusted_proc::Proc;
use kind::KINDS;
use sysctl::Sysctl;
use time::Offsets;

/// Where the container stands in one kind of namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the runtime's own: the configuration does not mention the kind.
    Shared,
    /// In one of its own, as `linux.namespaces[index]` asks.
    New,
    /// In the one that a file names.
    Joined { index: usize, path: PathBuf },
}

/// All namespaces of one container, decided.
#[derive(Debug)]
pub(crate) struct Namespaces {
    places: [Place; KINDS.len()],
    /// Of a new user namespace; of a joined one, those that it must have.
    maps: Option<Maps>,
    offsets: Offsets,
    hostname: Option<String>,
    domainname: Option<CString>,
    sysctls: Vec<Sysctl>,
}

impl Namespaces {
    /// Decides from `linux.namespaces`, the maps and offsets that belong to them,
    /// `hostname`, `domainname` and `linux.sysctl`.
    ///
    /// # Errors
    /// A relative path, or a setting without a namespace to keep it in.
    pub(crate) fn plan(spec: &Spec, mapper: Mapper) -> Result<Namespaces> {
        let linux = spec.linux().as_ref();
        let mut places = [const { Place::Shared }; KINDS.len()];
        let listed = linux.and_then(|linux| linux.namespaces().as_deref());
        for (index, namespace) in listed.unwrap_or_default().iter().enumerate() {
            places[Kind::of(namespace.typ()) as usize] = match namespace.path() {
                None => Place::New,
                Some(path) if path.as_os_str().is_empty() => Place::New,
                Some(path) => {
                    ensure!(
                        path.is_absolute(),
                        "linux.namespaces[{index}].path: {} is not absolute",
                        path.display()
                    );
                    Place::Joined {
                        index,
                        path: path.clone(),
                    }
                }
            };
        }
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
            domainname: name("domainname", spec.domainname().as_ref())?
                .map(CString::new)
                .transpose()
                .context("domainname")?,
            sysctls: sysctl::plan(linux.and_then(|linux| linux.sysctl().as_ref()))?,
        };
        namespaces.refuse_maps_and_offsets_of_others()?;
        namespaces.refuse_settings_of_the_machine()?;
        Ok(namespaces)
    }

    pub(crate) fn place(&self, kind: Kind) -> &Place {
        &self.places[kind as usize]
    }

    /// What the child is born with (clone(2)).
    pub(crate) fn clone_flags(&self) -> CloneFlags {
        KINDS
            .into_iter()
            .filter(|kind| self.by_birth(*kind) && *self.place(*kind) == Place::New)
            .fold(CloneFlags::empty(), |flags, kind| flags | kind.flag())
    }

    /// Whether a new one is made by clone3(2). A cgroup namespace begins where
    /// the process is when it is unshared, the offsets of a time namespace are
    /// set before anybody is in it, and the message queues of an ipc namespace
    /// belong to the user who makes it: init unshares these.
    fn by_birth(&self, kind: Kind) -> bool {
        match kind {
            Kind::Cgroup | Kind::Time => false,
            Kind::Ipc => *self.place(Kind::User) == Place::Shared,
            _ => true,
        }
    }

    /// The id outside that is `uid` in the container; `None` where a joined
    /// namespace keeps that to itself.
    pub(crate) fn outside(&self, uid: u32) -> Option<u32> {
        match (self.place(Kind::User), &self.maps) {
            (Place::Shared, _) => Some(uid),
            (_, maps) => maps.as_ref()?.outside(uid),
        }
    }

    /// The maps that the runtime is to write.
    pub(crate) fn new_maps(&self) -> Option<&Maps> {
        let new = *self.place(Kind::User) == Place::New;
        self.maps.as_ref().filter(|_| new)
    }

    /// Ids and clocks are set when a namespace is made, and never again.
    fn refuse_maps_and_offsets_of_others(&self) -> Result<()> {
        match self.place(Kind::User) {
            Place::Shared => ensure!(
                self.maps.is_none(),
                "linux.uidMappings: needs a user namespace in linux.namespaces"
            ),
            Place::New => ensure!(
                self.maps.is_some(),
                "linux.uidMappings: required with a new user namespace"
            ),
            Place::Joined { .. } => {}
        }
        ensure!(
            self.offsets.is_empty() || *self.place(Kind::Time) == Place::New,
            "linux.timeOffsets: needs a new time namespace in linux.namespaces"
        );
        Ok(())
    }

    /// A name or a sysctl of a namespace that the container shares would be
    /// the machine's.
    fn refuse_settings_of_the_machine(&self) -> Result<()> {
        let shared = |kind| *self.place(kind) == Place::Shared;
        for (field, given) in [
            ("hostname", self.hostname.is_some()),
            ("domainname", self.domainname.is_some()),
        ] {
            ensure!(
                !given || !shared(Kind::Uts),
                "{field}: needs a uts namespace in linux.namespaces; the container shares the machine's"
            );
        }
        for sysctl in &self.sysctls {
            ensure!(
                !shared(sysctl.kind),
                "linux.sysctl: {}: needs a {} namespace in linux.namespaces; the container shares the machine's",
                sysctl.key,
                sysctl.kind
            );
        }
        Ok(())
    }

    /// Init, while it still is the caller: what takes the caller's rights.
    pub(crate) fn set_clocks(&self, proc: &Proc, at: &Progress) -> Result<(), Cause> {
        // Those who had to write the maps are done.
        if self.new_maps().is_some_and(Maps::needs_dumpable) {
            prctl::set_dumpable(false)?;
        }
        if *self.place(Kind::Time) == Place::New {
            at.enter(Step::TimeNamespace);
            self.offsets.apply(proc)?;
        }
        Ok(())
    }

    /// Init: from here on it is root of its user namespace, if it has one of its
    /// own. The caller's id means nothing in there, not even to new files.
    pub(crate) fn become_root(&self, proc: &Proc, at: &Progress) -> Result<(), Cause> {
        let root = match (self.place(Kind::User), &self.maps) {
            (Place::Shared, _) => return Ok(()),
            (Place::New, maps) => maps.as_ref().and_then(Maps::root),
            (Place::Joined { index, .. }, maps) => {
                at.at(Step::JoinNamespace, *index);
                let (uids, gids) = user::own_maps(proc)?;
                if maps.as_ref().is_some_and(|maps| !maps.are(&uids, &gids)) {
                    return Err(Refusal::OtherMaps.into());
                }
                uids.first().zip(gids.first())
            }
        };
        become_root(root, at)
    }

    /// Init, in its cgroup and its namespaces: the settings that belong to them.
    pub(crate) fn apply(&self, at: &Progress) -> Result<(), Cause> {
        let late = [Kind::Cgroup, Kind::Ipc].into_iter();
        let late = late.filter(|kind| *self.place(*kind) == Place::New && !self.by_birth(*kind));
        let flags = late.fold(CloneFlags::empty(), |flags, kind| flags | kind.flag());
        if !flags.is_empty() {
            at.enter(Step::Unshare);
            unshare(flags)?;
        }
        if *self.place(Kind::Network) == Place::New {
            at.enter(Step::Loopback);
            sys::loopback_up()?;
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

    /// Init: `linux.sysctl`, through the machine's /proc, where a write lands
    /// in the namespaces of the writer.
    pub(crate) fn write_sysctls(&self, proc: &Proc, at: &Progress) -> Result<(), Cause> {
        for (item, sysctl) in self.sysctls.iter().enumerate() {
            at.at(Step::Sysctl, item);
            proc.write(&sysctl.file, sysctl.value.as_bytes())?;
        }
        Ok(())
    }

    /// What nearly always helps, for a failure of this plan.
    pub(crate) fn hint(&self, step: Step, errno: Errno) -> Option<&'static str> {
        let shared = *self.place(Kind::User) == Place::Shared;
        match (step, errno) {
            (Step::Clone, Errno::EPERM) if shared => {
                Some("a user without privileges needs a user namespace in linux.namespaces")
            }
            (Step::Clone, Errno::EPERM | Errno::ENOSPC | Errno::EUSERS) => {
                Some("may this user make user namespaces? see user.max_user_namespaces")
            }
            // As fork(2) says it there (pid_namespaces(7)).
            (Step::Clone, Errno::ENOMEM)
                if matches!(self.place(Kind::Pid), Place::Joined { .. }) =>
            {
                Some("has the first process of the pid namespace ended?")
            }
            _ => None,
        }
    }

    /// The place in config.json and the deed, for a position in this plan.
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
                Place::Joined { index, .. } => {
                    (format!("linux.namespaces[{index}]"), "clone into it".into())
                }
                _ => ("linux.namespaces".into(), "clone into them".into()),
            },
            Step::TimeNamespace => ("linux.timeOffsets".into(), "new time namespace".into()),
            Step::NamespaceRoot => (
                match self.place(Kind::User) {
                    Place::Joined { index, .. } => format!("linux.namespaces[{index}]"),
                    _ => "linux.uidMappings".into(),
                },
                "become root of the user namespace".into(),
            ),
            Step::Unshare => ("linux.namespaces".into(), "unshare".into()),
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

/// Takes the first ids of a user namespace.
fn become_root(root: Option<(u32, u32)>, at: &Progress) -> Result<(), Cause> {
    at.enter(Step::NamespaceRoot);
    let (uid, gid) = root.ok_or(Refusal::NoIds)?;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    // With another id comes what fs.suid_dumpable says.
    Ok(prctl::set_dumpable(false)?)
}

/// A host or domain name: at most 64 bytes (uts_namespaces(7)), none of them NUL.
fn name(field: &str, value: Option<&String>) -> Result<Option<String>> {
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    ensure!(value.len() <= 64, "{field}: longer than 64 bytes");
    ensure!(!value.contains('\0'), "{field}: holds a NUL byte");
    Ok(Some(value.clone()))
}
