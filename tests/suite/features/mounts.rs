//! Every mount option that `features` lists, checked in the mount table of a container.

use crate::runner::Test;
use nix::mount::{MsFlags, mount};
use serde_json::json;

use super::{features, names};
use crate::harness::{Bundle, Directory, Kind, Mount, Runtime, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![each_option_has_its_effect]
}

/// Options that the mount table must show, and options that it must not show.
type Effect = (&'static [&'static str], &'static [&'static str]);

/// The effect of an option of a single mount (per-mount flag).
fn effect(option: &str) -> Option<Effect> {
    Some(match option {
        "ro" => (&["ro"], &["rw"]),
        "rw" => (&["rw"], &["ro"]),
        "nosuid" => (&["nosuid"], &[]),
        "suid" => (&[], &["nosuid"]),
        "nodev" => (&["nodev"], &[]),
        "dev" => (&[], &["nodev"]),
        "noexec" => (&["noexec"], &[]),
        "exec" => (&[], &["noexec"]),
        "nodiratime" => (&["nodiratime"], &[]),
        "diratime" => (&[], &["nodiratime"]),
        "nosymfollow" => (&["nosymfollow"], &[]),
        "symfollow" => (&[], &["nosymfollow"]),
        "noatime" => (&["noatime"], &["relatime"]),
        "atime" | "relatime" | "norelatime" | "nostrictatime" => (&["relatime"], &["noatime"]),
        "strictatime" => (&[], &["relatime", "noatime"]),
        _ => return None,
    })
}

/// The effect of a superblock option. An option that only clears a flag has no visible effect and must
/// not reach the file system, which would refuse it.
fn superblock_effect(option: &str) -> Option<Effect> {
    Some(match option {
        "sync" => (&["sync"], &[]),
        "dirsync" => (&["dirsync"], &[]),
        "lazytime" => (&["lazytime"], &[]),
        "mand" => (&["mand"], &[]),
        "defaults" | "silent" | "loud" | "iversion" | "noiversion" => (&["rw"], &[]),
        "async" => (&[], &["sync"]),
        "nolazytime" => (&[], &["lazytime"]),
        "nomand" => (&[], &["mand"]),
        _ => return None,
    })
}

#[track_caller]
fn assert_effect(option: &str, mount: &Mount, (present, absent): Effect) {
    for name in present {
        assert!(mount.has(name), "{option}: no {name} on {}", mount.place());
    }
    let own = mount.options();
    for name in absent {
        let has = own.iter().any(|own| own == name);
        assert!(!has, "{option}: {name} on {}: {own:?}", mount.place());
    }
}

fn tmpfs_with(option: &str) -> Mount {
    let mount = json!({ "destination": "/mnt", "type": "tmpfs", "options": [option] });
    Bundle::new()
        .folder("mnt")
        .mount(mount)
        .probe()
        .mount("/mnt")
}

/// A tmpfs with another tmpfs on its directory `below`, both mounted with these flags.
fn nested(flags: MsFlags) -> Directory {
    let source = Directory::new();
    let tmpfs = |target: &std::path::Path| {
        mount(Some("tmpfs"), target, Some("tmpfs"), flags, None::<&str>).unwrap();
    };
    let writable = flags - MsFlags::MS_RDONLY;
    mount(
        Some("tmpfs"),
        source.path(),
        Some("tmpfs"),
        writable,
        None::<&str>,
    )
    .unwrap();
    std::fs::create_dir(source.join("below")).unwrap();
    tmpfs(&source.join("below"));
    let remount = flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    mount(
        None::<&str>,
        source.path(),
        None::<&str>,
        remount,
        None::<&str>,
    )
    .unwrap();
    source
}

/// Checks a recursive option on nested mounts that all have the opposite option.
fn recursive(option: &str, single: &str) {
    let sets = single == "ro" || single.starts_with("no") && !single.ends_with("relatime");
    let flags = match single {
        "nostrictatime" => MsFlags::MS_STRICTATIME,
        _ if sets => MsFlags::empty(),
        _ => [
            MsFlags::MS_NOSUID,
            MsFlags::MS_NODEV,
            MsFlags::MS_NOEXEC,
            MsFlags::MS_NOATIME,
            MsFlags::MS_NODIRATIME,
            MsFlags::from_bits_retain(libc::MS_NOSYMFOLLOW),
            MsFlags::MS_RDONLY,
        ]
        .into_iter()
        .collect(),
    };
    let source = nested(flags);
    let bundle = Bundle::new()
        .folder("mnt")
        .bind(source.path(), "/mnt", &["rbind", option]);
    let seen = bundle.probe();
    for target in ["/mnt", "/mnt/below"] {
        let wanted = effect(single).unwrap_or_else(|| panic!("{option}: not a recursive option"));
        assert_effect(option, &seen.mount(target), wanted);
    }
}

/// Checks a propagation option with a source on a shared mount of the host.
fn propagation(option: &str) {
    let source = nested(MsFlags::empty());
    let shared = |target: &std::path::Path| {
        mount(
            None::<&str>,
            target,
            None::<&str>,
            MsFlags::MS_SHARED,
            None::<&str>,
        )
        .unwrap();
    };
    shared(source.path());
    shared(&source.join("below"));
    let bundle = Bundle::new()
        .folder("mnt")
        .bind(source.path(), "/mnt", &["rbind", option]);
    let seen = bundle.probe();
    let kind = |target: &str| {
        let all = seen.mount(target).propagation();
        match all.split(':').next().unwrap_or_default() {
            "shared" => "shared",
            "master" => "slave",
            "unbindable" => "unbindable",
            _ => "private",
        }
    };
    let recursive = option.strip_prefix('r').unwrap_or(option);
    assert_eq!(kind("/mnt"), recursive, "{option}");
    if option.starts_with('r') {
        assert_eq!(kind("/mnt/below"), recursive, "{option}");
    }
}

fn bind(option: &str) {
    let source = nested(MsFlags::empty());
    let bundle = Bundle::new()
        .folder("mnt")
        .bind(source.path(), "/mnt", &[option]);
    let seen = bundle.probe();
    assert!(seen.has_mount("/mnt"));
    assert_eq!(seen.has_mount("/mnt/below"), option == "rbind", "{option}");
}

/// The content of the directory is copied into the tmpfs mounted over it.
fn copy_up() {
    let mount = json!({ "destination": "/mnt", "type": "tmpfs", "options": ["tmpcopyup"] });
    let bundle = Bundle::new().file("mnt/file", "below").mount(mount);
    let stdout = bundle
        .args(&["/bin/cat", "/mnt/file"])
        .run()
        .assert_ok()
        .stdout;
    assert_eq!(stdout, "below");
}

/// An earlier mount becomes read-only.
fn remount() {
    let mount =
        |options: &[&str]| json!({ "destination": "/mnt", "type": "tmpfs", "options": options });
    let bundle = Bundle::new().folder("mnt").mount(mount(&[]));
    let seen = bundle.mount(mount(&["remount", "ro"])).probe();
    assert_effect("remount", &seen.mount("/mnt"), (&["ro"], &["rw"]));
}

/// A file of root has another owner in an idmapped mount; with `ridmap` also in nested mounts.
fn ids(option: &str) {
    let source = nested(MsFlags::empty());
    let map = json!([{"containerID": 0, "hostID": 3000, "size": 1}]);
    let mount = json!({"destination": "/mnt", "source": source.path(), "options": ["rbind", option],
                       "uidMappings": map, "gidMappings": map});
    let bundle = Bundle::new().folder("mnt").mount(mount);
    let outcome = bundle.sh("stat -c %u /mnt /mnt/below").run();
    let below = if option == "ridmap" { 3000 } else { 0 };
    // tmpfs supports idmapped mounts since Linux 6.3. Before, the error says so.
    match outcome.code() {
        0 => assert_eq!(outcome.stdout, format!("3000\n{below}\n"), "{option}"),
        _ => drop(outcome.assert_refused("does this kernel map the ids of that file system?")),
    }
}

fn each_option_has_its_effect() {
    // Options of runc that `rt` refuses, and options that Debian's version handles differently.
    let foreign = ["acl", "noacl", "iversion", "remount"];
    let broken = ["defaults", "ratime", "rnostrictatime", "rnorelatime"];
    let is_runc = Runtime::new().kind() == Kind::Runc;
    for option in names(&features(), "/mountOptions") {
        let option = option.as_str();
        if is_runc && (foreign.contains(&option) || broken.contains(&option)) {
            continue;
        }
        if let Some(effect) = effect(option).or_else(|| superblock_effect(option)) {
            assert_effect(option, &tmpfs_with(option), effect);
            continue;
        }
        let single = option.strip_prefix('r').unwrap_or(option);
        match (option, single) {
            (_, "bind") => bind(option),
            (_, "private" | "slave" | "shared" | "unbindable") => propagation(option),
            ("tmpcopyup", _) => copy_up(),
            ("remount", _) => remount(),
            ("idmap" | "ridmap", _) => ids(option),
            (_, single) if effect(single).is_some() => recursive(option, single),
            _ => panic!("{option}: no check for this option"),
        }
    }
}
