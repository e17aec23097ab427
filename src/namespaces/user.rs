//! Id maps of user namespaces (user_namespaces(7)): `uidMappings` and `gidMappings`
//! of `linux` and of a mount.

use std::fmt::Write;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, ensure};
use nix::errno::Errno;
use nix::unistd::{Pid, Whence, lseek};
use oci_spec::runtime::LinuxIdMapping;

use crate::sys;
use crate::trusted_proc::Proc;

/// The kernel's limit on the lines of a map (user_namespaces(7), Linux 4.15).
const MAX_RANGES: usize = 340;

/// The most ranges of ids that an error names.
const MAX_NAMED_SPANS: usize = 3;

/// Where newuidmap(1) and newgidmap(1) are searched for. They map the ids that
/// /etc/subuid and /etc/subgid grant to a user. PATH is not used.
const PROGRAM_DIRECTORIES: [&str; 5] = [
    "/usr/bin",
    "/bin",
    "/usr/sbin",
    "/sbin",
    "/run/wrappers/bin",
];

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
    uids: Map,
    gids: Map,
    mapper: Mapper,
}

/// A map of user ids or of group ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Map(Vec<Range>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    /// The first id in the container.
    container_id: u32,
    /// The first id on the host.
    host_id: u32,
    size: u32,
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

    /// # Errors
    /// When the uid `id` of the container, which is that of the field `place`, is not mapped.
    pub(crate) fn require_uid(&self, id: u32, place: &str) -> Result<()> {
        self.uids.require(id, place, &self.place("uidMappings"))
    }

    /// The host's uid for `id` in the namespace.
    pub(super) fn host_uid(&self, id: u32) -> Option<u32> {
        self.uids.host_id(id)
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
        if !self.mapper.privileged && !map.maps_only(own) {
            return map
                .write_by_program(&format!("new{name}map"), pid)
                .with_context(|| {
                    format!("{name} {own} may map itself, and what /etc/sub{name} grants")
                });
        }
        // A file can deny its group what it grants to others, so a process that drops a
        // group gains access. An unprivileged user must therefore deny setgroups(2)
        // before it maps its own group (user_namespaces(7), CVE-2014-8989).
        if !self.mapper.privileged && name == "gid" {
            proc.write(&format!("{pid}/setgroups"), b"deny")
                .with_context(|| format!("write \"deny\" to /proc/{pid}/setgroups"))?;
        }
        let file = format!("{pid}/{name}_map");
        proc.write(&file, map.lines().as_bytes()).with_context(|| {
            format!("write to /proc/{file} (does the caller's user namespace have each hostID?)")
        })
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
            "{place}: {} mappings; the kernel allows {MAX_RANGES}",
            listed.len()
        );
        let mut ranges: Vec<Range> = Vec::with_capacity(listed.len());
        for (index, mapping) in listed.iter().enumerate() {
            let range = Range {
                container_id: mapping.container_id(),
                host_id: mapping.host_id(),
                size: mapping.size(),
            };
            ensure!(
                range.size > 0,
                "{place}[{index}].size: 0 maps no id; want at least 1"
            );
            for (start, name) in [
                (range.container_id, "containerID"),
                (range.host_id, "hostID"),
            ] {
                ensure!(
                    start
                        .checked_add(range.size - 1)
                        .is_some_and(|last| last < u32::MAX),
                    "{place}[{index}]: {name} {start} and size {} lead beyond the last id, {}",
                    range.size,
                    u32::MAX - 1
                );
            }
            for (earlier, other) in ranges.iter().enumerate() {
                range
                    .refuse_overlap(*other)
                    .with_context(|| format!("{place}[{index}]: overlaps [{earlier}]"))?;
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

    fn require(&self, id: u32, place: &str, map: &str) -> Result<()> {
        ensure!(
            self.host_id(id).is_some(),
            "{place}: {id} is not mapped in {map}: map it, or use {}",
            self.ids()
        );
        Ok(())
    }

    /// The ids of the container as text, in order: `an id from 0 to 999, or 2000`.
    fn ids(&self) -> String {
        let mut ranges = self.0.clone();
        ranges.sort_by_key(|range| range.container_id);
        let mut spans: Vec<(u32, u32)> = Vec::new();
        for range in ranges {
            let (first, last) = range.span(range.container_id);
            match spans.last_mut() {
                Some((_, end)) if *end + 1 == first => *end = last,
                _ => spans.push((first, last)),
            }
        }
        let named = spans.iter().take(MAX_NAMED_SPANS);
        let mut texts: Vec<String> = named
            .map(|(first, last)| match first == last {
                true => first.to_string(),
                false => format!("an id from {first} to {last}"),
            })
            .collect();
        if spans.len() > MAX_NAMED_SPANS {
            texts.push("another that is mapped".to_owned());
        }
        texts.join(", or ")
    }

    fn host_id(&self, id: u32) -> Option<u32> {
        self.0.iter().find_map(|range| {
            let offset = id.checked_sub(range.container_id)?;
            (offset < range.size).then(|| range.host_id + offset)
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

    #[allow(
        clippy::disallowed_methods,
        reason = "a setuid program of the host, by its absolute path and without an environment"
    )]
    fn write_by_program(&self, name: &str, pid: Pid) -> Result<()> {
        let paths = PROGRAM_DIRECTORIES.map(|directory| Path::new(directory).join(name));
        let program = paths.iter().find(|path| path.exists()).with_context(|| {
            format!("{name} is not installed (package uidmap), and only it may map other ids")
        })?;
        let stderr = sys::anonymous_file(c"stderr").context(name.to_owned())?;
        let mut command = Command::new(program);
        command
            .arg0(name)
            .arg(pid.to_string())
            .args(self.lines().split_whitespace())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::from(stderr.try_clone().context("memfd")?));
        let status = command
            .status()
            .with_context(|| program.display().to_string())?;
        if status.success() {
            return Ok(());
        }
        lseek(&stderr, 0, Whence::SeekSet).context(name.to_owned())?;
        let message = sys::read_to_string(stderr.as_fd()).unwrap_or_default();
        let message = message
            .trim()
            .trim_start_matches(name)
            .trim_start_matches(": ");
        Err(anyhow!(
            "{name}: {}",
            if message.is_empty() {
                "failed"
            } else {
                message
            }
        ))
    }
}

impl Range {
    /// The first and the last of the ids from `start` on.
    fn span(self, start: u32) -> (u32, u32) {
        (start, start + (self.size - 1))
    }

    /// # Errors
    /// When an id is in both ranges.
    fn refuse_overlap(self, other: Range) -> Result<()> {
        for (name, own, others) in [
            ("containerID", self.container_id, other.container_id),
            ("hostID", self.host_id, other.host_id),
        ] {
            let ((first, last), (others_first, others_last)) = (self.span(own), other.span(others));
            ensure!(
                last < others_first || others_last < first,
                "{name} {first} to {last}, and {others_first} to {others_last}"
            );
        }
        Ok(())
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
        format!("{:#}", planned(json).unwrap_err())
    }

    #[test]
    fn an_id_is_found_in_any_range() {
        let map = planned(
            r#"[{"containerID": 10, "hostID": 1000, "size": 1},
                {"containerID": 0, "hostID": 100000, "size": 5}]"#,
        )
        .unwrap();
        let has = |id| map.host_id(id).is_some();
        assert!(has(0) && has(4) && has(10) && !has(5) && !has(11));
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
            "x[0].size: 0 maps no id; want at least 1"
        );
        let twice = r#"[{"containerID": 0, "hostID": 7, "size": 5}, {"containerID": 4, "hostID": 100, "size": 1}]"#;
        assert_eq!(
            refused(twice),
            "x[1]: overlaps [0]: containerID 4 to 4, and 0 to 4"
        );
        let beyond = r#"[{"containerID": 0, "hostID": 4294967290, "size": 6}]"#;
        assert_eq!(
            refused(beyond),
            "x[0]: hostID 4294967290 and size 6 lead beyond the last id, 4294967294"
        );
        let many: Vec<String> = (0..341)
            .map(|n| format!(r#"{{"containerID": {n}, "hostID": {n}, "size": 1}}"#))
            .collect();
        assert!(refused(&format!("[{}]", many.join(","))).starts_with("x: 341 mappings"));
    }

    #[test]
    fn an_id_that_is_not_mapped_is_refused_with_those_that_are() {
        let map = |ranges: &[(u32, u32)]| {
            let range = |(at, (container_id, size)): (usize, &(u32, u32))| Range {
                container_id: *container_id,
                host_id: 100_000 * (at as u32 + 1),
                size: *size,
            };
            Map(ranges.iter().enumerate().map(range).collect())
        };
        for (ranges, ids) in [
            (&[(0, 1000)][..], "an id from 0 to 999"),
            (&[(1, 9), (0, 1)], "an id from 0 to 9"),
            (&[(0, 1), (5, 5)], "0, or an id from 5 to 9"),
            (
                &[(0, 1), (2, 1), (4, 1), (6, 1)],
                "0, or 2, or 4, or another that is mapped",
            ),
        ] {
            let error = map(ranges).require(5000, "x", "y").unwrap_err().to_string();
            assert_eq!(
                error,
                format!("x: 5000 is not mapped in y: map it, or use {ids}")
            );
            map(ranges).require(0, "x", "y").unwrap();
        }
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
