//! "In the listed order" (config.md): a bind mount shows earlier mounts on its source. Also many
//! bind mounts under a low hard limit of descriptors.

use std::fs;
use std::os::unix::fs::symlink;

use crate::runner::Test;
use serde_json::json;

use crate::harness::{Bundle, Directory, HostState, Kind, differs, only_rt, trials};
use crate::hooks::{CREATE_CONTAINER, add};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        a_bind_shows_an_earlier_mount_on_its_source,
        a_bind_in_a_user_namespace_shows_an_earlier_mount_on_its_source,
        a_recursive_bind_includes_earlier_mounts_below_its_source,
        a_source_in_the_root_is_resolved_through_links_of_the_root,
        a_source_in_the_root_cannot_be_a_link_out_of_it,
        a_missing_source_in_the_root_is_named,
        an_overlay_on_the_root_does_not_hide_a_source,
        eleven_hundred_binds_fit_under_a_hard_limit_of_1024,
    ]
}

/// Binds a directory with a file on /data, and then /data of the root on /view.
fn with_two_binds(bundle: Bundle, volume: &Directory) -> Bundle {
    fs::write(volume.join("file"), "from the volume").unwrap();
    let data = bundle.rootfs().join("data");
    let bundle = bundle.folder("data").folder("view");
    bundle
        .bind(volume.path(), "/data", &["rbind"])
        .bind(&data, "/view", &["bind", "ro"])
}

fn a_bind_shows_an_earlier_mount_on_its_source() {
    differs(Kind::Crun, "it opens sources first");
    let volume = Directory::new();
    let script = "cat /view/file; /probe write /view/file x";
    let with_hook = with_two_binds(Bundle::new(), &volume);
    let with_hook = add(with_hook, CREATE_CONTAINER, json!({ "path": "/bin/true" }));
    for (bundle, flags) in [
        (with_two_binds(Bundle::new(), &volume), &[][..]),
        (with_two_binds(Bundle::new(), &volume), &["--no-pivot"]),
        (with_hook, &[]),
    ] {
        let bundle = bundle.sh(script);
        let before = HostState::of(&bundle);
        let output = bundle.call("run", flags).run().stdout;
        assert_eq!(output, "from the volumeEROFS\n", "{flags:?}");
        before.assert_unchanged(&bundle);
    }
}

fn a_bind_in_a_user_namespace_shows_an_earlier_mount_on_its_source() {
    only_rt("other runtimes open the sources first in a user namespace");
    let volume = Directory::new();
    let maps = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
    let bundle = with_two_binds(Bundle::new(), &volume)
        .namespace("user", None)
        .set("/linux/uidMappings", maps.clone())
        .set("/linux/gidMappings", maps)
        .sh("cat /view/file; /probe write /view/file x");
    let before = HostState::of(&bundle);
    assert_eq!(bundle.run().stdout, "from the volumeEROFS\n");
    before.assert_unchanged(&bundle);
}

fn a_recursive_bind_includes_earlier_mounts_below_its_source() {
    differs(Kind::Crun, "it opens sources first");
    let (volume, bundle) = (Directory::new(), Bundle::new());
    fs::write(volume.join("file"), "below").unwrap();
    let srv = bundle.rootfs().join("srv");
    let bundle = bundle.folder("srv/data").folder("one").folder("tree");
    let bundle = bundle
        .bind(volume.path(), "/srv/data", &["bind"])
        .bind(&srv, "/tree", &["rbind"])
        .bind(&srv, "/one", &["bind"]);
    let output = bundle.sh("cat /tree/data/file; ls /one/data").run();
    assert_eq!(output.assert_ok().stdout, "below");
}

/// Links in the root are resolved as the container would.
fn a_source_in_the_root_is_resolved_through_links_of_the_root() {
    only_rt("other runtimes resolve them on the host");
    let (volume, bundle) = (Directory::new(), Bundle::new());
    fs::write(volume.join("file"), "behind a link").unwrap();
    let source = bundle.rootfs().join("var/data");
    let bundle = bundle
        .folder("srv/data")
        .folder("view")
        .symlink("var", "/srv")
        .bind(volume.path(), "/srv/data", &["bind"])
        .bind(&source, "/view", &["bind"]);
    let output = bundle.sh("cat /view/file").run().assert_ok();
    assert_eq!(output.stdout, "behind a link");
}

fn a_source_in_the_root_cannot_be_a_link_out_of_it() {
    only_rt("other runtimes resolve links of the root on the host");
    let (outside, bundle) = (Directory::new(), Bundle::new());
    fs::write(outside.join("secret"), "").unwrap();
    let source = bundle.rootfs().join("link");
    symlink(outside.path(), &source).unwrap();
    let bundle = bundle.folder("view").bind(&source, "/view", &["rbind"]);
    let bundle = bundle.args(&["/bin/ls", "/view"]);
    bundle.assert_refused(&["mounts[7]", "bind ", "/link on ", "not found"]);
}

fn a_missing_source_in_the_root_is_named() {
    let bundle = Bundle::new();
    let source = bundle.rootfs().join("nowhere");
    let bundle = bundle.folder("view").bind(&source, "/view", &["bind"]);
    bundle.assert_refused(&["mounts[7]", "bind ", "/nowhere on ", "not found"]);
}

/// A mount that the host has made in the root is not in the overlay, but it can be a source.
fn an_overlay_on_the_root_does_not_hide_a_source() {
    only_rt("the annotation is rt's own");
    let bundle = Bundle::new().folder("view").folder("data");
    let data = bundle.rootfs().join("data");
    let none = None::<&str>;
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("tmpfs"), &data, Some("tmpfs"), flags, none).unwrap();
    fs::write(data.join("file"), "mounted by the host").unwrap();
    let bundle = bundle
        .set("/annotations/rt.rootfs.overlay", json!("ephemeral"))
        .bind(&data, "/view", &["bind"])
        .sh("cat /view/file");
    let output = bundle.run();
    nix::mount::umount(&data).unwrap();
    assert_eq!(output.assert_ok().stdout, "mounted by the host");
}

fn eleven_hundred_binds_fit_under_a_hard_limit_of_1024() {
    differs(Kind::Crun, "it opens sources first");
    let limited = ["sh", "-c", "ulimit -n 1024; exec \"$@\"", "sh"];
    let volume = Directory::new();
    let run = json!({ "destination": "/run", "type": "tmpfs", "source": "tmpfs" });
    let bundle = (0..1100).fold(Bundle::new().mount(run), |bundle, n| {
        fs::write(volume.join(&n.to_string()), n.to_string()).unwrap();
        let source = volume.join(&n.to_string());
        bundle.bind(&source, &format!("/run/m{n}"), &["bind", "ro"])
    });
    let script = "cd /run; for n in 0 1 127 128 500 1099; do cat m$n; echo; done";
    let bundle = bundle.sh(script);
    let before = HostState::of(&bundle);
    let output = bundle.call_through(&limited, "run", &[]).run().assert_ok();
    assert_eq!(output.stdout, "0\n1\n127\n128\n500\n1099\n");
    before.assert_unchanged(&bundle);
}
