//! The file system of a rootless container.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

use crate::runner::Test;
use nix::mount::{MsFlags, mount};
use serde_json::json;

use super::callers::{ALL, Caller, CallerKind, USER};
use crate::harness::{Directory, HostState, Kind, differs, on_v2, only_rt, skip, trials};
use crate::users::give;

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_root_that_the_user_owns_can_be_written,
        mount_points_are_created_in_a_root_that_the_user_owns,
        a_volume_that_the_user_owns_can_be_written,
        mount_flags_of_the_host_are_kept,
        a_volume_that_the_user_cannot_read_is_refused,
        an_idmapped_mount_is_refused,
        a_root_that_the_user_cannot_read_is_refused,
        writes_to_an_overlay_root_are_discarded,
        configured_devices_are_bound_from_the_host,
        a_device_that_the_user_cannot_open_is_bound_but_cannot_be_opened,
        the_limit_on_user_namespaces_is_reported,
        the_container_sees_the_callers_cgroups_read_only,
    ]
}

/// On cgroup v1, for a container without cgroups of its own.
fn the_container_sees_the_callers_cgroups_read_only() {
    if on_v2() {
        skip("this host has no cgroup v1");
    }
    differs(Kind::Crun, "it binds all of /sys/fs/cgroup");
    for caller_kind in ALL {
        for namespaced in [false, true] {
            let caller = Caller::new(caller_kind);
            let mount = json!({
                "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
            });
            let bundle = caller.bundle().without_mount("/sys/fs/cgroup").mount(mount);
            let bundle = if namespaced {
                bundle.without_namespace("cgroup").namespace("cgroup", None)
            } else {
                bundle.without_namespace("cgroup")
            };
            let before = HostState::of(&bundle);
            let seen = bundle.probe();
            for controller in ["memory", "pids", "devices", "cpu"] {
                // The last mount, because /sys is bound from the host with its cgroups below.
                let mount = seen
                    .mounts_at(&format!("/sys/fs/cgroup/{controller}"))
                    .pop();
                let mount = mount.unwrap_or_else(|| panic!("{caller_kind:?}: no {controller}"));
                assert_eq!(mount.kind(), "cgroup", "{caller_kind:?}");
                mount.assert_options(&["ro", "nosuid", "noexec", "nodev"]);
            }
            let bundle = bundle.sh("cat /sys/fs/cgroup/pids/cgroup.procs >/dev/null && echo read");
            assert_eq!(bundle.run().assert_ok().stdout, "read\n", "{caller_kind:?}");
            before.assert_unchanged(&bundle);
        }
    }
}

fn a_root_that_the_user_owns_can_be_written() {
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let bundle = caller
            .bundle()
            .writable()
            .sh("echo x > /new && stat -c '%u %g' /new");
        assert_eq!(bundle.run().assert_ok().stdout, "0 0\n", "{caller_kind:?}");
        let made = fs::metadata(bundle.rootfs().join("new")).unwrap();
        assert_eq!((made.uid(), made.gid()), (USER, USER), "{caller_kind:?}");
    }
}

fn mount_points_are_created_in_a_root_that_the_user_owns() {
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let tmpfs = json!({ "destination": "/a/b", "type": "tmpfs", "source": "tmpfs" });
        let bundle = caller.bundle().mount(tmpfs);
        let seen = bundle.probe();
        assert_eq!(seen.mount("/a/b").kind(), "tmpfs", "{caller_kind:?}");
        let made = fs::metadata(bundle.rootfs().join("a/b")).unwrap();
        assert_eq!((made.uid(), made.gid()), (USER, USER), "{caller_kind:?}");
    }
}

fn a_volume_that_the_user_owns_can_be_written() {
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let volume = Directory::new();
        give(volume.path(), USER);
        let bundle = caller.bundle().folder("mnt");
        let bundle = bundle.bind(volume.path(), "/mnt", &["rbind", "rw", "nosuid", "nodev"]);
        bundle.sh("echo x > /mnt/new").run().assert_ok();
        assert_eq!(
            fs::metadata(volume.join("new")).unwrap().uid(),
            USER,
            "{caller_kind:?}"
        );
    }
}

/// mount_namespaces(7): they are locked in a less privileged mount namespace.
fn mount_flags_of_the_host_are_kept() {
    differs(Kind::Runc, "the old one cannot keep them");
    differs(Kind::Crun, "it drops them");
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let volume = Directory::new();
        let flags =
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY;
        mount(
            Some("tmpfs"),
            volume.path(),
            Some("tmpfs"),
            flags,
            None::<&str>,
        )
        .unwrap();
        for options in [&["rbind"] as &[&str], &["bind", "ro"]] {
            let bundle = caller.bundle().folder("mnt");
            let seen = bundle.bind(volume.path(), "/mnt", options).probe();
            seen.mount("/mnt")
                .assert_options(&["ro", "nosuid", "nodev", "noexec"]);
        }
        // The options contradict the flags of the host.
        let bundle = caller.bundle().folder("mnt").args(&["/bin/true"]);
        let bundle = bundle.bind(volume.path(), "/mnt", &["bind", "rw", "exec"]);
        let before = HostState::of(&bundle);
        let outcome = bundle.run().assert_refused("");
        assert!(outcome.one_line().contains("mounts["), "{outcome}");
        before.assert_unchanged(&bundle);
    }
}

fn a_volume_that_the_user_cannot_read_is_refused() {
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let closed = Directory::new();
        fs::create_dir(closed.join("volume")).unwrap();
        fs::set_permissions(
            closed.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o700),
        )
        .unwrap();
        let bundle = caller.bundle().folder("mnt").args(&["/bin/true"]);
        let bundle = bundle.bind(&closed.join("volume"), "/mnt", &["rbind"]);
        let before = HostState::of(&bundle);
        let outcome = bundle.run().assert_refused("ermission denied");
        if Kind::under_test() == Kind::Rt {
            assert!(outcome.one_line().contains("mounts["), "{outcome}");
        }
        before.assert_unchanged(&bundle);
    }
}

/// The kernel allows it only if the file system was mounted in the caller's user namespace.
fn an_idmapped_mount_is_refused() {
    only_rt("came with runc 1.2");
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let volume = Directory::new();
        let mount =
            json!({"destination": "/mnt", "source": volume.path(), "options": ["bind", "idmap"]});
        let bundle = caller.bundle().folder("mnt").mount(mount);
        let why = match caller_kind {
            CallerKind::Plain | CallerKind::Subordinate => {
                "an idmapped mount needs the right to mount"
            }
            CallerKind::NamespaceRoot | CallerKind::Manager => "mounts[",
        };
        bundle.args(&["/bin/true"]).assert_refused(&[why]);
    }
}

fn a_root_that_the_user_cannot_read_is_refused() {
    let caller = Caller::new(CallerKind::Plain);
    let bundle = caller.bundle().args(&["/bin/true"]);
    chown(bundle.rootfs(), Some(0), Some(0)).unwrap();
    fs::set_permissions(
        bundle.rootfs(),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    let before = HostState::of(&bundle);
    let outcome = bundle.run().assert_refused("ermission denied");
    if Kind::under_test() == Kind::Rt {
        outcome.one_line();
    }
    before.assert_unchanged(&bundle);
}

fn writes_to_an_overlay_root_are_discarded() {
    only_rt("the annotation is rt's");
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let bundle = caller
            .bundle()
            .writable()
            .set("/annotations/rt.rootfs.overlay", json!("ephemeral"))
            .sh("mkdir -p /srv/deep && echo x > /srv/deep/new && stat -c %u /srv/deep/new");
        let before = HostState::of(&bundle);
        let outcome = bundle.run();
        assert_eq!(
            (outcome.code(), outcome.stdout.as_str()),
            (0, "0\n"),
            "{caller_kind:?}\n{outcome}"
        );
        before.assert_unchanged(&bundle);
    }
}

fn configured_devices_are_bound_from_the_host() {
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let fuse = json!({ "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666 });
        let bundle = caller.bundle().set("/linux/devices", json!([fuse]));
        let bundle = bundle.args(&["/probe", "device", "/dev/fuse", "r"]);
        assert_eq!(bundle.run().assert_ok().stdout, "ok\n", "{caller_kind:?}");
    }
}

/// Root in the container has the permissions of the user on the host.
fn a_device_that_the_user_cannot_open_is_bound_but_cannot_be_opened() {
    let caller = Caller::new(CallerKind::Plain);
    let loop_control = json!({ "path": "/dev/loop-control", "type": "c", "major": 10, "minor": 237, "fileMode": 0o666 });
    if !std::path::Path::new("/dev/loop-control").exists() {
        crate::harness::skip("no /dev/loop-control here");
    }
    let bundle = caller.bundle().set("/linux/devices", json!([loop_control]));
    let bundle = bundle.args(&["/probe", "device", "/dev/loop-control", "r"]);
    assert_eq!(bundle.run().assert_ok().stdout, "EACCES\n");
}

/// The kernel reports user.max_user_namespaces as ENOSPC, which looks like a full disk.
fn the_limit_on_user_namespaces_is_reported() {
    let caller = Caller::new(CallerKind::NamespaceRoot);
    let bundle = caller.bundle().args(&["/bin/true"]);
    let limit = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    let call = bundle
        .call("run", &[])
        .after_word("-m", &["sh", "-c", limit, "sh"]);
    let outcome = call.run().assert_refused("");
    if Kind::under_test() == Kind::Rt {
        let line = outcome.one_line();
        assert!(
            line.contains("linux.namespaces") && line.contains("max_user_namespaces"),
            "{line}"
        );
    }
}
