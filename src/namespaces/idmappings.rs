//! Idmapped mounts: `mounts[].uidMappings`, `mounts[].gidMappings`, and the mount
//! options `idmap` and `ridmap`.
//!
//! The kernel takes the id maps of such a mount from a user namespace
//! (mount_setattr(2), `MOUNT_ATTR_IDMAP`).

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::OFlag;
use nix::sched::CloneFlags;
use nix::sys::wait::{WaitPidFlag, waitpid};
use oci_spec::runtime::{Mount, Spec};

use super::clone::clone_for_mapping;
use super::{Joined, Kind, Mapper, Maps, Namespaces, Place};
use crate::sys::{self, Cloned};
use crate::trusted_proc::Proc;

/// The planned id maps of a container's mounts.
#[derive(Debug, Default)]
pub(crate) struct Idmappings {
    /// The source of the id maps, by the mount's index in `mounts`.
    pub(super) mounts: BTreeMap<usize, MapSource>,
    /// The id maps that need a new user namespace, without duplicates.
    pub(super) maps: Vec<Maps>,
}

/// The user namespace from which the kernel takes a mount's id maps.
#[derive(Debug)]
pub(super) enum MapSource {
    /// The user namespace that the container joins.
    Joined,
    /// A user namespace that is created only for this: an index in `Idmappings::maps`.
    New(usize),
}

impl Idmappings {
    /// Plans the id maps from the options and the mappings of `mounts`. A mount with
    /// `idmap` or `ridmap` but without mappings of its own takes the id maps of the
    /// container's user namespace.
    ///
    /// # Errors
    /// When mappings are invalid, or when a mount has none and the container has no
    /// user namespace. The error names the mount.
    pub(crate) fn plan(spec: &Spec, namespaces: &Namespaces, mapper: Mapper) -> Result<Idmappings> {
        let mut planned = Idmappings::default();
        for (item, mount) in spec.mounts().iter().flatten().enumerate() {
            let (option, lists) = (option(mount), (mount.uid_mappings(), mount.gid_mappings()));
            if option.is_none() && lists == (&None, &None) {
                continue;
            }
            let place = format!("mounts[{item}].");
            let own = Maps::plan(&place, lists.0.as_ref(), lists.1.as_ref(), mapper)?;
            let user_namespace = (namespaces.place(Kind::User), namespaces.new_maps());
            let source = match (own, option, user_namespace) {
                (Some(maps), ..) => planned.new_source(maps),
                (None, None, _) => continue,
                (None, Some(_), (Place::Joined { .. }, _)) => MapSource::Joined,
                (None, Some(_), (_, Some(maps))) => planned.new_source(maps.clone()),
                (None, Some(option), _) => bail!(
                    "{place}options: {option}: needs uidMappings and gidMappings, or a user namespace in linux.namespaces whose ids it could take"
                ),
            };
            planned.mounts.insert(item, source);
        }
        Ok(planned)
    }

    /// Adds `maps` unless an equal pair is there already.
    fn new_source(&mut self, maps: Maps) -> MapSource {
        let known = self.maps.iter().position(|known| known.same(&maps));
        MapSource::New(known.unwrap_or_else(|| {
            self.maps.push(maps);
            self.maps.len() - 1
        }))
    }

    /// # Errors
    /// When any mount has id maps and `may_mount` is false. A caller without
    /// CAP_SYS_ADMIN would have to map the ids in a user namespace, where the kernel
    /// allows it only for file systems that were mounted in that namespace.
    pub(crate) fn refuse_without_mount_permission(&self, may_mount: bool) -> Result<()> {
        let first = self.mounts.keys().next();
        ensure!(
            may_mount || first.is_none(),
            "mounts[{}]: an idmapped mount needs the right to mount (CAP_SYS_ADMIN)",
            first.copied().unwrap_or_default()
        );
        Ok(())
    }

    /// Runtime, before mounts are opened: returns the user namespace for each
    /// idmapped mount, by the mount's index in `mounts`.
    ///
    /// # Errors
    /// When the kernel refuses a map. The error names its place in config.json.
    pub(crate) fn wire(
        &self,
        joined: &Joined,
        proc: &Proc,
    ) -> Result<BTreeMap<usize, Rc<OwnedFd>>> {
        let created = self.maps.iter().map(|maps| create_namespace(maps, proc));
        let created = created
            .map(|namespace| namespace.map(Rc::new))
            .collect::<Result<Vec<_>>>()?;
        let joined = joined.get(Kind::User).map(OwnedFd::try_clone).transpose();
        let joined = joined.context("dup")?.map(Rc::new);
        let namespace = |source: &MapSource| match source {
            MapSource::Joined => joined.clone(),
            MapSource::New(index) => created.get(*index).cloned(),
        };
        let mounts = self.mounts.iter();
        Ok(mounts
            .filter_map(|(item, source)| Some((*item, namespace(source)?)))
            .collect())
    }
}

/// The option `idmap` or `ridmap` of a mount.
fn option(mount: &Mount) -> Option<&str> {
    let mut options = (mount.options().iter().flatten()).flat_map(|entry| entry.split(','));
    options.find(|option| matches!(*option, "idmap" | "ridmap"))
}

/// Creates a user namespace with these id maps. The process that holds it during
/// the setup has ended when this returns.
pub(super) fn create_namespace(maps: &Maps, proc: &Proc) -> Result<OwnedFd> {
    let (ours, theirs) = sys::socketpair().context("socketpair")?;
    let cloned = clone_for_mapping(Some(maps), CloneFlags::CLONE_NEWUSER, None);
    let pid = match cloned.with_context(|| maps.place("uidMappings"))? {
        Cloned::Child => {
            drop(ours);
            // Wait until the runtime has opened the namespace, or has ended.
            let _closed = sys::recv(theirs.as_fd(), &mut [0]);
            sys::exit(0)
        }
        Cloned::Parent { pid, .. } => pid,
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
