//! Every field of a configuration that is neither a mount nor a limit nor a filter.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::scene::{Scene, link_of};
use crate::harness::{Config, Report};

pub(super) fn process(config: &Config, seen: &Report) {
    let number = |pointer: &str| config.get(pointer).as_u64();
    let [uid, gid] = ["/process/user/uid", "/process/user/gid"].map(|p| number(p).unwrap());
    assert_eq!(seen["uids"], json!([uid, uid, uid, uid]));
    assert_eq!(seen["gids"], json!([gid, gid, gid, gid]));
    assert_eq!(
        seen["groups"],
        json!(config.items("/process/user/additionalGids"))
    );
    assert_eq!(
        seen["umask"],
        number("/process/user/umask").unwrap_or(0o022)
    );
    assert_eq!(seen["cwd"], *config.get("/process/cwd"));
    assert_eq!(seen["argv"], *config.get("/process/args"));
    environment(config, seen);
    let no_new_privileges = config.get("/process/noNewPrivileges") == &json!(true);
    assert_eq!(seen["no_new_privs"], u64::from(no_new_privileges));
    // 2 is a filter; see proc_pid_status(5).
    let filtered = config.get("/linux/seccomp").is_object();
    assert_eq!(seen["seccomp"], if filtered { 2 } else { 0 });
    for limit in config.items("/process/rlimits") {
        let name = limit["type"].as_str().unwrap();
        assert_eq!(
            seen["rlimits"][name],
            json!([limit["soft"], limit["hard"]]),
            "{name}"
        );
    }
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let score = config.get("/process/oomScoreAdj").as_i64();
    assert_eq!(
        seen["oom_score_adj"],
        score.map_or(own.trim().to_owned(), |score| score.to_string())
    );
}

/// As written, with HOME from passwd where it is not set.
fn environment(config: &Config, seen: &Report) {
    let mut wanted = config.items("/process/env").to_vec();
    let home = json!("HOME=/root");
    if !wanted.contains(&home) {
        wanted.push(home);
    }
    let mut set = seen["env"].as_array().unwrap().clone();
    for list in [&mut wanted, &mut set] {
        list.sort_by_key(Value::to_string);
    }
    assert_eq!(set, wanted);
}

/// Those of the configuration; nothing can be ambient that is not inheritable too (capabilities(7)).
pub(super) fn capabilities(config: &Config, seen: &Report, withheld: &BTreeSet<String>) {
    let names = |set: &str| {
        let wanted = config.items(&format!("/process/capabilities/{set}"));
        let wanted = wanted.iter().filter_map(Value::as_str).map(str::to_owned);
        wanted.collect::<BTreeSet<String>>()
    };
    for set in [
        "bounding",
        "permitted",
        "effective",
        "inheritable",
        "ambient",
    ] {
        let mut wanted = names(set);
        wanted.retain(|name| !withheld.contains(name));
        if set == "ambient" {
            wanted.retain(|name| names("inheritable").contains(name));
        }
        let held: BTreeSet<String> = seen.capabilities(set).into_iter().collect();
        assert_eq!(held, wanted, "{set}");
    }
}

pub(super) fn namespaces(scene: &Scene, seen: &Report) {
    let config = scene.config();
    for kind in ["pid", "network", "ipc", "uts", "mount", "cgroup", "user"] {
        let link = link_of(kind);
        let (inside, outside) = (seen.namespace(link), scene.outside(link));
        let mut entries = config.items("/linux/namespaces").iter();
        match entries.find(|entry| entry["type"] == kind) {
            None => assert_eq!(inside, outside, "{kind} is the runtime's"),
            Some(entry) if entry["path"].is_null() => assert_ne!(inside, outside, "{kind} is new"),
            Some(_) => assert_eq!(inside, scene.joined(link), "{kind} is the pod's"),
        }
    }
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let name = config.get("/hostname").as_str().unwrap_or(host.trim());
    assert_eq!(seen["hostname"], name);
}

/// The lines of a map of ids: inside, outside, size.
pub(super) fn map(lines: &Value) -> Vec<[u64; 3]> {
    let lines = lines.as_array().unwrap().iter();
    let numbers = |line: &Value| {
        let numbers = line.as_str().unwrap().split_whitespace();
        let numbers: Vec<u64> = numbers.map(|number| number.parse().unwrap()).collect();
        <[u64; 3]>::try_from(numbers).unwrap()
    };
    lines.map(numbers).collect()
}

/// The maps of the configuration, or of the user namespace that the runtime is in.
pub(super) fn maps(scene: &Scene, seen: &Report) {
    for (name, pointer) in [
        ("uid_map", "/linux/uidMappings"),
        ("gid_map", "/linux/gidMappings"),
    ] {
        let entries = scene.config().items(pointer).iter();
        let keys = ["containerID", "hostID", "size"];
        let numbers = |map: &Value| keys.map(|key| map[key].as_u64().unwrap());
        let mut wanted: Vec<[u64; 3]> = entries.map(numbers).collect();
        if wanted.is_empty() {
            wanted = scene.outside_map(name);
        }
        assert_eq!(map(&seen[name]), wanted, "{name}");
    }
    assert_eq!(seen["setgroups"], "allow");
}

/// All three descriptors are the container's own terminal, which controls the process.
pub(super) fn terminal(config: &Config, seen: &Report) {
    if config.get("/process/terminal") != &json!(true) {
        assert_eq!(seen["terminal"], "0:0", "no controlling terminal");
        return;
    }
    for descriptor in ["0", "1", "2"] {
        assert_eq!(seen["fds"][descriptor], "/dev/pts/0", "{descriptor}");
    }
    assert_eq!(seen["terminal"], "136:0");
    assert_eq!(seen["sid"], seen["pid"], "leads its session");
    let console = seen.mount("/dev/console");
    assert_eq!((console.kind(), console.root()), ("devpts", "/0"));
}

pub(super) fn masks(config: &Config, seen: &Report) {
    let paths = |list: &str| {
        let all = config
            .items(list)
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned);
        all.filter(|path| Path::new(path).exists())
            .collect::<Vec<_>>()
    };
    for path in paths("/linux/maskedPaths") {
        let mask = seen.mount(&path);
        let covered = mask.root() == "/null" || (mask.kind() == "tmpfs" && mask.has("ro"));
        assert!(covered, "{path} is not masked");
    }
    for path in paths("/linux/readonlyPaths") {
        assert!(
            seen.mount(&path).options().contains(&"ro".to_owned()),
            "{path} is writable"
        );
    }
}

/// What every container has in /dev.
pub(super) const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

pub(super) fn devices(config: &Config, seen: &Report) {
    for name in DEVICES {
        assert_eq!(seen["devices"][name]["mode"], "0666", "{name}");
    }
    for wanted in config.items("/linux/devices") {
        let name = wanted["path"].as_str().unwrap().trim_start_matches("/dev/");
        let device = &seen["devices"][name];
        for key in ["type", "major", "minor", "uid", "gid"] {
            assert_eq!(device[key], wanted[key], "{name}: {key}");
        }
        let mode = wanted["fileMode"].as_u64().unwrap();
        assert_eq!(device["mode"], format!("{mode:04o}"), "{name}");
    }
}

pub(super) fn sysctls(config: &Config, seen: &Report) {
    let table = config.get("/linux/sysctl").as_object();
    for (key, value) in table.into_iter().flatten() {
        let set = seen.asked(&format!("sysctl {key}"));
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(words(set), words(value.as_str().unwrap()), "{key}");
    }
}
