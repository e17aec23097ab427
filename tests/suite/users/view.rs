//! The file system in a user namespace: mounts, masked paths, owners, and the overlay.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use crate::runner::Test;
use nix::mount::{MsFlags, mount};
use serde_json::json;

use super::{FIRST, give, map, mapped, owned};
use crate::harness::{
    Bundle, Directory, HostState, Kind, Runtime, View, differs, fill_rootfs, only_rt, tree, trials,
};

pub(super) fn tests() -> Vec<Test> {
    trials![
        the_configured_mounts_are_mounted,
        no_mount_of_the_host_is_left,
        the_old_root_cannot_be_reached_by_umount,
        the_root_is_read_only,
        root_in_the_container_can_write_to_a_root_that_it_owns,
        masked_paths_are_hidden,
        readonly_paths_cannot_be_written,
        a_tmpfs_belongs_to_root_in_the_container,
        a_tmpfs_can_belong_to_another_user,
        message_queues_work,
        devpts_without_a_gid_works,
        missing_mount_points_are_created_in_a_root_that_the_container_owns,
        a_volume_is_mounted_with_its_options,
        mount_flags_of_a_bind_source_are_kept,
        a_recursive_bind_includes_the_mounts_below,
        proc_can_be_bound_with_a_shared_pid_namespace,
        sys_can_be_bound_with_a_shared_network_namespace,
        the_container_sees_its_cgroups,
        the_container_sees_its_cgroup_in_the_v2_view,
        writes_to_an_overlay_root_are_discarded,
        a_bundle_below_a_directory_of_mode_0700_works,
        a_root_below_a_directory_of_mode_0700_works,
        a_volume_below_a_directory_of_mode_0700_works,
        nothing_is_created_in_the_rootfs,
        a_root_with_locked_mount_flags_becomes_read_only,
        no_pivot_works,
    ]
}

fn the_configured_mounts_are_mounted() {
    let bundle = mapped();
    let before = HostState::of(&bundle);
    let seen = bundle.probe();
    for (place, kind, options) in [
        ("/proc", "proc", &["rw"] as &[&str]),
        ("/dev", "tmpfs", &["nosuid", "mode=755", "size=65536k"]),
        (
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "mode=620", "ptmxmode=666"],
        ),
        (
            "/dev/shm",
            "tmpfs",
            &["nosuid", "noexec", "nodev", "size=65536k"],
        ),
        ("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        ("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        ("/", "", &["ro"]),
    ] {
        let mount = seen.mount(place);
        mount.assert_options(options);
        assert!(
            kind.is_empty() || mount.kind() == kind,
            "{place}: {}",
            mount.kind()
        );
    }
    assert!(seen.mount("/dev/pts").has(&format!("gid={}", FIRST + 5)));
    before.assert_unchanged(&bundle);
}

fn no_mount_of_the_host_is_left() {
    let seen = mapped().probe();
    let mounts = seen.mounts();
    let places: Vec<&str> = mounts.iter().map(crate::harness::Mount::place).collect();
    assert_eq!(
        places.iter().filter(|place| **place == "/").count(),
        1,
        "{places:?}"
    );
    let known = ["/proc", "/dev", "/sys"];
    let strange = places
        .iter()
        .find(|place| **place != "/" && !known.iter().any(|top| place.starts_with(top)));
    assert_eq!(strange, None, "{places:?}");
}

/// If the new root were mounted on top of the old one, root in the container could unmount it.
fn the_old_root_cannot_be_reached_by_umount() {
    let script = "umount -l / 2>&1; umount /.. 2>&1; ls -d /home /work /../home 2>/dev/null; \
                  ls -a / | head -c 300 | busybox tr '\\n' ' '";
    let bundle = mapped()
        .capabilities(&["CAP_SYS_ADMIN", "CAP_SYS_CHROOT"])
        .sh(script);
    let said = bundle.run().stdout;
    assert!(said.contains(" probe "), "{said}");
    assert!(
        !said.contains("home") && !said.contains("vmlinuz"),
        "{said}"
    );
}

fn the_root_is_read_only() {
    let bundle = owned(mapped()).args(&["/probe", "write", "/root/new", "x"]);
    assert_eq!(bundle.run().assert_ok().stdout, "EROFS\n");
}

fn root_in_the_container_can_write_to_a_root_that_it_owns() {
    let bundle = owned(mapped())
        .writable()
        .sh("echo new > /etc/passwd && rm /etc/group");
    bundle.run().assert_ok();
    let passwd = bundle.rootfs().join("etc/passwd");
    assert_eq!(fs::read_to_string(&passwd).unwrap(), "new\n");
    assert_eq!(fs::metadata(passwd).unwrap().uid(), FIRST);
    assert!(!bundle.rootfs().join("etc/group").exists());
    let said = mapped()
        .writable()
        .args(&["/probe", "write", "/root/new", "x"])
        .run();
    assert_eq!(said.assert_ok().stdout, "EACCES\n");
}

fn masked_paths_are_hidden() {
    let masked = json!([
        "/etc/passwd",
        "/bin",
        "/no/such",
        "/proc/keys",
        "/proc/scsi"
    ]);
    let bundle = mapped().set("/linux/maskedPaths", masked);
    let seen = bundle.probe();
    assert_eq!(seen.mount("/etc/passwd").root(), "/null");
    let folder = seen.mount("/bin");
    assert_eq!(folder.kind(), "tmpfs");
    assert!(folder.has("ro"));
    let said = bundle.args(&["/probe", "read", "/etc/passwd"]).run();
    assert_eq!(said.assert_ok().stdout, "\n");
}

fn readonly_paths_cannot_be_written() {
    let bundle = owned(mapped())
        .writable()
        .set(
            "/linux/readonlyPaths",
            json!(["/etc", "/no/such", "/proc/sys"]),
        )
        .sh("/probe write /etc/new x; /probe write /root/new x");
    assert_eq!(bundle.run().assert_ok().stdout, "EROFS\nok\n");
    assert!(bundle.probe().mount("/proc/sys").has("ro"));
}

fn a_tmpfs_belongs_to_root_in_the_container() {
    differs(Kind::Runc, "it takes the mode of the directory below");
    let options = json!(["nosuid", "mode=0751", "size=64k"]);
    let mount =
        json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": options });
    let script =
        "stat -c '%a %u %g' /tmp /dev /dev/shm; echo x > /tmp/new && stat -c '%u %g' /tmp/new";
    let outcome = mapped().mount(mount).sh(script).run().assert_ok();
    assert_eq!(outcome.stdout, "751 0 0\n755 0 0\n1777 0 0\n0 0\n");
}

fn a_tmpfs_can_belong_to_another_user() {
    differs(Kind::Runc, "it takes the mode of the directory below");
    let options = json!(["uid=1000", "gid=2000", "mode=700"]);
    let mount =
        json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": options });
    let bundle = mapped().mount(mount).user(1000, 2000);
    let outcome = bundle
        .sh("stat -c '%a %u %g' /tmp; echo x > /tmp/new && cat /tmp/new")
        .run();
    assert_eq!(outcome.assert_ok().stdout, "700 1000 2000\nx\n");
}

fn message_queues_work() {
    let outcome = mapped()
        .sh("touch /dev/mqueue/q && stat -c %u /dev/mqueue/q")
        .run();
    assert_eq!(outcome.assert_ok().stdout, "0\n");
}

/// A namespace of a single id cannot map gid=5.
fn devpts_without_a_gid_works() {
    let pts = json!({ "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                      "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] });
    let bundle = map(Bundle::new(), &[(0, FIRST, 1)]).set("/mounts/2", pts);
    let outcome = bundle
        .sh("/probe device /dev/ptmx r; stat -c '%u %g' /dev/pts/ptmx")
        .run();
    assert_eq!(outcome.assert_ok().stdout, "ok\n0 0\n");
}

fn missing_mount_points_are_created_in_a_root_that_the_container_owns() {
    let source = Directory::new();
    fs::write(source.join("file"), "x").unwrap();
    let tmpfs = json!({ "destination": "/new/place", "type": "tmpfs", "source": "tmpfs" });
    let bundle = owned(mapped())
        .mount(tmpfs)
        .bind(source.path(), "/other/place", &["rbind"])
        .bind(&source.join("file"), "/other/file", &["bind"]);
    let seen = bundle.probe();
    assert_eq!(seen.mount("/new/place").kind(), "tmpfs");
    for name in ["new", "new/place", "other/place", "other/file"] {
        let made = fs::symlink_metadata(bundle.rootfs().join(name)).unwrap();
        if Kind::under_test() == Kind::Rt {
            assert_eq!((made.uid(), made.gid()), (FIRST, FIRST), "{name}");
        }
    }
    bundle.probe();
}

/// A directory that every user may write to.
fn volume() -> Directory {
    let volume = Directory::new();
    fs::set_permissions(volume.path(), Permissions::from_mode(0o1777)).unwrap();
    volume
}

fn a_volume_is_mounted_with_its_options() {
    let volume = volume();
    let bundle = mapped().folder("mnt").bind(
        volume.path(),
        "/mnt",
        &["rbind", "nosuid", "nodev", "noexec", "rprivate"],
    );
    let seen = bundle.probe();
    seen.mount("/mnt")
        .assert_options(&["rw", "nosuid", "nodev", "noexec"]);
    assert_eq!(seen.mount("/mnt").propagation(), "");
    let bundle = bundle.sh("echo x > /mnt/new");
    bundle.run().assert_ok();
    assert_eq!(fs::metadata(volume.join("new")).unwrap().uid(), FIRST);

    let bundle = mapped()
        .folder("mnt")
        .bind(volume.path(), "/mnt", &["bind", "ro"])
        .args(&["/probe", "write", "/mnt/other", "x"]);
    assert_eq!(bundle.run().assert_ok().stdout, "EROFS\n");
}

/// The kernel locks them when a mount is copied in a user namespace (mount_namespaces(7)).
fn mount_flags_of_a_bind_source_are_kept() {
    differs(Kind::Runc, "the old one cannot keep them");
    let volume = volume();
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(
        Some("tmpfs"),
        volume.path(),
        Some("tmpfs"),
        flags,
        Some("mode=1777"),
    )
    .unwrap();
    for options in [&["rbind"] as &[&str], &["bind", "ro"]] {
        let seen = mapped()
            .folder("mnt")
            .bind(volume.path(), "/mnt", options)
            .probe();
        seen.mount("/mnt")
            .assert_options(&["nosuid", "nodev", "noexec"]);
    }
}

fn a_recursive_bind_includes_the_mounts_below() {
    let volume = volume();
    let below = volume.join("below");
    fs::create_dir(&below).unwrap();
    mount(
        Some("tmpfs"),
        &below,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=1777"),
    )
    .unwrap();
    fs::write(below.join("file"), "x").unwrap();
    let bundle = mapped()
        .folder("mnt")
        .bind(volume.path(), "/mnt", &["rbind", "rw"]);
    let said = bundle
        .sh("cat /mnt/below/file && echo y > /mnt/below/new")
        .run();
    assert_eq!(said.assert_ok().stdout, "x");
    assert_eq!(fs::metadata(below.join("new")).unwrap().uid(), FIRST);
}

/// Only root on the host may mount a procfs for the host's pid namespace, so the configuration
/// binds the host's /proc.
fn proc_can_be_bound_with_a_shared_pid_namespace() {
    let proc = json!({ "destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind", "nosuid", "noexec", "nodev"] });
    let bundle = mapped().without_namespace("pid").set("/mounts/0", proc);
    let before = HostState::of(&bundle);
    let seen = bundle.probe();
    assert!(seen["pid"].as_i64().unwrap() > 1);
    seen.mount("/proc")
        .assert_options(&["nosuid", "noexec", "nodev"]);
    before.assert_unchanged(&bundle);
}

fn sys_can_be_bound_with_a_shared_network_namespace() {
    let sys = json!({ "destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", "ro"] });
    let bundle = mapped()
        .without_namespace("network")
        .without_mount("/sys/fs/cgroup")
        .set("/mounts/5", sys);
    let before = HostState::of(&bundle);
    bundle
        .probe()
        .mount("/sys")
        .assert_options(&["nosuid", "noexec", "nodev", "ro"]);
    before.assert_unchanged(&bundle);
}

fn the_container_sees_its_cgroups() {
    for bundle in [mapped(), mapped().namespace("cgroup", None)] {
        let bundle =
            bundle.sh("cat /sys/fs/cgroup/pids/cgroup.procs || cat /sys/fs/cgroup/cgroup.procs");
        let before = HostState::of(&bundle);
        let outcome = bundle.run().assert_ok();
        assert!(outcome.stdout.starts_with("1\n"), "{outcome}");
        before.assert_unchanged(&bundle);
    }
}

fn the_container_sees_its_cgroup_in_the_v2_view() {
    for own in [false, true] {
        if !own && Kind::under_test() == Kind::Runc {
            // It shows all cgroups of the host.
            continue;
        }
        let bundle =
            Bundle::with_runtime(&Runtime::new().view(View::V2)).remove("/linux/resources");
        let bundle = map(bundle, &[(0, FIRST, super::COUNT)]);
        let bundle = if own {
            bundle.namespace("cgroup", None)
        } else {
            bundle
        };
        let bundle = bundle.args(&["/bin/cat", "/sys/fs/cgroup/cgroup.procs"]);
        let before = HostState::of(&bundle);
        let outcome = bundle.run().assert_ok();
        assert_eq!(outcome.stdout, "1\n", "own namespace: {own}");
        assert!(bundle.probe().mount("/sys/fs/cgroup").has("ro"));
        before.assert_unchanged(&bundle);
    }
}

fn writes_to_an_overlay_root_are_discarded() {
    only_rt("the annotation is rt's");
    let bundle = owned(mapped())
        .writable()
        .set("/annotations/rt.rootfs.overlay", json!("ephemeral"))
        .sh("echo new > /etc/passwd && rm /etc/group && mkdir -p /srv/deep && stat -c '%u' /etc/passwd /srv /");
    let before = HostState::of(&bundle);
    let passwd = fs::read_to_string(bundle.rootfs().join("etc/passwd")).unwrap();
    for _ in 0..2 {
        assert_eq!(bundle.run().assert_ok().stdout, "0\n0\n0\n");
    }
    before.assert_unchanged(&bundle);
    assert_eq!(
        fs::read_to_string(bundle.rootfs().join("etc/passwd")).unwrap(),
        passwd
    );
}

/// Only root on the host, which runs the runtime, may enter the directory.
fn close(directory: &Path) {
    fs::set_permissions(directory, Permissions::from_mode(0o700)).unwrap();
    chown(directory, Some(0), Some(0)).unwrap();
}

fn a_bundle_below_a_directory_of_mode_0700_works() {
    only_rt("Debian's resolve the path as root of the user namespace");
    let bundle = mapped();
    close(bundle.path());
    let before = HostState::of(&bundle);
    assert_eq!(bundle.probe()["uid"], 0);
    before.assert_unchanged(&bundle);
    let layered = owned(mapped()).set("/annotations/rt.rootfs.overlay", json!("ephemeral"));
    close(layered.path());
    assert_eq!(layered.probe()["uid"], 0);
}

fn a_root_below_a_directory_of_mode_0700_works() {
    only_rt("Debian's resolve the path as root of the user namespace");
    let closed = Directory::new();
    let root = closed.join("deep/rootfs");
    fill_rootfs(&root);
    close(closed.path());
    close(&closed.join("deep"));
    let seen = mapped().set("/root/path", json!(root)).probe();
    assert_eq!(seen["cwd"], "/");
}

fn a_volume_below_a_directory_of_mode_0700_works() {
    differs(
        Kind::Runc,
        "the old one resolves the path as root of the user namespace",
    );
    let closed = Directory::new();
    let source = closed.join("volume");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "x").unwrap();
    give(&source, FIRST);
    close(closed.path());
    let bundle = mapped().folder("mnt").bind(&source, "/mnt", &["rbind"]);
    let outcome = bundle.sh("cat /mnt/file && echo y > /mnt/file").run();
    assert_eq!(outcome.assert_ok().stdout, "x");
    assert_eq!(fs::read_to_string(source.join("file")).unwrap(), "y\n");
}

fn nothing_is_created_in_the_rootfs() {
    let bundle = mapped();
    let before = tree(&bundle.rootfs());
    bundle.probe();
    assert_eq!(tree(&bundle.rootfs()), before);
}

/// A remount must keep the flags that the host has set, because they are locked.
fn a_root_with_locked_mount_flags_becomes_read_only() {
    let place = volume();
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let data = Some("mode=755");
    mount(Some("tmpfs"), place.path(), Some("tmpfs"), flags, data).unwrap();
    let root = place.join("rootfs");
    fill_rootfs(&root);
    let seen = mapped().set("/root/path", json!(root)).probe();
    seen.mount("/").assert_options(&["ro", "nosuid", "nodev"]);
}

fn no_pivot_works() {
    let bundle = mapped();
    let before = HostState::of(&bundle);
    let seen = bundle.probe_with(&["--no-pivot"]);
    assert_eq!((&seen["uid"], &seen["cwd"]), (&json!(0), &json!("/")));
    assert!(seen.mount("/proc").has("rw"));
    before.assert_unchanged(&bundle);
}
