//! Unusual places for a root file system, and unusual ways to switch to it.

use std::fs;
use std::path::Path;

use crate::runner::Test;
use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use crate::harness::{
    Bundle, Directory, HostState, Kind, differs, on_overlay, only_rt, skip, tree, trials,
};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        no_pivot_works,
        no_pivot_with_private_propagation_is_refused,
        no_pivot_hides_the_files_of_the_host,
        no_mount_of_the_host_is_visible,
        an_absolute_root_path_works,
        a_root_that_is_a_link_is_followed,
        a_missing_root_is_refused,
        a_rootfs_on_overlay_works,
        a_rootfs_on_a_readonly_file_system_works,
        a_missing_mount_point_on_a_readonly_file_system_is_refused,
        dev_as_a_link_changes_nothing_on_the_host,
        three_hundred_mounts_fit_in_256_descriptors,
    ]
}

fn no_pivot_works() {
    let bundle = Bundle::new().hostname("web");
    let before = HostState::of(&bundle);
    let seen = bundle.probe_with(&["--no-pivot"]);
    assert_eq!(
        (&seen["hostname"], &seen["cwd"]),
        (&json!("web"), &json!("/"))
    );
    seen.mount("/dev").assert_options(&["nosuid"]);
    before.assert_unchanged(&bundle);
}

/// Without pivot_root(2) the host's mounts stay below. With private propagation the container would
/// not see the host unmount them.
fn no_pivot_with_private_propagation_is_refused() {
    for value in ["private", "rprivate"] {
        let bundle = Bundle::new()
            .set("/linux/rootfsPropagation", json!(value))
            .args(&["/bin/true"]);
        let before = HostState::of(&bundle);
        bundle
            .call("run", &["--no-pivot"])
            .run()
            .assert_refused("rootfsPropagation");
        before.assert_unchanged(&bundle);
    }
}

fn no_pivot_hides_the_files_of_the_host() {
    let bundle = Bundle::new().sh("ls /; ls /proc/1/root/");
    let output = bundle.call("run", &["--no-pivot"]).run().assert_ok().stdout;
    assert_eq!(output.matches("probe\n").count(), 2, "{output}");
    assert!(!output.contains("home\n"), "{output}");
}

/// Neither a mount of the host nor the old root is left.
fn no_mount_of_the_host_is_visible() {
    let bundle = Bundle::new();
    let seen = bundle.probe();
    let config = bundle.config();
    let known = |list: &str, key: Option<&str>, place: &str| {
        config.items(list).iter().any(|item| {
            let known = key
                .map_or(item, |key| &item[key])
                .as_str()
                .unwrap_or_default();
            Path::new(place).starts_with(known)
        })
    };
    for mount in seen.mounts() {
        let place = mount.place();
        let expected = place == "/"
            || known("/mounts", Some("destination"), place)
            || known("/linux/maskedPaths", None, place)
            || known("/linux/readonlyPaths", None, place);
        assert!(expected, "unexpected mount on {place}");
    }
    let roots = seen
        .mounts()
        .iter()
        .filter(|mount| mount.place() == "/")
        .count();
    assert_eq!(roots, 1, "one root");
}

fn an_absolute_root_path_works() {
    let bundle = Bundle::new();
    let path = bundle.rootfs();
    bundle.set("/root/path", json!(path)).probe();
}

/// A bind source below the link is resolved inside the root too.
fn a_root_that_is_a_link_is_followed() {
    differs(Kind::Runc, "it refuses a root that is a link");
    differs(Kind::Crun, "it follows links in a source on the host");
    let bundle = Bundle::new()
        .file("etc/inside", "inside\n")
        .symlink("directory", "/etc")
        .file("mnt/file", "")
        .set("/root/path", json!("link"));
    let link = bundle.path().join("link");
    std::os::unix::fs::symlink("rootfs", &link).unwrap();
    let bundle = bundle
        .bind(&link.join("directory/inside"), "/mnt/file", &["bind"])
        .sh("cat /mnt/file");
    assert_eq!(bundle.run().assert_ok().stdout, "inside\n");
}

fn a_missing_root_is_refused() {
    let bundle = Bundle::new().set("/root/path", json!("nowhere"));
    let before = HostState::of(&bundle);
    bundle.run().assert_refused("nowhere");
    before.assert_unchanged(&bundle);
}

fn a_rootfs_on_overlay_works() {
    if on_overlay(&std::env::temp_dir()) {
        skip("the host's file system is an overlay, and the kernel stacks at most two");
    }
    let layers = Directory::new();
    for name in ["upper", "work", "merged"] {
        fs::create_dir(layers.join(name)).unwrap();
    }
    let bundle = Bundle::new().writable();
    let lower = tree(&bundle.rootfs());
    let data = format!(
        "lowerdir={},upperdir={},workdir={}",
        bundle.rootfs().display(),
        layers.join("upper").display(),
        layers.join("work").display(),
    );
    let merged = layers.join("merged");
    mount(
        Some("overlay"),
        &merged,
        Some("overlay"),
        MsFlags::empty(),
        Some(data.as_str()),
    )
    .unwrap();
    let bundle = bundle
        .set("/root/path", json!(merged))
        .sh("echo x > /new; cat /proc/self/mountinfo");
    let before = HostState::of(&bundle);
    let output = bundle.run().assert_ok().stdout;
    assert!(
        output
            .lines()
            .any(|line| line.contains(" / / ") && line.contains(" overlay ")),
        "{output}"
    );
    before.assert_unchanged(&bundle);
    assert_eq!(tree(&bundle.rootfs()), lower, "the lower layer has changed");
    assert!(layers.join("upper/new").is_file());
}

/// Puts the rootfs on a read-only bind mount of itself.
fn on_readonly_mount(bundle: Bundle) -> (Bundle, Directory) {
    let place = Directory::new();
    let bind = MsFlags::MS_BIND;
    let readonly = bind | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(
        Some(&bundle.rootfs()),
        place.path(),
        None::<&str>,
        bind,
        None::<&str>,
    )
    .unwrap();
    mount(
        None::<&str>,
        place.path(),
        None::<&str>,
        readonly,
        None::<&str>,
    )
    .unwrap();
    let path = json!(place.path());
    (bundle.set("/root/path", path), place)
}

fn a_rootfs_on_a_readonly_file_system_works() {
    for root_readonly in [true, false] {
        let (bundle, _place) =
            on_readonly_mount(Bundle::new().set("/root/readonly", json!(root_readonly)));
        let before = HostState::of(&bundle);
        let seen = bundle.probe();
        assert_eq!(seen.mount("/dev").kind(), "tmpfs");
        assert!(seen.mount("/").has("ro"));
        before.assert_unchanged(&bundle);
    }
}

fn a_missing_mount_point_on_a_readonly_file_system_is_refused() {
    let mount = json!({ "destination": "/not/there", "type": "tmpfs", "source": "tmpfs" });
    let (bundle, _place) = on_readonly_mount(Bundle::new().mount(mount));
    let before = HostState::of(&bundle);
    bundle.run().assert_refused("/not");
    before.assert_unchanged(&bundle);
}

/// Whether the container starts or not, the target of the link on the host does not change.
fn dev_as_a_link_changes_nothing_on_the_host() {
    only_rt("Debian's runc creates its links in the host's directory and removes ptmx there");
    let outside = Directory::new();
    fs::write(outside.join("ptmx"), "decoy").unwrap();
    let untouched = tree(outside.path());
    for target in [
        outside.path().to_str().unwrap(),
        "../../../../../../../../tmp",
        "somewhere",
    ] {
        let bundle = Bundle::new()
            .folder("somewhere")
            .symlink("dev", target)
            .args(&["/bin/true"]);
        let before = HostState::of(&bundle);
        let outcome = bundle.run();
        assert_eq!(tree(outside.path()), untouched, "{target}");
        if outcome.code() != 0 {
            outcome.one_line();
            before.assert_unchanged(&bundle);
        }
        assert_eq!(crate::harness::mountinfo(), before.mounts(), "{target}");
    }
}

fn three_hundred_mounts_fit_in_256_descriptors() {
    let mounts: Vec<Value> = (0..300)
        .map(|n| json!({ "destination": format!("/run/m{n}"), "type": "tmpfs", "source": format!("m{n}") }))
        .collect();
    let run = json!({ "destination": "/run", "type": "tmpfs", "source": "tmpfs" });
    let bundle = mounts
        .into_iter()
        .fold(Bundle::new().mount(run), Bundle::mount);
    let before = HostState::of(&bundle);
    let limited = ["sh", "-c", "ulimit -Sn 256; exec \"$@\"", "sh"];
    let seen = bundle.probe_call(&limited, &[]).assert_report();
    for n in 0..300 {
        assert_eq!(seen.mount(&format!("/run/m{n}")).source(), format!("m{n}"));
    }
    before.assert_unchanged(&bundle);
}
