//! The mount options `iversion` and `remount`.

use std::fs;

use crate::runner::Test;
use serde_json::json;

use super::options::{mounted_options, tmpfs};
use crate::harness::{Bundle, Directory, Kind, differs, only_rt, trials};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        iversion_reaches_the_kernel,
        remount_changes_an_earlier_mount,
        remount_changes_an_earlier_file_system,
        remount_of_a_foreign_file_system_is_refused,
        remount_does_not_follow_links_of_the_image,
    ]
}

/// A tmpfs does not show the option, so the calls are looked at.
fn iversion_reaches_the_kernel() {
    differs(Kind::Crun, "it passes iversion to the file system");
    let traced = |options: &[&str]| {
        let bundle = Bundle::new().folder("mnt").mount(tmpfs(options));
        let bundle = bundle.args(&["/bin/true"]);
        let trace = bundle.path().join("trace");
        let to = trace.to_str().unwrap();
        let strace = ["strace", "-f", "-qq", "-o", to, "-e", "trace=mount"];
        bundle.call_through(&strace, "run", &[]).run().assert_ok();
        fs::read_to_string(trace).unwrap()
    };
    let seen = traced(&["iversion", "size=64k"]);
    assert!(seen.contains("MS_I_VERSION"), "{seen}");
    let seen = traced(&["iversion", "noiversion"]);
    assert!(!seen.contains("MS_I_VERSION"), "{seen}");
    let mounted = mounted_options(&["iversion", "size=64k", "nosuid"]);
    for name in ["size=64k", "nosuid"] {
        assert!(
            mounted.contains(&name.to_owned()),
            "no {name} in {mounted:?}"
        );
    }
}

fn remount_changes_an_earlier_mount() {
    let source = Directory::new();
    let bind = |options: &[&str]| json!({ "destination": "/data", "type": "bind", "source": source.path(), "options": options });
    let bundle = Bundle::new().mount(bind(&["bind"]));
    let seen = bundle
        .mount(bind(&["bind", "remount", "ro", "noexec"]))
        .probe();
    seen.mount("/data").assert_options(&["ro", "noexec"]);
    let plain = json!({ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["remount", "ro", "nosuid"] });
    let bundle = Bundle::new().folder("mnt").mount(tmpfs(&["size=64k"]));
    let seen = bundle.mount(plain).probe();
    let mount = seen.mount("/mnt");
    mount.assert_options(&["ro", "nosuid"]);
    // One mount, not two.
    let outcome = Bundle::new()
        .folder("mnt")
        .mount(tmpfs(&[]))
        .mount(tmpfs(&["remount", "ro"]));
    let outcome = outcome
        .args(&["/bin/busybox", "grep", "-c", " /mnt ", "/proc/self/mounts"])
        .run();
    assert_eq!(outcome.assert_ok().stdout, "1\n");
}

fn remount_changes_an_earlier_file_system() {
    let bundle = Bundle::new()
        .folder("mnt")
        .mount(tmpfs(&["size=64k", "sync"]));
    let seen = bundle
        .mount(tmpfs(&["remount", "size=128k", "async"]))
        .probe();
    let mount = seen.mount("/mnt");
    mount.assert_options(&["size=128k"]);
    assert!(!mount.super_options().contains(&"sync".to_owned()));
}

fn remount_of_a_foreign_file_system_is_refused() {
    only_rt("other runtimes change the file system of the host");
    let source = Directory::new();
    let bundle = Bundle::new().bind(source.path(), "/data", &["rbind"]);
    let remount = |options: &[&str]| json!({ "destination": "/data", "options": options });
    let index = bundle.config().items("/mounts").len();
    let place =
        format!("mounts[{index}].options: remount: no earlier entry makes a file system on /data");
    bundle
        .mount(remount(&["remount", "sync"]))
        .assert_refused(&[&place]);
    // The attributes of the mount are the container's own.
    let bundle = Bundle::new().bind(source.path(), "/data", &["rbind"]);
    let seen = bundle.mount(remount(&["remount", "ro"])).probe();
    seen.mount("/data").assert_options(&["ro"]);
    let bundle = Bundle::new().folder("none");
    let none = json!({ "destination": "/none", "options": ["remount", "ro"] });
    bundle
        .mount(none)
        .assert_refused(&["remount /none: ", "is there one at the destination?"]);
    let bundle = Bundle::new().folder("mnt").mount(tmpfs(&["iversion"]));
    let again = tmpfs(&["remount", "iversion"]);
    bundle
        .mount(again)
        .assert_refused(&["options: iversion: it is set when a file system is mounted"]);
}

fn remount_does_not_follow_links_of_the_image() {
    only_rt("other runtimes follow them");
    let source = Directory::new();
    let bundle = Bundle::new().bind(source.path(), "/data", &["rbind", "ro"]);
    let bundle = bundle.folder("data").symlink("link", "/data");
    let remount = json!({ "destination": "/link", "options": ["bind", "remount", "rw"] });
    bundle.mount(remount).assert_refused(&[
        "remount /link: ",
        "a symbolic link leads to the destination",
    ]);
}
