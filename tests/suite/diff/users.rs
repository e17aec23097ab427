//! User namespaces: the ids in a layer are those that the container sees.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::runner::Test;

use super::{after, diff, with_overlay};
use crate::harness::{Bundle, Directory, trials};
use crate::users::map;
use crate::users::rootless::callers::{ALL, Caller, USER};

pub(super) fn tests() -> Vec<Test> {
    trials![
        the_ids_are_those_of_the_container,
        a_user_who_is_not_root_sees_the_changes,
    ]
}

/// The owner and the group of each entry.
fn owners(layer: &Path) -> BTreeMap<String, (u64, u64)> {
    let mut archive = tar::Archive::new(fs::File::open(layer).unwrap());
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let header = entry.header();
            (path, (header.uid().unwrap(), header.gid().unwrap()))
        })
        .collect()
}

fn give(bundle: &Bundle, id: u32) {
    let mut chown = Command::new("chown");
    chown
        .args(["-hR", &format!("{id}:{id}")])
        .arg(bundle.rootfs());
    assert!(chown.status().unwrap().success());
}

fn the_ids_are_those_of_the_container() {
    let bundle = map(with_overlay(Bundle::new()), &[(0, 100_000, 65_536)]);
    let capabilities = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"];
    let bundle = bundle.capabilities(&capabilities);
    give(&bundle, 100_000);
    let script = "echo x > /etc/new; /bin/busybox chown 5:6 /etc/new; rm /etc/group; mkdir /etc/d";
    let (bundle, _container) = after(bundle, script);
    let expected = "C /etc\nA /etc/d\nD /etc/group\nA /etc/new\n";
    assert_eq!(diff(&bundle, &[]).assert_ok().stdout, expected);
    let directory = Directory::new();
    let file = directory.join("layer.tar");
    diff(&bundle, &["--tar", file.to_str().unwrap()]).assert_ok();
    let owners = owners(&file);
    assert_eq!(owners["etc/new"], (5, 6));
    assert_eq!(owners["etc/d/"], (0, 0));
    assert_eq!(owners["etc/"], (0, 0));
    assert_eq!(owners["etc/.wh.group"], (0, 0));
}

fn a_user_who_is_not_root_sees_the_changes() {
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let bundle = with_overlay(caller.bundle());
        give(&bundle, USER);
        let script = "echo x > /etc/new; rm /etc/group; echo new > /etc/passwd";
        let (bundle, container) = after(bundle, script);
        let said = diff(&bundle, &[]).assert_ok().stdout;
        let expected = "C /etc\nD /etc/group\nA /etc/new\nC /etc/passwd\n";
        assert_eq!(said, expected, "{caller_kind:?}");
        let layer = diff(&bundle, &["--tar", "-"]).assert_ok().stdout;
        assert!(layer.contains("etc/.wh.group"), "{caller_kind:?}");
        container.end();
    }
}
