//! Every field of a config compared with what the probe saw and what the host's files say.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{
    Bundle, Config, Holder, Mount, Report, cgroup_of, cgroup_top, namespace_of, on_v2,
};

/// A kind of config.json as /proc/PID/ns calls it.
pub(super) fn link_of(kind: &str) -> &str {
    match kind {
        "network" => "net",
        "mount" => "mnt",
        other => other,
    }
}

pub(super) fn cgroup(bundle: &Bundle, pid: i32) {
    let config = bundle.config();
    let default = format!("/{}", bundle.id());
    let place = config
        .get("/linux/cgroupsPath")
        .as_str()
        .unwrap_or(&default);
    for controller in ["memory", "cpu", "pids", "devices", "cpuset", "freezer"] {
        let expected = cgroup_top(controller).join(place.trim_start_matches('/'));
        assert_eq!(cgroup_of(pid, controller), expected);
    }
    if on_v2() {
        // Weights and the program for devices have tests of their own.
        return;
    }
    if let Some(shares) = config.get("/linux/resources/cpu/shares").as_u64() {
        let written = fs::read_to_string(cgroup_of(pid, "cpu").join("cpu.shares")).unwrap();
        assert_eq!(written.trim(), shares.to_string());
    }
    let rules = fs::read_to_string(cgroup_of(pid, "devices").join("devices.list")).unwrap();
    assert!(
        !rules.contains("a *:* rwm"),
        "the first rule denies all: {rules}"
    );
    for rule in config
        .items("/linux/resources/devices")
        .iter()
        .filter(|rule| rule["allow"] == true)
    {
        let number = |key: &str| {
            rule[key]
                .as_i64()
                .map_or("*".to_owned(), |number| number.to_string())
        };
        let line = format!("c {}:{} rwm", number("major"), number("minor"));
        assert!(
            rules.lines().any(|rule| rule == line),
            "no {line} in {rules}"
        );
    }
}

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
    let env: Vec<&Value> = seen["env"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|e| **e != "HOME=/root")
        .collect();
    assert_eq!(env, config.items("/process/env").iter().collect::<Vec<_>>());
    assert_eq!(seen.env("HOME").as_deref(), Some("/root"), "from passwd");
    assert_eq!(seen["argv"], *config.get("/process/args"));
    let no_new_privileges = config.get("/process/noNewPrivileges") == &json!(true);
    assert_eq!(seen["no_new_privs"], u64::from(no_new_privileges));
    assert_eq!(seen["seccomp"], 0);
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

pub(super) fn capabilities(config: &Config, seen: &Report) {
    for set in [
        "bounding",
        "permitted",
        "effective",
        "inheritable",
        "ambient",
    ] {
        let wanted = config.items(&format!("/process/capabilities/{set}"));
        let mut wanted: Vec<&str> = wanted.iter().filter_map(Value::as_str).collect();
        let held = seen.capabilities(set);
        let mut held: Vec<&str> = held.iter().map(String::as_str).collect();
        wanted.sort_unstable();
        held.sort_unstable();
        assert_eq!(held, wanted, "{set}");
    }
}

pub(super) fn namespaces(config: &Config, seen: &Report, pod: &Holder) {
    for kind in ["pid", "network", "ipc", "uts", "mount", "cgroup", "user"] {
        let link = link_of(kind);
        let (inside, host) = (seen.namespace(link), namespace_of("self", link));
        let mut entries = config.items("/linux/namespaces").iter();
        match entries.find(|entry| entry["type"] == kind) {
            None => assert_eq!(inside, host, "{kind} is the host's"),
            Some(entry) if entry["path"].is_null() => assert_ne!(inside, host, "{kind} is new"),
            Some(_) => assert_eq!(inside, pod.namespace(link), "{kind} is the pod's"),
        }
    }
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let name = config.get("/hostname").as_str().unwrap_or(host.trim());
    assert_eq!(seen["hostname"], name);
}

/// Every mount with its type and every option. Of two at one place the later covers the earlier.
pub(super) fn mounts(config: &Config, seen: &Report) {
    let all = config.items("/mounts");
    for (index, wanted) in all.iter().enumerate() {
        let place = wanted["destination"].as_str().unwrap();
        let covered = all[index + 1..]
            .iter()
            .any(|later| later["destination"] == place);
        if covered {
            assert!(seen.mounts_at(place).len() > 1, "{place} is mounted once");
        } else {
            confirm_mount(wanted, &seen.mount(place), seen);
        }
    }
    let readonly = config.get("/root/readonly") == &json!(true);
    assert_eq!(
        seen.mount("/").options().contains(&"ro".to_owned()),
        readonly,
        "the root"
    );
}

fn confirm_mount(wanted: &Value, mount: &Mount, seen: &Report) {
    let (place, kind) = (mount.place().to_owned(), wanted["type"].as_str().unwrap());
    match kind {
        "cgroup" if on_v2() => {
            assert_eq!(mount.kind(), "cgroup2");
            mount.assert_options(&["nosuid", "noexec", "nodev", "relatime", "ro"]);
            return;
        }
        "cgroup" => {
            for controller in ["memory", "cpu", "devices"] {
                let one = seen.mount(&format!("{place}/{controller}"));
                assert_eq!(one.kind(), "cgroup");
                one.assert_options(&["nosuid", "noexec", "nodev", "relatime", "ro"]);
            }
            return;
        }
        "bind" => {
            let source = wanted["source"].as_str().unwrap();
            assert!(
                source.ends_with(mount.root()),
                "{place}: {} is not {source}",
                mount.root()
            );
        }
        _ => assert_eq!(
            (mount.kind(), mount.source()),
            (kind, wanted["source"].as_str().unwrap()),
            "{place}"
        ),
    }
    for option in wanted["options"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        confirm_option(option, mount);
    }
    let options = wanted["options"].as_array();
    let private = options.is_some_and(|options| options.contains(&json!("rprivate")));
    if private || kind != "bind" {
        assert_eq!(mount.propagation(), "", "{place} is private");
    } else {
        // Where the host's mounts are shared, a copy follows them.
        assert!(
            !mount.propagation().starts_with("shared"),
            "{place} is shared"
        );
    }
}

fn confirm_option(option: &str, mount: &Mount) {
    let place = mount.place();
    let has = |option: &str| assert!(mount.has(option), "{option} on {place}");
    match option {
        "rbind" | "bind" | "rprivate" | "newinstance" => {}
        "strictatime" => assert!(
            !mount.has("relatime") && !mount.has("noatime"),
            "strictatime on {place}"
        ),
        "rw" => assert!(mount.options().contains(&"rw".to_owned()), "rw on {place}"),
        // The kernel shows the mode in octal without the leading zero, and not the default one.
        "mode=1777" => {}
        "mode=0620" => has("mode=620"),
        "ptmxmode=0666" => has("ptmxmode=666"),
        option => has(option),
    }
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

pub(super) fn devices(config: &Config, seen: &Report) {
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
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
