//! Checks all fields of a configuration except mounts, resource limits and seccomp.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::setup::{Setup, link_of};
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
    // `Seccomp: 2` means a filter (proc_pid_status(5)).
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

/// The environment is that of the configuration, with HOME from /etc/passwd if it is not set.
fn environment(config: &Config, seen: &Report) {
    let mut expected = config.items("/process/env").to_vec();
    let home = json!("HOME=/root");
    if !expected.contains(&home) {
        expected.push(home);
    }
    let mut set = seen["env"].as_array().unwrap().clone();
    for list in [&mut expected, &mut set] {
        list.sort_by_key(Value::to_string);
    }
    assert_eq!(set, expected);
}

/// The capabilities are those of the configuration. An ambient capability has to be inheritable too
/// (capabilities(7)).
pub(super) fn capabilities(config: &Config, seen: &Report, withheld: &BTreeSet<String>) {
    let names = |set: &str| {
        let expected = config.items(&format!("/process/capabilities/{set}"));
        let expected = expected.iter().filter_map(Value::as_str).map(str::to_owned);
        expected.collect::<BTreeSet<String>>()
    };
    for set in [
        "bounding",
        "permitted",
        "effective",
        "inheritable",
        "ambient",
    ] {
        let mut expected = names(set);
        expected.retain(|name| !withheld.contains(name));
        if set == "ambient" {
            expected.retain(|name| names("inheritable").contains(name));
        }
        let held: BTreeSet<String> = seen.capabilities(set).into_iter().collect();
        assert_eq!(held, expected, "{set}");
    }
}

pub(super) fn namespaces(setup: &Setup, seen: &Report) {
    let config = setup.config();
    for kind in ["pid", "network", "ipc", "uts", "mount", "cgroup", "user"] {
        let link = link_of(kind);
        let (inside, outside) = (seen.namespace(link), setup.outside(link));
        let mut entries = config.items("/linux/namespaces").iter();
        match entries.find(|entry| entry["type"] == kind) {
            None => assert_eq!(inside, outside, "{kind} is the runtime's"),
            Some(entry) if entry["path"].is_null() => assert_ne!(inside, outside, "{kind} is new"),
            Some(_) => assert_eq!(inside, setup.joined(link), "{kind} is the pod's"),
        }
    }
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let name = config.get("/hostname").as_str().unwrap_or(host.trim());
    assert_eq!(seen["hostname"], name);
}

/// Parses an id map. Each line has the first id inside, the first id outside, and the number of ids.
pub(super) fn map(lines: &Value) -> Vec<[u64; 3]> {
    let lines = lines.as_array().unwrap().iter();
    let numbers = |line: &Value| {
        let numbers = line.as_str().unwrap().split_whitespace();
        let numbers: Vec<u64> = numbers.map(|number| number.parse().unwrap()).collect();
        <[u64; 3]>::try_from(numbers).unwrap()
    };
    lines.map(numbers).collect()
}

/// The id maps are those of the configuration, or those of the runtime's user namespace.
pub(super) fn maps(setup: &Setup, seen: &Report) {
    for (name, pointer) in [
        ("uid_map", "/linux/uidMappings"),
        ("gid_map", "/linux/gidMappings"),
    ] {
        let entries = setup.config().items(pointer).iter();
        let keys = ["containerID", "hostID", "size"];
        let numbers = |map: &Value| keys.map(|key| map[key].as_u64().unwrap());
        let mut expected: Vec<[u64; 3]> = entries.map(numbers).collect();
        if expected.is_empty() {
            expected = setup.outside_map(name);
        }
        assert_eq!(map(&seen[name]), expected, "{name}");
    }
    assert_eq!(seen["setgroups"], "allow");
}

/// All three descriptors are the container's terminal, which is the controlling terminal.
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

/// The devices in every container's /dev.
pub(super) const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

pub(super) fn devices(config: &Config, seen: &Report) {
    for name in DEVICES {
        assert_eq!(seen["devices"][name]["mode"], "0666", "{name}");
    }
    for expected in config.items("/linux/devices") {
        let name = expected["path"]
            .as_str()
            .unwrap()
            .trim_start_matches("/dev/");
        let device = &seen["devices"][name];
        for key in ["type", "major", "minor", "uid", "gid"] {
            assert_eq!(device[key], expected[key], "{name}: {key}");
        }
        let mode = expected["fileMode"].as_u64().unwrap();
        assert_eq!(device["mode"], format!("{mode:04o}"), "{name}");
    }
}

pub(super) fn sysctls(config: &Config, seen: &Report) {
    let table = config.get("/linux/sysctl").as_object();
    for (key, value) in table.into_iter().flatten() {
        let set = seen.asked(&format!("sysctl {key}"));
        let fields = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(fields(set), fields(value.as_str().unwrap()), "{key}");
    }
}
