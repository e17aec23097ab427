//! One map of user ids or of group ids (user_namespaces(7)).

use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use caps::Capability;
use nix::errno::Errno;
use oci_spec::runtime::LinuxIdMapping;

use crate::host::missing_capability;
use crate::trusted_proc::Proc;

/// The kernel's limit on the lines of a map (user_namespaces(7), Linux 4.15).
const MAX_RANGES: usize = 340;

/// The most ranges of ids that an error names.
const MAX_NAMED_SPANS: usize = 3;

/// A map of user ids or of group ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Map(pub(super) Vec<Range>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// The first id in the container.
    pub(super) container_id: u32,
    /// The first id on the host.
    pub(super) host_id: u32,
    pub(super) size: u32,
}

impl Map {
    /// Plans the list at `place`. `None` if it is missing or empty.
    ///
    /// # Errors
    /// When it is too long, has an invalid range, or maps an id twice.
    pub(super) fn plan(place: &str, listed: Option<&Vec<LinuxIdMapping>>) -> Result<Option<Map>> {
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

    /// # Errors
    /// When `id`, which is that of the field `place`, is not in the map at `map`. The error names
    /// ids that are.
    pub(super) fn require(&self, id: u32, place: &str, map: &str) -> Result<()> {
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
            .map(|(first, last)| {
                if first == last {
                    first.to_string()
                } else {
                    format!("an id from {first} to {last}")
                }
            })
            .collect();
        if spans.len() > MAX_NAMED_SPANS {
            texts.push("another that is mapped".to_owned());
        }
        texts.join(", or ")
    }

    /// The host's id for `id` in the namespace.
    pub(super) fn host_id(&self, id: u32) -> Option<u32> {
        self.0.iter().find_map(|range| {
            let offset = id.checked_sub(range.container_id)?;
            (offset < range.size).then(|| range.host_id + offset)
        })
    }

    pub(super) fn maps_outside(&self, host_id: u32) -> bool {
        (self.0.iter()).any(|range| host_id.wrapping_sub(range.host_id) < range.size)
    }

    /// Why the kernel refuses to write this map (user_namespaces(7)).
    pub(super) fn hint(&self, errno: Errno, name: &str, proc: &Proc) -> Option<String> {
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
        if let Some(missing) = missing_capability(errno, self.needed_capabilities(name)) {
            return Some(missing);
        }
        let restriction = "kernel/apparmor_restrict_unprivileged_userns";
        let restricted = proc.read_sysctl(restriction).ok()?;
        (restricted.trim() == "1").then(|| {
            "AppArmor keeps users from it: kernel.apparmor_restrict_unprivileged_userns is 1"
                .to_owned()
        })
    }

    /// What root needs to write this map. CAP_SETFCAP is needed to map 0, because root of the new
    /// namespace could then give files capabilities (user_namespaces(7); Linux 5.12).
    fn needed_capabilities(&self, name: &str) -> &'static [Capability] {
        match (name, self.maps_outside(0)) {
            ("uid", true) => &[Capability::CAP_SETUID, Capability::CAP_SETFCAP],
            ("uid", false) => &[Capability::CAP_SETUID],
            (_, true) => &[Capability::CAP_SETGID, Capability::CAP_SETFCAP],
            (_, false) => &[Capability::CAP_SETGID],
        }
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
    pub(super) fn maps_only(&self, own: u32) -> bool {
        matches!(self.0.as_slice(), [Range { host_id, size: 1, .. }] if *host_id == own)
    }

    /// Whether the maps are equal but for their order.
    pub(super) fn same(&self, other: &Map) -> bool {
        let sorted = |map: &Map| {
            let mut ranges = map.0.clone();
            ranges.sort_by_key(|range| range.container_id);
            ranges
        };
        sorted(self) == sorted(other)
    }

    /// The text to write to /proc/PID/uid_map or gid_map.
    pub(super) fn lines(&self) -> String {
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
