//! Checks the mounts of a configuration in the container's mount table.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::fields::{DEVICES, map};
use super::setup::{Setup, copied_up_file};
use crate::harness::{Kind, Mount, Report, mountinfo, on_v2};

/// A later mount at the same destination covers an earlier one. The runtime's own bind mount of a default
/// device may cover a mount, too.
pub(super) fn check(setup: &Setup, seen: &Report) {
    let config = setup.config();
    let all = config.items("/mounts");
    for (index, expected) in all.iter().enumerate() {
        let destination = expected["destination"].as_str().unwrap();
        let covered = all[index + 1..]
            .iter()
            .any(|later| later["destination"] == destination);
        let mounts = seen.mounts_at(destination);
        let device = destination.strip_prefix("/dev/");
        if covered {
            assert!(mounts.len() > 1, "{destination} is mounted once");
        } else if device.is_some_and(|name| DEVICES.contains(&name)) {
            ExpectedMount::new(expected, setup, seen).check(&mounts[0]);
        } else {
            ExpectedMount::new(expected, setup, seen).check(&seen.mount(destination));
        }
    }
    let readonly = config.get("/root/readonly") == &json!(true);
    let root = seen.mount("/");
    let is_readonly = root.options().contains(&"ro".to_owned());
    assert_eq!(is_readonly, readonly, "the root");
    assert!(!root.propagation().contains("shared"), "the root is shared");
}

struct ExpectedMount<'a> {
    destination: &'a str,
    kind: &'a str,
    source: &'a str,
    options: Vec<&'a str>,
    entry: &'a Value,
    setup: &'a Setup,
    seen: &'a Report,
}

impl<'a> ExpectedMount<'a> {
    fn new(entry: &'a Value, setup: &'a Setup, seen: &'a Report) -> Self {
        let text = |key: &str| entry[key].as_str().unwrap();
        let options = entry["options"].as_array().into_iter().flatten();
        Self {
            destination: text("destination"),
            kind: text("type"),
            source: text("source"),
            options: options.filter_map(Value::as_str).collect(),
            entry,
            setup,
            seen,
        }
    }

    fn has_option(&self, option: &str) -> bool {
        self.options.contains(&option)
    }

    fn check(&self, mount: &Mount) {
        match self.kind {
            "cgroup" => return self.check_cgroups(),
            "bind" => assert_eq!(mount.root(), root_of(self.source), "{}", self.destination),
            _ => assert_eq!(
                (mount.kind(), mount.source()),
                (self.kind, self.source),
                "{}",
                self.destination
            ),
        }
        for option in &self.options {
            self.check_option(option, mount);
        }
        self.check_propagation(mount);
        if let Some(question) = copied_up_file(self.entry) {
            let expected = format!("kept in {}", self.destination);
            assert_eq!(self.seen.asked(&question), expected);
        }
    }

    /// On cgroup v1 there is a mount for each hierarchy.
    fn check_cgroups(&self) {
        let destination = self.destination;
        let (kind, destinations) = if on_v2() {
            ("cgroup2", vec![destination.to_owned()])
        } else {
            let of = |controller| format!("{destination}/{controller}");
            ("cgroup", ["memory", "cpu", "devices"].map(of).into())
        };
        let ours = self.setup.bundle.runtime().kind() == Kind::Rt;
        let is_callers_cgroup = ours && self.setup.is_rootless();
        for destination in destinations {
            let mount = self.seen.mount(&destination);
            assert_eq!(mount.kind(), kind, "{destination}");
            let options = self.options.iter().filter(|option| **option != "rw");
            options.for_each(|option| self.check_option(option, &mount));
            let readonly = mount.options().contains(&"ro".to_owned());
            // A container without a cgroup of its own gets the caller's read-only.
            assert_eq!(
                readonly,
                is_callers_cgroup || self.has_option("ro"),
                "ro on {destination}"
            );
        }
    }

    fn check_option(&self, option: &str, mount: &Mount) {
        let destination = self.destination;
        let has = |option: &str| assert!(mount.has(option), "{option} on {destination}");
        match option.split_once('=') {
            // The kernel shows modes in octal without a leading zero, and omits the default mode.
            Some(("mode", "1777")) => {}
            Some((name @ ("mode" | "ptmxmode"), mode)) => {
                has(&format!("{name}={}", mode.trim_start_matches('0')));
            }
            // The kernel shows sizes in kilobytes, and ids of the host.
            Some(("size", size)) => has(&format!("size={}k", bytes(size) / 1024)),
            Some(("gid", gid)) => has(&format!("gid={}", self.outside(gid.parse().unwrap()))),
            Some(_) => has(option),
            None => match option {
                "rbind" | "bind" | "newinstance" | "tmpcopyup" => {}
                "private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared" => {}
                "strictatime" => assert!(
                    !mount.has("relatime") && !mount.has("noatime"),
                    "strictatime on {destination}"
                ),
                "rw" => assert!(
                    mount.options().contains(&"rw".to_owned()),
                    "rw on {destination}"
                ),
                option => has(option),
            },
        }
    }

    /// The gid outside the user namespace.
    fn outside(&self, gid: u64) -> u64 {
        let maps = map(&self.seen["gid_map"]).into_iter();
        let mut found = maps.filter_map(|[inside, outside, size]| {
            let within = (inside..inside + size).contains(&gid);
            within.then(|| outside + (gid - inside))
        });
        found.next().expect("a mapped group")
    }

    fn check_propagation(&self, mount: &Mount) {
        let (destination, now) = (self.destination, mount.propagation());
        let asks = |names: [&str; 2]| names.iter().any(|name| self.has_option(name));
        if asks(["shared", "rshared"]) {
            assert!(
                now.starts_with("shared:"),
                "{destination} is not shared: {now}"
            );
        } else if asks(["slave", "rslave"]) && self.source_is_on_shared_mount() {
            assert!(
                now.starts_with("master:"),
                "{destination} is no slave: {now}"
            );
        } else if self.kind != "bind" || asks(["private", "rprivate"]) {
            assert_eq!(now, "", "{destination} is private");
        } else {
            // If the host's mount is shared, the copy may be a slave of it.
            assert!(!now.starts_with("shared"), "{destination} is shared");
        }
    }

    /// Whether the source is on a shared mount in the runtime's mount namespace.
    fn source_is_on_shared_mount(&self) -> bool {
        let shared = entry_of(self.source).contains(" shared:");
        shared && !self.setup.is_rootless()
    }
}

/// The line of the host's mountinfo for the mount that contains a path.
fn entry_of(path: &str) -> String {
    let entries = mountinfo().into_iter();
    let below = entries.filter(|entry| Path::new(path).starts_with(point(entry)));
    below.max_by_key(|entry| point(entry).len()).unwrap()
}

fn point(entry: &str) -> &str {
    entry.split(' ').nth(4).unwrap()
}

/// The root that mountinfo shows for a bind mount of this path.
fn root_of(path: &str) -> String {
    let entry = entry_of(path);
    let root = entry.split(' ').nth(3).unwrap();
    let rest = Path::new(path).strip_prefix(point(&entry)).unwrap();
    // `components` removes the slash that `join` adds if `rest` is empty.
    let whole: PathBuf = Path::new(root).join(rest).components().collect();
    whole.display().to_string()
}

fn bytes(size: &str) -> u64 {
    match size.strip_suffix('k') {
        Some(kilobytes) => kilobytes.parse::<u64>().unwrap() * 1024,
        None => size.parse().unwrap(),
    }
}
