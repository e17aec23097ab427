//! The decisions about namespaces, their settings and id maps, as text.

use super::id_map::Map;
use super::idmappings::MapSource;
use super::kind::KINDS;
use super::user::Writer;
use super::{Idmappings, Kind, Mapper, Maps, Namespaces, Place};
use crate::decisions::{Decisions, list, word};

impl Namespaces {
    /// Adds the namespaces and their settings, in the order in which they are made.
    pub(crate) fn decisions(&self, to: &mut Decisions) {
        self.places(to);
        if let Some(maps) = &self.maps {
            self.maps(maps, to);
        }
        for (clock, seconds, nanoseconds) in self.offsets.clocks() {
            to.line(format!("{clock} clock: {seconds} s {nanoseconds} ns"));
        }
        if *self.place(Kind::Network) == Place::New {
            to.line("network interface lo: up");
        }
        if let Some(name) = &self.hostname {
            to.line(format!("hostname {}", word(name)));
        }
        if let Some(name) = &self.domainname {
            to.line(format!("domainname {}", word(name.to_string_lossy())));
        }
        for sysctl in &self.sysctls {
            let file = word(&sysctl.file);
            to.line(format!("sysctl /proc/{file} = {}", word(&sysctl.value)));
        }
    }

    /// Which namespaces the container is in, in the order in which it enters them.
    fn places(&self, to: &mut Decisions) {
        let line = |to: &mut Decisions, place: &str, is_there: &dyn Fn(Kind) -> bool| {
            let kinds: Vec<Kind> = KINDS.into_iter().filter(|kind| is_there(*kind)).collect();
            if !kinds.is_empty() {
                to.line(format!("{}: {place}", list(kinds)));
            }
        };
        let is_new = |kind| *self.place(kind) == Place::New;
        line(to, "the host's", &|kind| *self.place(kind) == Place::Shared);
        line(to, "new, by clone3(2)", &|kind| {
            is_new(kind) && self.created_by_clone(kind)
        });
        for kind in KINDS {
            if let Place::Joined { index, path } = self.place(kind) {
                let path = word(path.display());
                to.line(format!("{kind}: join {path} (linux.namespaces[{index}])"));
            }
        }
        let is_joined = |kind| matches!(self.place(kind), Place::Joined { .. });
        if *self.place(Kind::User) != Place::Shared && KINDS.into_iter().any(is_joined) {
            to.line("an intermediate process joins them and clones init");
        }
        line(to, "new, by unshare(2) of init", &|kind| {
            is_new(kind) && !self.created_by_clone(kind)
        });
    }

    fn maps(&self, maps: &Maps, to: &mut Decisions) {
        if self.new_maps().is_none() {
            let (uids, gids) = (ranges(&maps.uids), ranges(&maps.gids));
            to.line(format!("refuse the user namespace unless uids are {uids}"));
            to.line(format!("refuse the user namespace unless gids are {gids}"));
            return;
        }
        written(maps).into_iter().for_each(|map| to.line(map));
        if let Some((uid, gid)) = maps.root() {
            to.line(format!("init becomes {uid}:{gid} in the user namespace"));
        }
    }
}

impl Idmappings {
    /// Adds the id maps of mounts.
    pub(crate) fn decisions(&self, to: &mut Decisions) {
        for (item, source) in &self.mounts {
            let maps = match source {
                MapSource::Joined => None,
                MapSource::New(index) => self.maps.get(*index),
            };
            to.line(match maps {
                None => format!("ids of mounts[{item}]: those of the joined user namespace"),
                Some(maps) => format!("ids of mounts[{item}]: {}", written(maps).join("; ")),
            });
        }
    }
}

/// The uids and the gids of a new user namespace, and who writes them.
fn written(maps: &Maps) -> [String; 2] {
    let Mapper { uid, gid, .. } = maps.mapper;
    [(&maps.uids, uid, "uid"), (&maps.gids, gid, "gid")].map(|(map, own, name)| {
        let writer = match maps.writer(map, own, name) {
            Writer::Runtime => "written by rt".to_owned(),
            Writer::RuntimeAfterDeny => "written by rt, setgroups(2) denied".to_owned(),
            Writer::Program => format!("written by new{name}map(1)"),
        };
        format!("{name}s {}, {writer}", ranges(map))
    })
}

/// `0-999 = 100000-100999 of the host`, for each range.
fn ranges(map: &Map) -> String {
    let through = |first: u32, size: u32| match size {
        1 => first.to_string(),
        _ => format!("{first}-{}", u64::from(first) + u64::from(size) - 1),
    };
    let ranges = map.0.iter().map(|range| {
        let (ours, theirs) = (range.container_id, range.host_id);
        format!(
            "{} = {} of the host",
            through(ours, range.size),
            through(theirs, range.size)
        )
    });
    list(ranges)
}
