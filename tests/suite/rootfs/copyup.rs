//! What a tmpfs takes from the directory that it covers: the mode, and with `tmpcopyup` the
//! content.

use std::fs::{self, FileTimes, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use crate::runner::Test;
use nix::fcntl::{OFlag, open, openat};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, makedev, mkdirat, mknod};
use serde_json::{Value, json};

use crate::harness::{Bundle, Directory, HostState, Kind, differs, needs, only_rt, skip, trials};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        content_is_copied,
        files_keep_modes_and_owners,
        directories_keep_modes_and_owners,
        writes_do_not_reach_the_covered_directory,
        links_are_copied_and_not_followed,
        devices_are_copied,
        fifos_and_sockets_are_copied,
        times_and_hard_links_are_kept,
        extended_attributes_are_kept,
        a_copy_can_be_readonly,
        the_covered_directory_is_resolved_inside_the_root,
        a_missing_directory_has_nothing_to_copy,
        an_earlier_mount_is_copied,
        a_full_tmpfs_is_an_error,
        a_directory_nested_too_deeply_is_an_error,
        a_user_namespace_maps_the_owners_in_the_copy,
        tmpcopyup_on_other_mounts_is_refused,
        a_tmpfs_has_the_mode_of_its_mount_point,
    ]
}

fn tmpfs(options: &[&str]) -> Value {
    json!({ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": options })
}

/// Adds a tmpfs with `tmpcopyup` and these options on /mnt.
fn with_copyup(bundle: Bundle, options: &[&str]) -> Bundle {
    let mut all = vec!["tmpcopyup"];
    all.extend(options);
    bundle.mount(tmpfs(&all))
}

#[track_caller]
fn output_of(bundle: Bundle, script: &str) -> String {
    bundle.sh(script).run().assert_ok().stdout
}

/// Sets modes and owners of files in /mnt.
fn with_owners(bundle: Bundle, owners: &[(&str, u32, u32)]) -> Bundle {
    let top = bundle.rootfs().join("mnt");
    for (name, mode, owner) in owners {
        chown(top.join(name), Some(*owner), Some(owner + 1)).unwrap();
        fs::set_permissions(top.join(name), Permissions::from_mode(*mode)).unwrap();
    }
    bundle
}

fn content_is_copied() {
    let bundle = Bundle::new()
        .file("mnt/file", "content")
        .file("mnt/a/b/c/deep", &"x".repeat(100_000))
        .file("mnt/a/.hidden", "")
        .folder("mnt/empty");
    let script = "cd /mnt; busybox find . | busybox sort; cat file; echo; \
        busybox wc -c < a/b/c/deep; mount | busybox grep -c ' /mnt type tmpfs'";
    let expected = "\
        .\n./a\n./a/.hidden\n./a/b\n./a/b/c\n./a/b/c/deep\n./empty\n./file\n\
        content\n100000\n1\n";
    let bundle = with_copyup(bundle, &[]).sh(script);
    let before = HostState::of(&bundle);
    assert_eq!(bundle.run().assert_ok().stdout, expected);
    before.assert_unchanged(&bundle);
}

fn files_keep_modes_and_owners() {
    differs(Kind::Crun, "does not copy owners");
    let bundle = Bundle::new().file("mnt/file", "").file("mnt/a/other", "");
    let bundle = with_owners(bundle, &[("file", 0o4755, 1000), ("a/other", 0o640, 5)]);
    let script = "stat -c '%a %u %g' /mnt/file /mnt/a/other";
    assert_eq!(
        output_of(with_copyup(bundle, &[]), script),
        "4755 1000 1001\n640 5 6\n"
    );
}

fn directories_keep_modes_and_owners() {
    differs(Kind::Crun, "does not copy owners");
    differs(
        Kind::Runc,
        "Debian's version changes the owners in the source",
    );
    let bundle = Bundle::new().folder("mnt/a/b").folder("mnt/empty");
    let bundle = with_owners(
        bundle,
        &[("a", 0o2750, 1000), ("a/b", 0o711, 0), ("empty", 0o1777, 5)],
    );
    let script = "cd /mnt; stat -c '%a %u %g' . a a/b empty";
    let expected = "755 0 0\n2750 1000 1001\n711 0 1\n1777 5 6\n";
    let bundle = with_copyup(bundle, &[]).capabilities(&["CAP_DAC_OVERRIDE"]);
    assert_eq!(output_of(bundle, script), expected);
}

fn writes_do_not_reach_the_covered_directory() {
    let bundle = with_copyup(Bundle::new().file("mnt/file", "below"), &[]).writable();
    let file = bundle.rootfs().join("mnt/file");
    let bundle = bundle.sh("echo inside > /mnt/file; cat /mnt/file");
    assert_eq!(bundle.run().assert_ok().stdout, "inside\n");
    assert_eq!(fs::read_to_string(file).unwrap(), "below");
}

fn links_are_copied_and_not_followed() {
    let outside = Directory::new();
    fs::write(outside.join("secret"), "secret").unwrap();
    let bundle = Bundle::new().folder("mnt/a");
    let top = bundle.rootfs().join("mnt");
    symlink(outside.join("secret"), top.join("absolute")).unwrap();
    symlink("../../../../../../../../etc", top.join("a/up")).unwrap();
    symlink(outside.path(), top.join("directory")).unwrap();
    symlink("nowhere", top.join("dangling")).unwrap();
    lchown(top.join("dangling"), Some(7), Some(8)).unwrap();
    let script = "cd /mnt; for l in absolute a/up directory dangling; do readlink $l; done; \
        cat absolute; ls directory; stat -c '%u %g' dangling";
    let output = output_of(with_copyup(bundle, &[]), script);
    let outside = outside.path().display();
    differs(Kind::Crun, "does not copy owners");
    let expected =
        format!("{outside}/secret\n../../../../../../../../etc\n{outside}\nnowhere\n7 8\n");
    assert_eq!(output, expected);
}

fn devices_are_copied() {
    differs(
        Kind::Runc,
        "Debian's version does not create them, and fails to change their owner",
    );
    let bundle = Bundle::new().folder("mnt");
    let place = bundle.rootfs().join("mnt/null");
    let mode = Mode::from_bits_truncate(0o640);
    mknod(&place, SFlag::S_IFCHR, mode, makedev(1, 3)).unwrap();
    fs::set_permissions(&place, Permissions::from_mode(0o640)).unwrap();
    let output = output_of(
        with_copyup(bundle, &["dev"]),
        "stat -c '%F %t %T %a' /mnt/null",
    );
    assert_eq!(output, "character special file 1 3 640\n");
}

fn fifos_and_sockets_are_copied() {
    differs(
        Kind::Runc,
        "does not create them, and fails to change their owner",
    );
    let bundle = Bundle::new().folder("mnt");
    for (name, kind) in [("fifo", SFlag::S_IFIFO), ("socket", SFlag::S_IFSOCK)] {
        let place = bundle.rootfs().join("mnt").join(name);
        mknod(&place, kind, Mode::from_bits_truncate(0o600), 0).unwrap();
    }
    let output = output_of(
        with_copyup(bundle, &[]),
        "cd /mnt; stat -c '%F %a' fifo socket",
    );
    assert_eq!(output, "fifo 600\nsocket 600\n");
}

fn times_and_hard_links_are_kept() {
    only_rt("other runtimes copy neither times nor hard links");
    let bundle = Bundle::new().file("mnt/a/one", "same").folder("mnt/b");
    let top = bundle.rootfs().join("mnt");
    fs::hard_link(top.join("a/one"), top.join("b/two")).unwrap();
    fs::hard_link(top.join("a/one"), bundle.rootfs().join("etc/three")).unwrap();
    symlink("x", top.join("link")).unwrap();
    let long_ago = UNIX_EPOCH + Duration::new(1_000_000_000, 500);
    let times = FileTimes::new()
        .set_modified(long_ago)
        .set_accessed(long_ago);
    for name in ["a/one", "a"] {
        fs::File::open(top.join(name))
            .unwrap()
            .set_times(times)
            .unwrap();
    }
    let script = "cd /mnt; stat -c '%Y %h' a/one b/two; stat -c %Y a; \
        test $(stat -c %i a/one) = $(stat -c %i b/two) && echo same";
    let output = output_of(with_copyup(bundle, &[]), script);
    assert_eq!(output, "1000000000 2\n1000000000 2\n1000000000\nsame\n");
}

/// Copied file capabilities are visible in the capabilities of the process.
fn extended_attributes_are_kept() {
    only_rt("runc copies none");
    let bundle = Bundle::new().folder("mnt");
    let program = bundle.rootfs().join("mnt/probe");
    fs::copy(bundle.rootfs().join("probe"), &program).unwrap();
    needs("setcap", "libcap2-bin");
    let set = Command::new("setcap")
        .arg("cap_net_raw=ep")
        .arg(&program)
        .status();
    if !set.is_ok_and(|status| status.success()) {
        skip("this file system has no file capabilities");
    }
    let seen = with_copyup(bundle, &["exec", "suid"])
        .capabilities(&["CAP_NET_RAW"])
        .set("/process/noNewPrivileges", json!(false))
        .user(1000, 1000)
        .args(&["/mnt/probe", "report"])
        .run()
        .assert_ok();
    let seen: Value = serde_json::from_str(&seen.stdout).unwrap();
    assert_eq!(seen["capabilities"]["effective"], json!(["CAP_NET_RAW"]));
}

fn a_copy_can_be_readonly() {
    let bundle = Bundle::new().file("mnt/file", "below");
    let script = "cat /mnt/file; /probe write /mnt/file x; /probe write /mnt/new x";
    assert_eq!(
        output_of(with_copyup(bundle, &["ro"]), script),
        "belowEROFS\nEROFS\n"
    );
}

/// The path leads through a link that is resolved as the container would.
fn the_covered_directory_is_resolved_inside_the_root() {
    let bundle = Bundle::new().file("run/file", "inside");
    let top = bundle.rootfs();
    fs::create_dir(top.join("var")).unwrap();
    symlink("../../../../run", top.join("var/run")).unwrap();
    let mount = json!({
        "destination": "/var/run", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"],
    });
    assert_eq!(
        output_of(bundle.mount(mount), "ls /run; cat /var/run/file"),
        "file\ninside"
    );
}

fn a_missing_directory_has_nothing_to_copy() {
    let bundle = with_copyup(Bundle::new(), &[]);
    let output = output_of(bundle, "ls -a /mnt; stat -c %a /mnt");
    assert_eq!(output, ".\n..\n1777\n");
}

fn an_earlier_mount_is_copied() {
    let source = Directory::new();
    fs::write(source.join("file"), "bound").unwrap();
    let bundle = Bundle::new()
        .file("mnt/file", "below")
        .bind(source.path(), "/mnt", &["bind"]);
    assert_eq!(
        output_of(with_copyup(bundle, &[]), "cat /mnt/file"),
        "bound"
    );
}

fn a_full_tmpfs_is_an_error() {
    let bundle = Bundle::new()
        .file("mnt/small", "fits")
        .file("mnt/large", &"x".repeat(1 << 20));
    let bundle = with_copyup(bundle, &["size=64k"]).args(&["/bin/true"]);
    let before = HostState::of(&bundle);
    let outcome = bundle.run().assert_refused("/mnt");
    before.assert_unchanged(&bundle);
    if bundle.runtime().kind() == Kind::Rt {
        let index = bundle.config().items("/mounts").len() - 1;
        let text = format!(
            "rt run: {}: mounts[{index}]: mount tmpfs on /mnt: copy the content: no space left on device \
             (ENOSPC; is its size too small for the copy?)\n",
            bundle.id()
        );
        assert_eq!(outcome.stderr, text);
    }
}

/// The directories are nested more deeply than any path can name.
fn a_directory_nested_too_deeply_is_an_error() {
    only_rt("other runtimes fail with other errors");
    let bundle = with_copyup(Bundle::new().folder("mnt"), &[]).args(&["/bin/true"]);
    let top = bundle.rootfs().join("mnt");
    // Unmounting it is faster than removing the directories.
    mount(
        Some("deep"),
        &top,
        Some("tmpfs"),
        MsFlags::empty(),
        None::<&str>,
    )
    .unwrap();
    let mut at = open(&top, OFlag::O_PATH, Mode::empty()).unwrap();
    for _ in 0..2100 {
        mkdirat(&at, "d", Mode::S_IRWXU).unwrap();
        at = openat(&at, "d", OFlag::O_PATH, Mode::empty()).unwrap();
    }
    drop(at);
    let before = HostState::of(&bundle);
    for (limit, error) in [("100", "EMFILE"), ("20000", "ENAMETOOLONG")] {
        let limit = format!("--nofile={limit}:20000");
        let call = bundle.call_through(&["prlimit", &limit], "run", &[]);
        let outcome = call
            .run()
            .assert_refused("mount tmpfs on /mnt: copy the content");
        assert!(outcome.stderr.contains(error), "{outcome}");
    }
    before.assert_unchanged(&bundle);
}

fn a_user_namespace_maps_the_owners_in_the_copy() {
    differs(Kind::Crun, "does not copy owners");
    let map = json!([{ "containerID": 0, "hostID": 0, "size": 1000 }]);
    let mapped = |bundle: Bundle| {
        let bundle = with_copyup(bundle, &[]).namespace("user", None);
        let bundle = bundle.set("/linux/uidMappings", map.clone());
        bundle.set("/linux/gidMappings", map.clone())
    };
    let bundle = mapped(Bundle::new().file("mnt/file", "").file("mnt/own", ""));
    let bundle = with_owners(bundle, &[("file", 0o4755, 900)]);
    let script = "stat -c '%a %u %g' /mnt/file /mnt/own";
    assert_eq!(output_of(bundle, script), "4755 900 901\n644 0 0\n");
    let bundle = with_owners(
        mapped(Bundle::new().file("mnt/file", "")),
        &[("file", 0o644, 5000)],
    );
    let bundle = bundle.args(&["/bin/true"]);
    let before = HostState::of(&bundle);
    bundle.run().assert_refused("/mnt");
    before.assert_unchanged(&bundle);
}

fn tmpcopyup_on_other_mounts_is_refused() {
    only_rt("other runtimes ignore the option on other mounts");
    let source = Directory::new();
    let mounts = [
        json!({ "destination": "/mnt", "type": "bind", "source": source.path(), "options": ["bind", "tmpcopyup"] }),
        json!({ "destination": "/mnt", "type": "tmpfs", "source": source.path(), "options": ["rbind", "tmpcopyup"] }),
        json!({ "destination": "/mnt", "type": "ramfs", "options": ["tmpcopyup"] }),
        json!({ "destination": "/mnt", "type": "cgroup", "options": ["tmpcopyup"] }),
    ];
    for mount in mounts {
        let bundle = Bundle::new().folder("mnt").mount(mount);
        let index = bundle.config().items("/mounts").len() - 1;
        let place = format!("mounts[{index}].options: tmpcopyup: only a tmpfs");
        bundle.run().assert_refused(&place);
    }
}

fn a_tmpfs_has_the_mode_of_its_mount_point() {
    let mode = |bundle: Bundle| output_of(bundle, "stat -c %a /mnt");
    let directory = |mode: u32| {
        let bundle = Bundle::new().folder("mnt");
        let place = bundle.rootfs().join("mnt");
        fs::set_permissions(&place, Permissions::from_mode(mode)).unwrap();
        assert_eq!(fs::metadata(&place).unwrap().mode() & 0o7777, mode);
        bundle
    };
    assert_eq!(mode(directory(0o2750).mount(tmpfs(&[]))), "2750\n");
    assert_eq!(mode(with_copyup(directory(0o711), &[])), "711\n");
    assert_eq!(
        mode(Bundle::new().mount(tmpfs(&[]))),
        "1777\n",
        "the mount point did not exist"
    );
    differs(
        Kind::Runc,
        "Debian's version prefers the mode of the directory to that of the options",
    );
    assert_eq!(mode(directory(0o711).mount(tmpfs(&["mode=0700"]))), "700\n");
}
