//! User namespaces: `uidMappings` and `gidMappings`, of `linux` and of a mount
//! (user_namespaces(7)).

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

/// As many as the kernel takes (user_namespaces(7), Linux 4.15).
const MOST: usize = 340;

/// Where the programs lie that map what a user was lent in /etc/subuid and
/// /etc/subgid (newuidmap(1)). No PATH is asked.
const PROGRAM_DIRECTORIES: [&str; 5] = [
    "/usr/bin",
    "/bin",
    "/usr/sbin",
    "/sbin",
    "/run/wrappers/bin",
];

/// Who makes a user namespace.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mapper {
    /// The effective ids.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// It has CAP_SETUID and CAP_SETGID: it maps what it likes.
    pub(crate) privileged: bool,
}

/// The ids of a new user namespace.
#[derive(Clone, Debug)]
pub(crate) struct Maps {
    /// What stands before the names of the two lists: `linux.`, `mounts[3].`.
    owner: String,
    uids: Map,
    gids: Map,
    mapper: Mapper,
}

/// One of the two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Map(Vec<Range>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    /// The first id in the container.
    inside: u32,
    /// The first id outside.
    outside: u32,
    size: u32,
}

impl Maps {
    /// Decides from the two lists of `owner`, which stand or fall together.
    ///
    /// # Errors
    /// By place: a list that is missing, too long, or contradicts itself.
    pub(super) fn plan(
        owner: &str,
        uids: Option<&Vec<LinuxIdMapping>>,
        gids: Option<&Vec<LinuxIdMapping>>,
        mapper: Mapper,
    ) -> Result<Option<Maps>> {
        let uids = Map::plan(&format!("{owner}uidMappings"), uids)?;
        let gids = Map::plan(&format!("{owner}gidMappings"), gids)?;
        let owner = owner.to_owned();
        match (uids, gids) {
            (None, None) => Ok(None),
            (Some(uids), Some(gids)) => Ok(Some(Maps {
                owner,
                uids,
                gids,
                mapper,
            })),
            (Some(_), None) => Err(anyhow!(
                "{owner}gidMappings: required with {owner}uidMappings"
            )),
            (None, Some(_)) => Err(anyhow!(
                "{owner}uidMappings: required with {owner}gidMappings"
            )),
        }
    }

    pub(crate) fn has_uid(&self, id: u32) -> bool {
        self.uids.has(id)
    }

    /// The id outside that is `id` in the namespace.
    pub(crate) fn outside(&self, id: u32) -> Option<u32> {
        self.uids.outside(id)
    }

    pub(crate) fn has_gid(&self, id: u32) -> bool {
        self.gids.has(id)
    }

    /// Whether nobody in it can set groups, because nobody was entitled to map them.
    pub(crate) fn refuses_groups(&self) -> bool {
        !self.mapper.privileged && self.gids.is_only(self.mapper.gid)
    }

    /// Whether the files of its process below /proc must be the caller's:
    /// those of one that is not dumpable are root's (proc(5)).
    pub(super) fn needs_dumpable(&self) -> bool {
        self.mapper.uid != 0
    }

    /// Runtime: writes both for the process `pid`, the first of its namespace.
    ///
    /// # Errors
    /// What the kernel refuses, or newuidmap(1), in its own words.
    pub(super) fn write(&self, pid: Pid, proc: &Proc) -> Result<()> {
        let Mapper { uid, gid, .. } = self.mapper;
        self.write_one(&self.uids, uid, pid, proc, "uid")
            .with_context(|| self.place("uidMappings"))?;
        self.write_one(&self.gids, gid, pid, proc, "gid")
            .with_context(|| self.place("gidMappings"))
    }

    /// Where one of the two lists stands in config.json.
    pub(super) fn place(&self, list: &str) -> String {
        format!("{}{list}", self.owner)
    }

    /// Whether both say the same, wherever they stand.
    pub(super) fn same(&self, other: &Maps) -> bool {
        self.are(&other.uids, &other.gids)
    }

    fn write_one(&self, map: &Map, own: u32, pid: Pid, proc: &Proc, name: &str) -> Result<()> {
        if !self.mapper.privileged && !map.is_only(own) {
            return map.hand_to_program(&format!("new{name}map"), pid);
        }
        // Who gives up a group could get at what is closed to that group: a user
        // maps its own only where nobody can (user_namespaces(7), CVE-2014-8989).
        if !self.mapper.privileged && name == "gid" {
            proc.write(&format!("{pid}/setgroups"), b"deny")
                .with_context(|| format!("write \"deny\" to /proc/{pid}/setgroups"))?;
        }
        let file = format!("{pid}/{name}_map");
        proc.write(&file, map.lines().as_bytes()).with_context(|| {
            format!("write to /proc/{file} (does the caller's user namespace have each hostID?)")
        })
    }

    /// Whom init works as: root of the namespace, or who comes first in it.
    pub(super) fn root(&self) -> Option<(u32, u32)> {
        Some((self.uids.first()?, self.gids.first()?))
    }

    /// Whether the namespace of this process has these maps and no others.
    pub(super) fn are(&self, uids: &Map, gids: &Map) -> bool {
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
            listed.len() <= MOST,
            "{place}: more than {MOST}, all that a kernel takes"
        );
        let mut ranges: Vec<Range> = Vec::with_capacity(listed.len());
        for (index, mapping) in listed.iter().enumerate() {
            let range = Range {
                inside: mapping.container_id(),
                outside: mapping.host_id(),
                size: mapping.size(),
            };
            ensure!(range.size > 0, "{place}[{index}]: maps no id");
            for (start, name) in [(range.inside, "containerID"), (range.outside, "hostID")] {
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

    /// A file `uid_map` or `gid_map`; `None` if it cannot be one.
    pub(super) fn parse(text: &str) -> Option<Map> {
        let range = |line: &str| {
            let mut numbers = line.split_whitespace().map(|word| word.parse().ok());
            Some(Range {
                inside: numbers.next()??,
                outside: numbers.next()??,
                size: numbers.next()??,
            })
        };
        text.lines().map(range).collect::<Option<_>>().map(Map)
    }

    fn has(&self, id: u32) -> bool {
        self.outside(id).is_some()
    }

    fn outside(&self, id: u32) -> Option<u32> {
        self.0.iter().find_map(|range| {
            let place = id.checked_sub(range.inside)?;
            (place < range.size).then(|| range.outside + place)
        })
    }

    /// 0, or the lowest id that there is.
    pub(super) fn first(&self) -> Option<u32> {
        self.0.iter().map(|range| range.inside).min()
    }

    fn is_only(&self, own: u32) -> bool {
        matches!(self.0.as_slice(), [Range { outside, size: 1, .. }] if *outside == own)
    }

    fn same(&self, other: &Map) -> bool {
        let sorted = |map: &Map| {
            let mut all = map.0.clone();
            all.sort_by_key(|range| range.inside);
            all
        };
        sorted(self) == sorted(other)
    }

    fn lines(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, range| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{} {} {}", range.inside, range.outside, range.size);
            text
        })
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "the machine's own setuid program, by its absolute path and without an environment"
    )]
    fn hand_to_program(&self, name: &str, pid: Pid) -> Result<()> {
        let places = PROGRAM_DIRECTORIES.map(|directory| Path::new(directory).join(name));
        let program = places.iter().find(|path| path.exists()).with_context(|| {
            format!(
                "{name} is not installed (package uidmap); without it a user maps its own id alone"
            )
        })?;
        let said = sys::anonymous_file(c"said").context(name.to_owned())?;
        let mut command = Command::new(program);
        command
            .arg0(name)
            .arg(pid.to_string())
            .args(self.lines().split_whitespace())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::from(said.try_clone().context("memfd")?));
        let status = command
            .status()
            .with_context(|| program.display().to_string())?;
        if status.success() {
            return Ok(());
        }
        lseek(&said, 0, Whence::SeekSet).context(name.to_owned())?;
        let words = sys::read_to_string(said.as_fd()).unwrap_or_default();
        let words = words
            .trim()
            .trim_start_matches(name)
            .trim_start_matches(": ");
        Err(anyhow!(
            "{name}: {}",
            if words.is_empty() { "failed" } else { words }
        ))
    }
}

impl Range {
    fn overlaps(self, other: Range) -> bool {
        let meet = |a: u32, b: u32| {
            u64::from(a) < u64::from(b) + u64::from(other.size)
                && u64::from(b) < u64::from(a) + u64::from(self.size)
        };
        meet(self.inside, other.inside) || meet(self.outside, other.outside)
    }
}

/// The maps of the namespace that this process is in.
///
/// # Errors
/// `EIO` for files that are none.
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
    fn ids_are_looked_up_in_every_range() {
        let map = planned(
            r#"[{"containerID": 10, "hostID": 1000, "size": 1},
                {"containerID": 0, "hostID": 100000, "size": 5}]"#,
        )
        .unwrap();
        assert!(map.has(0) && map.has(4) && map.has(10) && !map.has(5) && !map.has(11));
        assert_eq!(
            (map.outside(10), map.outside(3)),
            (Some(1000), Some(100_003))
        );
        assert_eq!(map.first(), Some(0));
        assert_eq!(map.lines(), "10 1000 1\n0 100000 5\n");
        assert!(!map.is_only(1000));
        let read =
            Map::parse("         0     100000          5\n        10       1000          1\n");
        assert!(map.same(&read.unwrap()));
    }

    #[test]
    fn a_list_that_contradicts_itself_is_refused() {
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
    fn ones_own_id_needs_no_program() {
        let map = planned(r#"[{"containerID": 0, "hostID": 1000, "size": 1}]"#).unwrap();
        assert!(map.is_only(1000) && !map.is_only(0));
    }

    #[test]
    fn foreign_text_is_no_map() {
        assert_eq!(Map::parse("0 0"), None);
        assert_eq!(Map::parse("a b c"), None);
        assert_eq!(Map::parse(""), Some(Map(Vec::new())));
    }
}
