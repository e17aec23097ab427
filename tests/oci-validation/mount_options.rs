//! config.md, "Linux mount options": one test for each option, which is named after it.

use nix::mount::{MsFlags, mount};

use crate::common::{Known, expect_known, needs_kernel, tmpfs};
use crate::harness::{Bundle, Directory, Mount, test};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    let flags = FLAGS.iter().map(|&(option, before, is_set, flag)| {
        test_of(option, move || assert_flag(option, before, is_set, flag))
    });
    let silent = ["defaults", "loud", "silent", "noiversion"];
    let accepted = silent
        .iter()
        .map(|&option| test_of(option, move || assert_accepted(option)));
    let binds = [
        test_of("bind", || assert_bind("bind", false)),
        test_of("rbind", || assert_bind("rbind", true)),
    ];
    let propagation = PROPAGATION.iter().map(|&(option, expected, below)| {
        test_of(option, move || assert_propagation(option, expected, below))
    });
    let recursive = RECURSIVE.iter().map(|&(option, before, is_set, flag)| {
        test_of(option, move || {
            assert_recursive(option, before, is_set, flag)
        })
    });
    let all = flags
        .chain(accepted)
        .chain(binds)
        .chain(propagation)
        .chain(recursive);
    all.chain([test_of("tmpcopyup", assert_copied_up)])
        .collect()
}

fn test_of(option: &'static str, check: impl Fn() + Send + Sync + 'static) -> Test {
    test(format!("mount_options::{option}"), move || {
        expect_known(option, RUNC, CRUN);
        check();
    })
}

/// What runc does not do.
const RUNC: Known = &[
    ("defaults", "hands it to the file system, which refuses it"),
    ("ratime", "the kernel refuses what it asks for"),
    ("rnostrictatime", "the kernel refuses what it asks for"),
];

const KEEPS: &str = "keeps what an earlier option has set";
const UNKNOWN: &str = "hands it to the file system, which refuses it";
const REFUSED: &str = "the kernel refuses what it asks for";
const IGNORES: &str = "does not apply it";

/// What crun does not do.
const CRUN: Known = &[
    ("shared", IGNORES),
    ("rshared", IGNORES),
    ("unbindable", IGNORES),
    ("runbindable", IGNORES),
    ("async", KEEPS),
    ("atime", KEEPS),
    ("dev", KEEPS),
    ("diratime", KEEPS),
    ("exec", KEEPS),
    ("nostrictatime", KEEPS),
    ("rw", KEEPS),
    ("suid", KEEPS),
    ("loud", UNKNOWN),
    ("silent", UNKNOWN),
    ("noiversion", UNKNOWN),
    ("nosymfollow", UNKNOWN),
    ("symfollow", UNKNOWN),
    ("rdiratime", REFUSED),
    ("rnoatime", REFUSED),
    ("rnodiratime", REFUSED),
    ("ratime", REFUSED),
    ("rstrictatime", REFUSED),
    ("rnostrictatime", REFUSED),
    ("rrelatime", IGNORES),
    ("rnosymfollow", IGNORES),
    ("rsymfollow", IGNORES),
];

/// An option, one that comes before it in the list, and whether mountinfo has a flag then.
const FLAGS: [(&str, &str, bool, &str); 24] = [
    ("async", "sync", false, "sync"),
    ("atime", "noatime", false, "noatime"),
    ("dev", "nodev", false, "nodev"),
    ("diratime", "nodiratime", false, "nodiratime"),
    ("dirsync", "rw", true, "dirsync"),
    ("exec", "noexec", false, "noexec"),
    ("lazytime", "rw", true, "lazytime"),
    ("noatime", "rw", true, "noatime"),
    ("nodev", "rw", true, "nodev"),
    ("nodiratime", "rw", true, "nodiratime"),
    ("noexec", "rw", true, "noexec"),
    ("nolazytime", "lazytime", false, "lazytime"),
    ("norelatime", "nodev", false, "noatime"),
    ("nostrictatime", "strictatime", true, "relatime"),
    ("nosuid", "rw", true, "nosuid"),
    ("nosymfollow", "rw", true, "nosymfollow"),
    ("relatime", "rw", true, "relatime"),
    ("ro", "rw", true, "ro"),
    ("rw", "ro", false, "ro"),
    ("strictatime", "rw", false, "relatime"),
    ("suid", "nosuid", false, "nosuid"),
    ("symfollow", "nosymfollow", false, "nosymfollow"),
    ("sync", "rw", true, "sync"),
    ("nomand", "rw", false, "mand"),
];

#[track_caller]
fn assert_flag(option: &str, before: &str, is_set: bool, flag: &str) {
    if flag == "nosymfollow" {
        needs_kernel(5, 10, option);
    }
    let seen = Bundle::new()
        .mount(tmpfs("/tmp", &[before, option]))
        .probe()
        .mount("/tmp");
    let all = [seen.options(), seen.super_options()].concat();
    assert_eq!(
        all.iter().any(|one| one == flag),
        is_set,
        "{option}: {all:?}"
    );
}

/// These change nothing that a process sees, and are no options of the file system, which refuses what it does not know.
#[track_caller]
fn assert_accepted(option: &str) {
    let seen = Bundle::new().mount(tmpfs("/tmp", &[option])).probe();
    assert_eq!(seen.mount("/tmp").kind(), "tmpfs");
}

/// A tmpfs of the host with another one on `below`. Both are shared.
fn volume() -> Directory {
    let volume = Directory::new();
    for place in [volume.path(), &volume.join("below")] {
        let none = None::<&str>;
        mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        mount(none, place, none, MsFlags::MS_SHARED, none).unwrap();
        std::fs::create_dir_all(volume.join("below")).unwrap();
    }
    volume
}

/// The mount of the volume on /tmp in a container, and the one below it.
#[track_caller]
fn bound(volume: &Directory, options: &[&str]) -> (Mount, Option<Mount>) {
    let seen = Bundle::new().bind(volume.path(), "/tmp", options).probe();
    let below = seen
        .has_mount("/tmp/below")
        .then(|| seen.mount("/tmp/below"));
    (seen.mount("/tmp"), below)
}

#[track_caller]
fn assert_bind(option: &str, is_below: bool) {
    let volume = volume();
    let (_, below) = bound(&volume, &[option]);
    assert_eq!(below.is_some(), is_below, "{option}");
}

/// An option, what mountinfo says of the mount then, and of the one below it.
const PROPAGATION: [(&str, &str, &str); 8] = [
    ("private", "", "master"),
    ("rprivate", "", ""),
    ("shared", "shared", "master"),
    ("rshared", "shared", "shared"),
    ("slave", "master", "master"),
    ("rslave", "master", "master"),
    ("unbindable", "unbindable", "master"),
    ("runbindable", "unbindable", "unbindable"),
];

#[track_caller]
fn assert_propagation(option: &str, expected: &str, below: &str) {
    let volume = volume();
    let (top, inner) = bound(&volume, &["rbind", option]);
    for (mount, expected) in [(top, expected), (inner.expect("rbind"), below)] {
        let seen = mount.propagation();
        let is_expected = match expected {
            // Without a peer on the host there is none to be a slave of.
            "master" => seen.is_empty() || seen.starts_with("master:"),
            "" => seen.is_empty(),
            _ => seen.starts_with(expected),
        };
        assert!(is_expected, "{option} on {}: {seen:?}", mount.place());
    }
}

/// An option, the flag that the mounts of the host have before, and whether those of the container have a flag.
const RECURSIVE: [(&str, MsFlags, bool, &str); 18] = [
    ("rro", MsFlags::empty(), true, "ro"),
    ("rrw", MsFlags::MS_RDONLY, false, "ro"),
    ("rnosuid", MsFlags::empty(), true, "nosuid"),
    ("rsuid", MsFlags::MS_NOSUID, false, "nosuid"),
    ("rnodev", MsFlags::empty(), true, "nodev"),
    ("rdev", MsFlags::MS_NODEV, false, "nodev"),
    ("rnoexec", MsFlags::empty(), true, "noexec"),
    ("rexec", MsFlags::MS_NOEXEC, false, "noexec"),
    ("rnodiratime", MsFlags::empty(), true, "nodiratime"),
    ("rdiratime", MsFlags::MS_NODIRATIME, false, "nodiratime"),
    ("rnoatime", MsFlags::empty(), true, "noatime"),
    ("ratime", MsFlags::MS_NOATIME, false, "noatime"),
    ("rrelatime", MsFlags::MS_NOATIME, true, "relatime"),
    ("rnorelatime", MsFlags::MS_NODEV, false, "noatime"),
    ("rstrictatime", MsFlags::MS_NOATIME, false, "noatime"),
    ("rnostrictatime", MsFlags::MS_STRICTATIME, true, "relatime"),
    ("rnosymfollow", MsFlags::empty(), true, "nosymfollow"),
    ("rsymfollow", NO_SYMFOLLOW, false, "nosymfollow"),
];

/// `MS_NOSYMFOLLOW` of mount(2), which nix does not have.
const NO_SYMFOLLOW: MsFlags = MsFlags::from_bits_retain(0x100);

/// The SHOULD options of "Recursive …", which mount_setattr(2) sets with `AT_RECURSIVE`.
#[track_caller]
fn assert_recursive(option: &str, before: MsFlags, is_set: bool, flag: &str) {
    needs_kernel(5, 12, option);
    let volume = volume();
    for place in [volume.path(), &volume.join("below")] {
        let none = None::<&str>;
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | before;
        mount(none, place, none, flags, none).unwrap();
    }
    let (top, inner) = bound(&volume, &["rbind", option]);
    for mount in [top, inner.expect("rbind")] {
        let options = mount.options();
        assert_eq!(
            options.iter().any(|one| one == flag),
            is_set,
            "{option}: {options:?}"
        );
    }
}

/// "tmpcopyup: copy up the contents to a tmpfs", which MAY be implemented.
fn assert_copied_up() {
    let bundle = Bundle::new()
        .file("data/file", "copied")
        .mount(tmpfs("/data", &["tmpcopyup"]));
    assert_eq!(
        bundle.sh("cat /data/file").run().assert_ok().stdout,
        "copied"
    );
}
