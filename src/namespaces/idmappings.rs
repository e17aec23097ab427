//! Idmapped mounts: `mounts[].uidMappings`, `idmap`, `ridmap`. The kernel takes
//! each map as a user namespace that has it (mount_setattr(2), `MOUNT_ATTR_IDMAP`).

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::OFlag;
use nix::sched::CloneFlags;
use nix::sys::wait::{WaitPidFlag, waitpid};
use oci_spec::runtime::{Mount, Spec};

use super::clone::clone_mapped;
use super::{Joined, Kind, Mapper, Maps, Namespaces, Place};
use crate::sys::{self, Cloned};
use crate::trusted_proc::Proc;

/// The id maps of a container's mounts, decided.
#[derive(Debug, Default)]
pub(crate) struct Idmappings {
    /// By the mount's index in `mounts`.
    mounts: BTreeMap<usize, Wanted>,
    /// Those that no namespace has yet, each once.
    maps: Vec<Maps>,
}

/// Where the kernel finds a map.
#[derive(Debug)]
enum Wanted {
    /// In the user namespace that the container joins.
    Joined,
    /// In one that is made for this alone: `Idmappings::maps`.
    Made(usize),
}

impl Idmappings {
    /// Decides from the options and the maps of `mounts`. A mount without maps of
    /// its own takes those of the container's user namespace.
    ///
    /// # Errors
    /// By place: maps that contradict themselves, or that are nowhere.
    pub(crate) fn plan(spec: &Spec, namespaces: &Namespaces, mapper: Mapper) -> Result<Idmappings> {
        let mut all = Idmappings::default();
        for (item, mount) in spec.mounts().iter().flatten().enumerate() {
            let (option, lists) = (option(mount), (mount.uid_mappings(), mount.gid_mappings()));
            if option.is_none() && lists == (&None, &None) {
                continue;
            }
            let place = format!("mounts[{item}].");
            let own = Maps::plan(&place, lists.0.as_ref(), lists.1.as_ref(), mapper)?;
            let containers = (namespaces.place(Kind::User), namespaces.new_maps());
            let wanted = match (own, option, containers) {
                (Some(maps), ..) => all.made(maps),
                (None, None, _) => continue,
                (None, Some(_), (Place::Joined { .. }, _)) => Wanted::Joined,
                (None, Some(_), (_, Some(maps))) => all.made(maps.clone()),
                (None, Some(option), _) => bail!(
                    "{place}options: {option}: needs uidMappings and gidMappings, or a user namespace in linux.namespaces whose ids it could take"
                ),
            };
            all.mounts.insert(item, wanted);
        }
        Ok(all)
    }

    fn made(&mut self, maps: Maps) -> Wanted {
        let known = self.maps.iter().position(|known| known.same(&maps));
        Wanted::Made(known.unwrap_or_else(|| {
            self.maps.push(maps);
            self.maps.len() - 1
        }))
    }

    /// # Errors
    /// Where there is any, and the caller has no rights over file systems: in a
    /// user namespace the kernel maps none but those that were mounted there.
    pub(crate) fn refuse_without_rights(&self, may_mount: bool) -> Result<()> {
        let first = self.mounts.keys().next();
        ensure!(
            may_mount || first.is_none(),
            "mounts[{}]: ids are mapped by those alone who may mount (CAP_SYS_ADMIN)",
            first.copied().unwrap_or_default()
        );
        Ok(())
    }

    /// Runtime, before mounts are opened: a user namespace for each mount that is
    /// mapped, by its index in `mounts`.
    ///
    /// # Errors
    /// What the kernel refuses, by the place of the map.
    pub(crate) fn wire(
        &self,
        joined: &Joined,
        proc: &Proc,
    ) -> Result<BTreeMap<usize, Rc<OwnedFd>>> {
        let made = self.maps.iter().map(|maps| namespace_of(maps, proc));
        let made = made
            .map(|made| made.map(Rc::new))
            .collect::<Result<Vec<_>>>()?;
        let joined = joined.get(Kind::User).map(OwnedFd::try_clone).transpose();
        let joined = joined.context("dup")?.map(Rc::new);
        let namespace = |wanted: &Wanted| match wanted {
            Wanted::Joined => joined.clone(),
            Wanted::Made(index) => made.get(*index).cloned(),
        };
        let mounts = self.mounts.iter();
        Ok(mounts
            .filter_map(|(item, wanted)| Some((*item, namespace(wanted)?)))
            .collect())
    }
}

/// The word for it, if there is one.
fn option(mount: &Mount) -> Option<&str> {
    let mut options = (mount.options().iter().flatten()).flat_map(|entry| entry.split(','));
    options.find(|option| matches!(*option, "idmap" | "ridmap"))
}

/// A user namespace with these ids, in which nobody lives.
fn namespace_of(maps: &Maps, proc: &Proc) -> Result<OwnedFd> {
    let (ours, theirs) = sys::socketpair().context("socketpair")?;
    let cloned = clone_mapped(Some(maps), CloneFlags::CLONE_NEWUSER, None);
    let pid = match cloned.with_context(|| maps.place("uidMappings"))? {
        Cloned::Init => {
            drop(ours);
            // Until the runtime has the namespace, or is gone.
            let _ended = sys::recv(theirs.as_fd(), &mut [0]);
            sys::exit(0)
        }
        Cloned::Runtime { pid, .. } => pid,
    };
    drop(theirs);
    let namespace = maps.write(pid, proc).and_then(|()| {
        let file = format!("{pid}/ns/user");
        let opened = proc.link(&file, OFlag::O_RDONLY);
        opened.with_context(|| format!("/proc/{file}"))
    });
    drop(ours);
    waitpid(pid, Some(WaitPidFlag::__WALL)).context("wait for the holder of a user namespace")?;
    namespace
}
