//! Every mount of a configuration as the container's mount table shows it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::confirm::{DEVICES, map};
use super::scene::{Scene, kept};
use crate::harness::{Kind, Mount, Report, mountinfo, on_v2};

/// Of two mounts at one place the later covers the earlier. So may the runtime's own mount of a device that
/// every container has.
pub(super) fn confirm(scene: &Scene, seen: &Report) {
    let config = scene.config();
    let all = config.items("/mounts");
    for (index, wanted) in all.iter().enumerate() {
        let place = wanted["destination"].as_str().unwrap();
        let covered = all[index + 1..]
            .iter()
            .any(|later| later["destination"] == place);
        let mounts = seen.mounts_at(place);
        let device = place.strip_prefix("/dev/");
        if covered {
            assert!(mounts.len() > 1, "{place} is mounted once");
        } else if device.is_some_and(|name| DEVICES.contains(&name)) {
            Wanted::new(wanted, scene, seen).confirm(&mounts[0]);
        } else {
            Wanted::new(wanted, scene, seen).confirm(&seen.mount(place));
        }
    }
    let readonly = config.get("/root/readonly") == &json!(true);
    let root = seen.mount("/");
    let is_readonly = root.options().contains(&"ro".to_owned());
    assert_eq!(is_readonly, readonly, "the root");
    assert!(!root.propagation().contains("shared"), "the root is shared");
}

struct Wanted<'a> {
    place: &'a str,
    kind: &'a str,
    source: &'a str,
    options: Vec<&'a str>,
    entry: &'a Value,
    scene: &'a Scene,
    seen: &'a Report,
}

impl<'a> Wanted<'a> {
    fn new(entry: &'a Value, scene: &'a Scene, seen: &'a Report) -> Self {
        let text = |key: &str| entry[key].as_str().unwrap();
        let options = entry["options"].as_array().into_iter().flatten();
        Self {
            place: text("destination"),
            kind: text("type"),
            source: text("source"),
            options: options.filter_map(Value::as_str).collect(),
            entry,
            scene,
            seen,
        }
    }

    fn asks(&self, option: &str) -> bool {
        self.options.contains(&option)
    }

    fn confirm(&self, mount: &Mount) {
        match self.kind {
            "cgroup" => return self.confirm_cgroups(),
            "bind" => assert_eq!(mount.root(), root_of(self.source), "{}", self.place),
            _ => assert_eq!(
                (mount.kind(), mount.source()),
                (self.kind, self.source),
                "{}",
                self.place
            ),
        }
        for option in &self.options {
            self.confirm_option(option, mount);
        }
        self.confirm_propagation(mount);
        if let Some(question) = kept(self.entry) {
            let wanted = format!("kept in {}", self.place);
            assert_eq!(self.seen.asked(&question), wanted);
        }
    }

    /// Version 1: a mount for each hierarchy.
    fn confirm_cgroups(&self) {
        let place = self.place;
        let (kind, places) = if on_v2() {
            ("cgroup2", vec![place.to_owned()])
        } else {
            let of = |controller| format!("{place}/{controller}");
            ("cgroup", ["memory", "cpu", "devices"].map(of).into())
        };
        let ours = self.scene.bundle.runtime().kind() == Kind::Rt;
        let strangers = ours && self.scene.is_rootless();
        for place in places {
            let mount = self.seen.mount(&place);
            assert_eq!(mount.kind(), kind, "{place}");
            let asked = self.options.iter().filter(|option| **option != "rw");
            asked.for_each(|option| self.confirm_option(option, &mount));
            let readonly = mount.options().contains(&"ro".to_owned());
            // A cgroup that is not the container's own is not the container's to change.
            assert_eq!(readonly, strangers || self.asks("ro"), "ro on {place}");
        }
    }

    fn confirm_option(&self, option: &str, mount: &Mount) {
        let place = self.place;
        let has = |option: &str| assert!(mount.has(option), "{option} on {place}");
        match option.split_once('=') {
            // The kernel shows modes in octal without the leading zero, but not the default one.
            Some(("mode", "1777")) => {}
            Some((name @ ("mode" | "ptmxmode"), mode)) => {
                has(&format!("{name}={}", mode.trim_start_matches('0')));
            }
            // The kernel shows whole kilobytes, and ids of the machine.
            Some(("size", size)) => has(&format!("size={}k", bytes(size) / 1024)),
            Some(("gid", gid)) => has(&format!("gid={}", self.outside(gid.parse().unwrap()))),
            Some(_) => has(option),
            None => match option {
                "rbind" | "bind" | "newinstance" | "tmpcopyup" => {}
                "private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared" => {}
                "strictatime" => assert!(
                    !mount.has("relatime") && !mount.has("noatime"),
                    "strictatime on {place}"
                ),
                "rw" => assert!(mount.options().contains(&"rw".to_owned()), "rw on {place}"),
                option => has(option),
            },
        }
    }

    /// The number outside of the user namespace.
    fn outside(&self, gid: u64) -> u64 {
        let maps = map(&self.seen["gid_map"]).into_iter();
        let mut found = maps.filter_map(|[inside, outside, size]| {
            let within = (inside..inside + size).contains(&gid);
            within.then(|| outside + (gid - inside))
        });
        found.next().expect("a mapped group")
    }

    fn confirm_propagation(&self, mount: &Mount) {
        let (place, now) = (self.place, mount.propagation());
        let asks = |names: [&str; 2]| names.iter().any(|name| self.asks(name));
        if asks(["shared", "rshared"]) {
            assert!(now.starts_with("shared:"), "{place} is not shared: {now}");
        } else if asks(["slave", "rslave"]) && self.follows_the_machine() {
            assert!(now.starts_with("master:"), "{place} is no slave: {now}");
        } else if self.kind != "bind" || asks(["private", "rprivate"]) {
            assert_eq!(now, "", "{place} is private");
        } else {
            // Where the host's mounts are shared, a copy may follow them.
            assert!(!now.starts_with("shared"), "{place} is shared");
        }
    }

    /// Whether the source lies on a shared mount of the machine, in the namespace of the runtime.
    fn follows_the_machine(&self) -> bool {
        let shared = entry_of(self.source).contains(" shared:");
        shared && !self.scene.is_rootless()
    }
}

/// The line of the machine's mount table for the mount that a path lies on.
fn entry_of(path: &str) -> String {
    let entries = mountinfo().into_iter();
    let below = entries.filter(|entry| Path::new(path).starts_with(point(entry)));
    below.max_by_key(|entry| point(entry).len()).unwrap()
}

fn point(entry: &str) -> &str {
    entry.split(' ').nth(4).unwrap()
}

/// Which part of its file system a bind mount of this path shows.
fn root_of(path: &str) -> String {
    let entry = entry_of(path);
    let root = entry.split(' ').nth(3).unwrap();
    let rest = Path::new(path).strip_prefix(point(&entry)).unwrap();
    // Collected anew: a path joined with nothing ends with a slash.
    let whole: PathBuf = Path::new(root).join(rest).components().collect();
    whole.display().to_string()
}

fn bytes(size: &str) -> u64 {
    match size.strip_suffix('k') {
        Some(kilobytes) => kilobytes.parse::<u64>().unwrap() * 1024,
        None => size.parse().unwrap(),
    }
}
