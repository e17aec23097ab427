//! Mounts of the template and their options, as the container sees them.

use crate::runner::Test;
use serde_json::{Value, json};

use crate::harness::{Bundle, Directory, HostState, Kind, Report, differs, on_v2, only_rt, trials};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        template_mounts_have_their_options,
        mounts_are_made_in_the_order_of_the_config,
        every_option_of_a_tmpfs_is_applied,
        the_last_of_opposite_options_wins,
        file_system_options_are_passed_to_the_kernel,
        an_empty_option_is_ignored,
        options_can_be_joined_by_commas,
        a_tmpfs_takes_the_mode_of_the_directory_it_covers,
        cancelled_access_time_options_keep_those_of_the_source,
        rbind_stays_recursive_in_any_order,
        volume_options_are_ignored,
        propagation_options_are_applied,
        propagation_of_the_rootfs_is_applied,
        a_shared_rootfs_is_shared,
        an_unbindable_rootfs_is_unbindable,
        an_unknown_propagation_is_refused,
        an_unknown_file_system_is_refused,
        an_unknown_option_reaches_the_file_system_and_is_refused,
        a_destination_without_a_slash_is_below_the_root,
        cgroups_are_mounted_readonly,
        opposites_of_superblock_flags_cancel_them,
    ]
}

fn template_mounts_have_their_options() {
    let seen = Bundle::new().probe();
    let check = |place: &str, kind: &str, options: &[&str]| {
        let mount = seen.mount(place);
        assert_eq!(mount.kind(), kind, "{place}");
        mount.assert_options(options);
    };
    check("/proc", "proc", &["rw", "relatime"]);
    check("/dev", "tmpfs", &["nosuid", "mode=755", "size=65536k"]);
    check(
        "/dev/pts",
        "devpts",
        &["nosuid", "noexec", "ptmxmode=666", "mode=620", "gid=5"],
    );
    check(
        "/dev/shm",
        "tmpfs",
        &["nosuid", "noexec", "nodev", "size=65536k"],
    );
    check("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]);
    check("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]);
    let strict = seen.mount("/dev").options();
    assert!(
        !strict.contains(&"relatime".into()),
        "strictatime: {strict:?}"
    );
    assert!(seen.mount("/").options().contains(&"ro".into()));
    assert_eq!(seen["devices"]["shm"]["mode"], "1777");
}

/// A mount below an earlier one is made in it; an earlier mount is covered by a later one above it.
fn mounts_are_made_in_the_order_of_the_config() {
    let tmpfs = |place: &str| json!({ "destination": place, "type": "tmpfs", "source": place });
    let bundle = Bundle::new()
        .folder("mnt/low")
        .mount(tmpfs("/mnt"))
        .mount(tmpfs("/mnt/low"));
    let output = bundle.args(&["/bin/ls", "/mnt"]).run().assert_ok().stdout;
    assert_eq!(output, "low\n");
    let bundle = Bundle::new()
        .folder("mnt/low")
        .mount(tmpfs("/mnt/low"))
        .mount(tmpfs("/mnt"));
    let output = bundle.args(&["/bin/ls", "/mnt"]).run().assert_ok().stdout;
    assert_eq!(output, "", "the first mount is hidden");
}

pub(super) fn tmpfs(options: &[&str]) -> Value {
    json!({ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": options })
}

pub(super) fn mounted_options(options: &[&str]) -> Vec<String> {
    let mount = Bundle::new()
        .folder("mnt")
        .mount(tmpfs(options))
        .probe()
        .mount("/mnt");
    let mut all = mount.options();
    all.extend(mount.super_options());
    all
}

/// config.md, "Linux mount options": the options that must be present, and those that must not.
fn every_option_of_a_tmpfs_is_applied() {
    let cases: [(&str, &[&str], &[&str]); 24] = [
        ("ro", &["ro"], &[]),
        ("rw", &["rw"], &["ro"]),
        ("nosuid", &["nosuid"], &[]),
        ("suid", &[], &["nosuid"]),
        ("nodev", &["nodev"], &[]),
        ("dev", &[], &["nodev"]),
        ("noexec", &["noexec"], &[]),
        ("exec", &[], &["noexec"]),
        ("noatime", &["noatime"], &["relatime"]),
        ("atime", &[], &["noatime"]),
        ("relatime", &["relatime"], &["noatime"]),
        ("norelatime", &[], &[]),
        ("strictatime", &[], &["relatime", "noatime"]),
        ("nostrictatime", &["relatime"], &[]),
        ("nodiratime", &["nodiratime"], &[]),
        ("diratime", &[], &["nodiratime"]),
        ("sync", &["sync"], &[]),
        ("async", &[], &["sync"]),
        ("dirsync", &["dirsync"], &[]),
        ("lazytime", &["lazytime"], &[]),
        ("nolazytime", &[], &["lazytime"]),
        ("silent", &[], &["silent"]),
        ("loud", &[], &["loud"]),
        ("noiversion", &[], &["iversion"]),
    ];
    for (option, present, absent) in cases {
        let seen = mounted_options(&[option]);
        let has = |name: &str| seen.iter().any(|seen| seen == name);
        for name in present {
            assert!(has(name), "{option}: no {name} in {seen:?}");
        }
        for name in absent {
            assert!(!has(name), "{option}: {name} in {seen:?}");
        }
    }
}

/// The last option counts.
fn the_last_of_opposite_options_wins() {
    let seen = mounted_options(&[
        "ro", "nosuid", "noexec", "nodev", "rw", "suid", "exec", "dev",
    ]);
    for name in ["ro", "nosuid", "noexec", "nodev"] {
        assert!(!seen.contains(&name.to_owned()), "{name} in {seen:?}");
    }
    let seen = mounted_options(&["rw", "exec", "ro", "noexec"]);
    assert!(
        seen.contains(&"ro".into()) && seen.contains(&"noexec".into()),
        "{seen:?}"
    );
}

fn file_system_options_are_passed_to_the_kernel() {
    let seen = mounted_options(&["size=1m", "mode=0711", "uid=5", "gid=6", "nr_inodes=100"]);
    for name in ["size=1024k", "mode=711", "uid=5", "gid=6", "nr_inodes=100"] {
        assert!(seen.contains(&name.to_owned()), "no {name} in {seen:?}");
    }
}

/// Runs the probe in a mount namespace without shared mounts, where a slave mount would show the
/// same as a private one.
fn probe_without_shared_mounts(bundle: &Bundle) -> Report {
    bundle.probe_call(&["unshare", "-m"], &[]).assert_report()
}

/// Buildah passes an empty option for a volume without options.
fn an_empty_option_is_ignored() {
    let source = Directory::new();
    let bind = json!({
        "destination": "/data", "type": "bind", "source": source.path(), "options": ["", "rbind", "ro"],
    });
    let tmpfs =
        json!({ "destination": "/mem", "type": "tmpfs", "source": "tmpfs", "options": [""] });
    let seen = Bundle::new()
        .set("/mounts/-", bind)
        .set("/mounts/-", tmpfs)
        .probe();
    seen.mount("/data").assert_options(&["ro"]);
    assert_eq!(seen.mount("/mem").kind(), "tmpfs");
}

/// One entry with the comma-separated options of `mount -o`.
fn options_can_be_joined_by_commas() {
    differs(
        Kind::Runc,
        "it passes options like nosuid to the file system",
    );
    differs(
        Kind::Crun,
        "it passes options like nosuid to the file system",
    );
    let volume = Directory::new();
    let tmpfs = json!({ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid,size=64k,mode=750", "nodev"] });
    let bundle = Bundle::new().folder("view").mount(tmpfs).bind(
        volume.path(),
        "/view",
        &["rbind,ro,noexec"],
    );
    let seen = bundle.probe();
    let options = ["nosuid", "nodev", "size=64k", "mode=750"];
    seen.mount("/mnt").assert_options(&options);
    seen.mount("/view").assert_options(&["ro", "noexec"]);
}

fn a_tmpfs_takes_the_mode_of_the_directory_it_covers() {
    differs(Kind::Crun, "its tmpfs have mode 1777");
    differs(Kind::Runc, "1.1 changes the mode after mounting");
    let bundle = Bundle::new().folder("mnt").folder("set");
    let mode = |name: &str, mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(bundle.rootfs().join(name), mode).unwrap();
    };
    mode("mnt", 0o1750);
    mode("set", 0o711);
    let tmpfs = |place: &str, options: Value| json!({ "destination": place, "type": "tmpfs", "source": "tmpfs", "options": options });
    let bundle = bundle
        .mount(tmpfs("/mnt", json!(["size=64k"])))
        .mount(tmpfs("/set", json!(["mode=700"])));
    let seen = bundle.probe();
    seen.mount("/mnt")
        .assert_options(&["mode=1750", "size=64k"]);
    seen.mount("/set").assert_options(&["mode=700"]);
    let output = bundle.sh("stat -c %a /mnt /set").run().assert_ok();
    assert_eq!(output.stdout, "1750\n700\n");
}

fn cancelled_access_time_options_keep_those_of_the_source() {
    differs(Kind::Crun, "it sets options that it does not know");
    let volume = Directory::new();
    let (flags, none) = (nix::mount::MsFlags::MS_NOATIME, None::<&str>);
    nix::mount::mount(Some("tmpfs"), volume.path(), Some("tmpfs"), flags, none).unwrap();
    for options in [
        &["bind", "norelatime"][..],
        &["bind", "atime"],
        &["bind", "nostrictatime"],
        &["bind", "strictatime", "nostrictatime"],
    ] {
        let bundle = Bundle::new()
            .folder("mnt")
            .bind(volume.path(), "/mnt", options);
        bundle.probe().mount("/mnt").assert_options(&["noatime"]);
    }
    nix::mount::umount(volume.path()).unwrap();
}

fn rbind_stays_recursive_in_any_order() {
    let volume = Directory::new();
    let below = volume.join("below");
    std::fs::create_dir(&below).unwrap();
    let (flags, none) = (nix::mount::MsFlags::empty(), None::<&str>);
    nix::mount::mount(Some("tmpfs"), &below, Some("tmpfs"), flags, none).unwrap();
    for options in [&["rbind", "ro", "bind"][..], &["bind", "rbind"]] {
        let bundle = Bundle::new()
            .folder("mnt")
            .bind(volume.path(), "/mnt", options);
        assert!(bundle.probe().has_mount("/mnt/below"), "{options:?}");
    }
    nix::mount::umount(&below).unwrap();
}

/// Podman before 5.7 passes these on.
fn volume_options_are_ignored() {
    let volume = Directory::new();
    for option in ["nocopy", "copy", "defaults", "volume-opt=type=none"] {
        let bundle = Bundle::new()
            .folder("mnt")
            .bind(volume.path(), "/mnt", &["rbind", option]);
        assert!(bundle.probe().has_mount("/mnt"), "{option}");
    }
}

fn propagation_options_are_applied() {
    let cases = [
        ("private", false, ""),
        ("rprivate", false, ""),
        ("slave", false, ""),
        ("unbindable", false, "unbindable"),
        ("runbindable", false, "unbindable"),
        ("shared", true, "shared"),
        ("rshared", true, "shared"),
    ];
    for (option, prefix, expected) in cases {
        let source = Directory::new();
        let bundle = Bundle::new()
            .folder("mnt")
            .bind(source.path(), "/mnt", &["rbind", option]);
        let seen = probe_without_shared_mounts(&bundle)
            .mount("/mnt")
            .propagation();
        let fits = if prefix {
            seen.starts_with(expected)
        } else {
            seen == expected
        };
        assert!(fits, "{option}: {seen:?}");
    }
}

fn propagation_of_the_rootfs_is_applied() {
    for value in ["private", "rprivate", "slave", "rslave"] {
        let bundle = Bundle::new().set("/linux/rootfsPropagation", json!(value));
        assert_eq!(
            probe_without_shared_mounts(&bundle)
                .mount("/")
                .propagation(),
            "",
            "{value}"
        );
    }
}

fn a_shared_rootfs_is_shared() {
    only_rt("Debian's runc makes it private again when the host's root is private");
    for value in ["shared", "rshared"] {
        let bundle = Bundle::new().set("/linux/rootfsPropagation", json!(value));
        let before = HostState::of(&bundle);
        let seen = bundle.probe().mount("/").propagation();
        assert!(seen.starts_with("shared:"), "{value}: {seen:?}");
        before.assert_unchanged(&bundle);
    }
}

fn an_unbindable_rootfs_is_unbindable() {
    only_rt("Debian's runc makes it unbindable before it binds it, which fails");
    for value in ["unbindable", "runbindable"] {
        let bundle = Bundle::new().set("/linux/rootfsPropagation", json!(value));
        assert_eq!(
            bundle.probe().mount("/").propagation(),
            "unbindable",
            "{value}"
        );
    }
}

fn an_unknown_propagation_is_refused() {
    let bundle = Bundle::new().set("/linux/rootfsPropagation", json!("sideways"));
    bundle.args(&["/bin/true"]).run().assert_refused("");
}

fn an_unknown_file_system_is_refused() {
    let mount = json!({ "destination": "/tmp", "type": "nosuchfs", "source": "none" });
    let bundle = Bundle::new().mount(mount);
    let before = HostState::of(&bundle);
    bundle.run().assert_refused("");
    before.assert_unchanged(&bundle);
}

fn an_unknown_option_reaches_the_file_system_and_is_refused() {
    for (options, named) in [
        (&["size=1m", "nosuchoption", "mode=700"][..], "nosuchoption"),
        (&["nosuid", "siez=1m"], "siez=1m"),
        (&["sync", "size=much", "mode=700"], "size=much"),
    ] {
        let bundle = Bundle::new().folder("mnt").mount(tmpfs(options));
        bundle.assert_refused(&[
            "mounts[",
            &format!("].options: mount tmpfs on /mnt with {named:?}: invalid argument (EINVAL;"),
        ]);
    }
}

/// config.md: relative destinations are deprecated; they start at the root.
fn a_destination_without_a_slash_is_below_the_root() {
    let mut mount = tmpfs(&[]);
    mount["destination"] = json!("mnt");
    let seen = Bundle::new().folder("mnt").mount(mount).probe();
    assert_eq!(seen.mount("/mnt").kind(), "tmpfs");
}

/// Each v1 hierarchy is mounted below /sys/fs/cgroup and shows only the container's cgroup.
fn cgroups_are_mounted_readonly() {
    if on_v2() {
        let seen = Bundle::new().probe();
        let mount = seen.mount("/sys/fs/cgroup");
        assert_eq!(mount.kind(), "cgroup2");
        mount.assert_options(&["ro", "nosuid", "nodev", "noexec"]);
        return;
    }
    let bundle = Bundle::new();
    let seen = bundle.probe();
    for controller in ["memory", "pids", "devices"] {
        let mount = seen.mount(&format!("/sys/fs/cgroup/{controller}"));
        assert_eq!(mount.kind(), "cgroup");
        mount.assert_options(&["ro", "nosuid", "noexec", "nodev"]);
    }
    let bundle =
        bundle.sh("/probe write /sys/fs/cgroup/memory/cgroup.procs 0; ls /sys/fs/cgroup/memory");
    let output = bundle.run().assert_ok().stdout;
    assert!(
        output.starts_with("EROFS\n") && output.contains("memory.limit_in_bytes"),
        "{output}"
    );
}

fn opposites_of_superblock_flags_cancel_them() {
    differs(Kind::Crun, "it passes lazytime to the file system");
    let seen = mounted_options(&["sync", "lazytime", "async", "nolazytime"]);
    for name in ["sync", "lazytime"] {
        assert!(!seen.contains(&name.to_owned()), "{name} in {seen:?}");
    }
    let seen = mounted_options(&["async", "nolazytime", "sync", "lazytime"]);
    for name in ["sync", "lazytime"] {
        assert!(seen.contains(&name.to_owned()), "no {name} in {seen:?}");
    }
}
