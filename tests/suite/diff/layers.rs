//! Several lower layers, and an upper layer that outlives its container.

use std::fs;
use std::os::unix::fs::chown;

use crate::runner::Test;
use serde_json::json;

use super::{after, diff, with_overlay};
use crate::harness::{Bundle, Directory, trials};
use crate::users::map;
use crate::users::rootless::callers::{ALL, Caller, USER};

pub(super) fn tests() -> Vec<Test> {
    trials![
        changes_are_those_to_the_merged_layers,
        a_stopped_container_has_changes_in_a_directory,
        a_stopped_container_in_a_user_namespace_has_changes_in_a_directory,
        a_user_who_is_not_root_sees_the_changes_of_a_stopped_container,
    ]
}

fn changes_are_those_to_the_merged_layers() {
    let layers = Directory::new();
    for (file, text) in [
        ("top/data/both", "top"),
        ("middle/data/both", "middle"),
        ("middle/data/middle", "middle"),
        ("middle/gone", "middle"),
    ] {
        let path = layers.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let lower = [layers.join("top"), layers.join("middle")];
    let lower = lower.map(|path| path.display().to_string()).join(",");
    let bundle = with_overlay(Bundle::new())
        .set("/annotations/rt.rootfs.lower", json!(lower))
        .file("data/lowest", "lowest");
    let (bundle, _container) = after(bundle, ":");
    assert_eq!(diff(&bundle, &[]).assert_ok().stdout, "");
    drop(_container);
    let (bundle, _container) = {
        let container = bundle.container();
        container.end();
        after(
            bundle,
            "rm /gone /data/lowest; echo new > /data/middle; rm /data/both",
        )
    };
    let expected = "C /data\nD /data/both\nD /data/lowest\nC /data/middle\nD /gone\n";
    assert_eq!(diff(&bundle, &[]).assert_ok().stdout, expected);
}

/// Lists the changes while the container runs, and after its end.
fn check_kept(bundle: Bundle, owner: u32) {
    let kept = Directory::new();
    for name in ["upper", "work"] {
        fs::create_dir(kept.join(name)).unwrap();
        chown(kept.join(name), Some(owner), Some(owner)).unwrap();
    }
    let bundle = with_overlay(bundle)
        .set("/annotations/rt.rootfs.overlay", json!(kept.path()))
        .file("data/sub/old", "old")
        .file("data/gone", "gone");
    chown_all(&bundle, owner);
    let script = "rm -r /data/sub /data/gone; mkdir /data/sub; echo new > /data/sub/new";
    let (bundle, container) = after(bundle, script);
    let expected = "C /data\nD /data/gone\nC /data/sub\nA /data/sub/new\nD /data/sub/old\n";
    assert_eq!(diff(&bundle, &[]).assert_ok().stdout, expected);
    let running = diff(&bundle, &["--tar", "-"]).assert_ok().stdout;
    container.kill("KILL").assert_ok();
    container.wait_stopped();
    assert_eq!(diff(&bundle, &[]).assert_ok().stdout, expected);
    let stopped = diff(&bundle, &["--tar", "-"]).assert_ok().stdout;
    assert!(running.contains("data/sub/.wh.old"));
    assert!(running == stopped, "the layers differ");
    container.delete().assert_ok();
}

fn chown_all(bundle: &Bundle, owner: u32) {
    let mut chown = std::process::Command::new("chown");
    chown.args(["-hR", &format!("{owner}:{owner}")]);
    assert!(chown.arg(bundle.rootfs()).status().unwrap().success());
}

fn a_stopped_container_has_changes_in_a_directory() {
    check_kept(Bundle::new(), 0);
}

fn a_stopped_container_in_a_user_namespace_has_changes_in_a_directory() {
    check_kept(map(Bundle::new(), &[(0, 100_000, 65_536)]), 100_000);
}

fn a_user_who_is_not_root_sees_the_changes_of_a_stopped_container() {
    for caller_kind in ALL {
        check_kept(Caller::new(caller_kind).bundle(), USER);
    }
}
