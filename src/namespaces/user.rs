//! Id maps of user namespaces (user_namespaces(7)): `uidMappings` and `gidMappings`
//! of `linux` and of a mount.

use std::fmt::Write;

use anyhow::{Context, Result, anyhow, ensure};
use nix::errno::Errno;
use nix::unistd::Pid;
use oci_spec::runtime::LinuxIdMapping;

use super::subordinate;
use crate::log;
use crate::trusted_proc::Proc;

/// The kernel's limit on the lines of a map (user_namespaces(7), Linux 4.15).
const MAX_RANGES: usize = 340;

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

/// A map of user ids or of group ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Map(pub(super) Vec<Range>);

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// The first id in the container.
    pub(super) container_id: u32,
    /// The first id on the host.
    pub(super) host_id: u32,
    pub(super) size: u32,
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

    pub(crate) fn has_uid(&self, id: u32) -> bool {
        self.uids.has(id)
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

    pub(crate) fn has_gid(&self, id: u32) -> bool {
        self.gids.has(id)
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

impl Map {
    fn plan(place: &str, listed: Option<&Vec<LinuxIdMapping>>) -> Result<Option<Map>> {
        let listed = listed.map(Vec::as_slice).unwrap_or_default();
        if listed.is_empty() {
            return Ok(None);
        }
        ensure!(
            listed.len() <= MAX_RANGES,
            "{place}: more than {MAX_RANGES} mappings, the kernel's limit"
        );
        let mut ranges: Vec<Range> = Vec::with_capacity(listed.len());
        for (index, mapping) in listed.iter().enumerate() {
            let range = Range {
                container_id: mapping.container_id(),
                host_id: mapping.host_id(),
                size: mapping.size(),
            };
            ensure!(range.size > 0, "{place}[{index}]: maps no id");
            for (start, name) in [
                (range.container_id, "containerID"),
                (range.host_id, "hostID"),
            ] {
                ensure!(
                    start
                        .checked_add(range.size - 1)
                        .is_some_and(|last| last < u32::MAX),
                    "{place}[{index}]: {name} {start} and size {} lead beyond the last id",
                    range.size
                );
            }
            let clash = ranges.iter().position(|earlier| earlier.overlaps(range));
            if let Some(earlier) = clash {
                return Err(anyhow!("{place}[{index}]: maps an id of [{earlier}] again"));
            }
            ranges.push(range);
        }
        Ok(Some(Map(ranges)))
    }

    /// Parses the text of /proc/PID/uid_map or gid_map. `None` if it is malformed.
    pub(super) fn parse(text: &str) -> Option<Map> {
        let range = |line: &str| {
            let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
            Some(Range {
                container_id: numbers.next()??,
                host_id: numbers.next()??,
                size: numbers.next()??,
            })
        };
        text.lines().map(range).collect::<Option<_>>().map(Map)
    }

    fn has(&self, id: u32) -> bool {
        self.host_id(id).is_some()
    }

    fn host_id(&self, id: u32) -> Option<u32> {
        self.0.iter().find_map(|range| {
            let offset = id.checked_sub(range.container_id)?;
            (offset < range.size).then(|| range.host_id + offset)
        })
    }

    fn maps_outside(&self, host_id: u32) -> bool {
        (self.0.iter()).any(|range| host_id.wrapping_sub(range.host_id) < range.size)
    }

    /// Why the kernel refuses to write this map (user_namespaces(7)).
    fn hint(&self, errno: Errno, name: &str, proc: &Proc) -> Option<String> {
        if !matches!(errno, Errno::EPERM | Errno::EACCES) {
            return None;
        }
        let own = Map::parse(&proc.read(&format!("self/{name}_map")).ok()?)?;
        let unmapped = self.0.iter().find(|range| !own.holds(**range));
        if let Some(Range { host_id, size, .. }) = unmapped {
            return Some(format!(
                "the caller's user namespace does not have all {size} ids from hostID {host_id}"
            ));
        }
        let restriction = "kernel/apparmor_restrict_unprivileged_userns";
        let restricted = proc.read_sysctl(restriction).ok()?;
        (restricted.trim() == "1").then(|| {
            "AppArmor keeps users from it: kernel.apparmor_restrict_unprivileged_userns is 1"
                .to_owned()
        })
    }

    /// Whether one range of this map has all host ids of `wanted`.
    fn holds(&self, wanted: Range) -> bool {
        self.0.iter().any(|range| {
            let offset = wanted.host_id.checked_sub(range.container_id);
            offset.is_some_and(|offset| {
                u64::from(offset) + u64::from(wanted.size) <= u64::from(range.size)
            })
        })
    }

    /// The lowest mapped id.
    pub(super) fn first(&self) -> Option<u32> {
        self.0.iter().map(|range| range.container_id).min()
    }

    /// Whether the map consists of the host id `own` alone.
    fn maps_only(&self, own: u32) -> bool {
        matches!(self.0.as_slice(), [Range { host_id, size: 1, .. }] if *host_id == own)
    }

    fn same(&self, other: &Map) -> bool {
        let sorted = |map: &Map| {
            let mut ranges = map.0.clone();
            ranges.sort_by_key(|range| range.container_id);
            ranges
        };
        sorted(self) == sorted(other)
    }

    /// The text to write to /proc/PID/uid_map or gid_map.
    fn lines(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, range| {
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{} {} {}",
                range.container_id, range.host_id, range.size
            );
            text
        })
    }
}

impl Range {
    fn overlaps(self, other: Range) -> bool {
        let intersect = |a: u32, b: u32| {
            u64::from(a) < u64::from(b) + u64::from(other.size)
                && u64::from(b) < u64::from(a) + u64::from(self.size)
        };
        intersect(self.container_id, other.container_id) || intersect(self.host_id, other.host_id)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(json: &str) -> Result<Map> {
        let listed: Vec<LinuxIdMapping> = serde_json::from_str(json).unwrap();
        Map::plan("x", Some(&listed)).map(Option::unwrap)
    }

    fn refused(json: &str) -> String {
        planned(json).unwrap_err().to_string()
    }

    #[test]
    fn an_id_is_found_in_any_range() {
        let map = planned(
            r#"[{"containerID": 10, "hostID": 1000, "size": 1},
                {"containerID": 0, "hostID": 100000, "size": 5}]"#,
        )
        .unwrap();
        assert!(map.has(0) && map.has(4) && map.has(10) && !map.has(5) && !map.has(11));
        assert_eq!(
            (map.host_id(10), map.host_id(3)),
            (Some(1000), Some(100_003))
        );
        assert_eq!(map.first(), Some(0));
        assert_eq!(map.lines(), "10 1000 1\n0 100000 5\n");
        assert!(!map.maps_only(1000));
        let read =
            Map::parse("         0     100000          5\n        10       1000          1\n");
        assert!(map.same(&read.unwrap()));
    }

    #[test]
    fn an_invalid_list_is_refused() {
        assert_eq!(
            refused(r#"[{"containerID": 0, "hostID": 0, "size": 0}]"#),
            "x[0]: maps no id"
        );
        let twice = r#"[{"containerID": 0, "hostID": 7, "size": 5}, {"containerID": 4, "hostID": 100, "size": 1}]"#;
        assert_eq!(refused(twice), "x[1]: maps an id of [0] again");
        let beyond = r#"[{"containerID": 0, "hostID": 4294967290, "size": 6}]"#;
        assert!(refused(beyond).starts_with("x[0]: hostID 4294967290"));
        let many: Vec<String> = (0..341)
            .map(|n| format!(r#"{{"containerID": {n}, "hostID": {n}, "size": 1}}"#))
            .collect();
        assert!(refused(&format!("[{}]", many.join(","))).starts_with("x: more than 340"));
    }

    #[test]
    fn a_map_of_the_callers_id_alone_is_recognized() {
        let map = planned(r#"[{"containerID": 0, "hostID": 1000, "size": 1}]"#).unwrap();
        assert!(map.maps_only(1000) && !map.maps_only(0));
    }

    #[test]
    fn malformed_text_is_not_a_map() {
        assert_eq!(Map::parse("0 0"), None);
        assert_eq!(Map::parse("a b c"), None);
        assert_eq!(Map::parse(""), Some(Map(Vec::new())));
    }
}
