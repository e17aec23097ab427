//! Id maps of user namespaces (user_namespaces(7)): `uidMappings` and `gidMappings`
//! of `linux` and of a mount.

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::unistd::Pid;
use oci_spec::runtime::LinuxIdMapping;

use super::id_map::Map;
use super::subordinate;
use crate::log;
use crate::trusted_proc::Proc;

/// The credentials of the process that creates a user namespace and maps its ids.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mapper {
    /// Effective user id.
    pub(crate) uid: u32,
    /// Effective group id.
    pub(crate) gid: u32,
    /// Whether it has CAP_SETUID and CAP_SETGID, and so may map any ids.
    pub(crate) privileged: bool,
}

impl Mapper {
    /// Mappings that this process may write.
    pub(super) fn example(self) -> String {
        let (host_id, size) = if self.privileged {
            (100_000, 65_536)
        } else {
            (self.uid, 1)
        };
        format!(r#"[{{"containerID": 0, "hostID": {host_id}, "size": {size}}}]"#)
    }
}

/// The id maps of a user namespace.
#[derive(Clone, Debug)]
pub(crate) struct Maps {
    /// The place of the two lists in config.json, without their names: `linux.` or
    /// `mounts[3].`.
    prefix: String,
    pub(super) uids: Map,
    pub(super) gids: Map,
    pub(super) mapper: Mapper,
}

/// Who writes a map.
pub(super) enum Writer {
    Runtime,
    /// The runtime, which must deny setgroups(2) first. A file can deny its group what it
    /// grants to others, so a process that drops a group gains access. An unprivileged user
    /// may therefore map its own group only in a namespace where no process can
    /// (user_namespaces(7), CVE-2014-8989).
    RuntimeAfterDeny,
    /// newuidmap(1) or newgidmap(1).
    Program,
}

impl Maps {
    /// Plans the two maps from the lists after `prefix`. `None` if both are missing.
    ///
    /// # Errors
    /// When only one list is given, or a list is too long, has an invalid range, or
    /// maps an id twice. The error names its place in config.json.
    pub(super) fn plan(
        prefix: &str,
        uids: Option<&Vec<LinuxIdMapping>>,
        gids: Option<&Vec<LinuxIdMapping>>,
        mapper: Mapper,
    ) -> Result<Option<Maps>> {
        let uids = Map::plan(&format!("{prefix}uidMappings"), uids)?;
        let gids = Map::plan(&format!("{prefix}gidMappings"), gids)?;
        let prefix = prefix.to_owned();
        match (uids, gids) {
            (None, None) => Ok(None),
            (Some(uids), Some(gids)) => Ok(Some(Maps {
                prefix,
                uids,
                gids,
                mapper,
            })),
            (Some(_), None) => Err(anyhow!(
                "{prefix}gidMappings: required with {prefix}uidMappings"
            )),
            (None, Some(_)) => Err(anyhow!(
                "{prefix}uidMappings: required with {prefix}gidMappings"
            )),
        }
    }

    /// The maps of a container that was created before.
    pub(super) fn saved(uids: Map, gids: Map, mapper: Mapper) -> Maps {
        Maps {
            prefix: "linux.".to_owned(),
            uids,
            gids,
            mapper,
        }
    }

    /// # Errors
    /// When the uid `id` of the container, which is that of the field `place`, is not mapped.
    pub(crate) fn require_uid(&self, id: u32, place: &str) -> Result<()> {
        self.uids.require(id, place, &self.place("uidMappings"))
    }

    /// The host's uid for `id` in the namespace.
    pub(super) fn host_uid(&self, id: u32) -> Option<u32> {
        self.uids.host_id(id)
    }

    /// The host's gid for `id` in the namespace.
    pub(super) fn host_gid(&self, id: u32) -> Option<u32> {
        self.gids.host_id(id)
    }

    /// Whether a uid and a gid of the host are both mapped.
    pub(super) fn map_outside(&self, uid: u32, gid: u32) -> bool {
        self.uids.maps_outside(uid) && self.gids.maps_outside(gid)
    }

    /// # Errors
    /// As [`Maps::require_uid`], for a gid.
    pub(crate) fn require_gid(&self, id: u32, place: &str) -> Result<()> {
        self.gids.require(id, place, &self.place("gidMappings"))
    }

    /// Whether setgroups(2) is denied in the namespace, because an unprivileged user
    /// maps its own group only.
    pub(crate) fn denies_setgroups(&self) -> bool {
        !self.mapper.privileged && self.gids.maps_only(self.mapper.gid)
    }

    /// Whether the process to be mapped must be dumpable. Root owns the files below
    /// /proc/PID of a process that is not (proc(5)), so only root could write its maps.
    pub(super) fn needs_dumpable(&self) -> bool {
        self.mapper.uid != 0
    }

    /// Runtime: writes both maps for `pid`, the first process of its user namespace.
    ///
    /// # Errors
    /// When the kernel or newuidmap(1) refuses a map. The message of newuidmap(1) is part
    /// of the error.
    pub(super) fn write(&self, pid: Pid, proc: &Proc) -> Result<()> {
        let Mapper { uid, gid, .. } = self.mapper;
        self.write_one(&self.uids, uid, pid, proc, "uid")
            .with_context(|| self.place("uidMappings"))?;
        self.write_one(&self.gids, gid, pid, proc, "gid")
            .with_context(|| self.place("gidMappings"))
    }

    /// The place of one of the two lists in config.json.
    pub(super) fn place(&self, list: &str) -> String {
        format!("{}{list}", self.prefix)
    }

    /// Whether both maps are equal, wherever they are in config.json.
    pub(super) fn same(&self, other: &Maps) -> bool {
        self.consist_of(&other.uids, &other.gids)
    }

    fn write_one(&self, map: &Map, own: u32, pid: Pid, proc: &Proc, name: &str) -> Result<()> {
        match self.writer(map, own, name) {
            Writer::Runtime => {}
            Writer::RuntimeAfterDeny => proc
                .write(&format!("{pid}/setgroups"), b"deny")
                .with_context(|| format!("write \"deny\" to /proc/{pid}/setgroups"))?,
            Writer::Program => {
                return subordinate::write_map(name, pid, &map.lines(), self.mapper.uid);
            }
        }
        let file = format!("{pid}/{name}_map");
        proc.write(&file, map.lines().as_bytes())
            .map_err(|errno| log::hinted(errno, map.hint(errno, name, proc)))
            .with_context(|| format!("write to /proc/{file}"))
    }

    /// Who writes the map of `name`, `uid` or `gid`, when the caller's id is `own`.
    pub(super) fn writer(&self, map: &Map, own: u32, name: &str) -> Writer {
        match name {
            _ if self.mapper.privileged => Writer::Runtime,
            _ if !map.maps_only(own) => Writer::Program,
            "gid" => Writer::RuntimeAfterDeny,
            _ => Writer::Runtime,
        }
    }

    /// The uid and the gid that init takes: 0, or the lowest id if 0 is not mapped.
    pub(super) fn root(&self) -> Option<(u32, u32)> {
        Some((self.uids.first()?, self.gids.first()?))
    }

    /// Whether the two maps are `uids` and `gids`.
    pub(super) fn consist_of(&self, uids: &Map, gids: &Map) -> bool {
        self.uids.same(uids) && self.gids.same(gids)
    }
}

/// The id maps of the user namespace that this process is in.
///
/// # Errors
/// `EIO` if a map is malformed.
pub(super) fn own_maps(proc: &Proc) -> nix::Result<(Map, Map)> {
    let map = |file| Map::parse(&proc.read(file)?).ok_or(Errno::EIO);
    Ok((map("self/uid_map")?, map("self/gid_map")?))
}
