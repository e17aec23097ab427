//! Images that are not what the bundle says, or that want something outside of their directory.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use super::{Counter, restores_no_new_privs};
use crate::harness::{Bundle, HostState, only_rt, trials};
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    trials![
        processes_get_no_more_than_the_bundle_allows,
        a_root_is_read_only_if_the_bundle_says_so,
        no_process_gets_privileges_that_it_gave_up,
        links_lead_to_nothing_outside,
        links_beside_a_pre_dump_are_refused,
        damaged_images_leave_nothing,
    ]
}

/// The container of the first bundle is restored with the second one, which is stricter.
fn processes_get_no_more_than_the_bundle_allows() {
    only_rt("runc takes from the images what they have");
    let caps = |names: &[&str]| {
        json!({
            "bounding": names, "permitted": names, "effective": names,
        })
    };
    type Change = (&'static str, serde_json::Value, &'static str);
    let cases: [Change; 4] = [
        (
            "/process/capabilities",
            caps(&["CAP_KILL"]),
            "process.capabilities.bounding: ",
        ),
        (
            "/process/noNewPrivileges",
            json!(true),
            "process.noNewPrivileges: ",
        ),
        (
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ALLOW" }),
            "linux.seccomp: ",
        ),
        (
            "/linux/maskedPaths",
            json!(["/proc/interrupts"]),
            "linux.maskedPaths: ",
        ),
    ];
    let mut counter = Counter::new(
        Bundle::new()
            .writable()
            .set("/process/capabilities", caps(&["CAP_KILL", "CAP_CHOWN"])),
    );
    counter.bundle = counter.bundle.set("/process/noNewPrivileges", json!(false));
    counter.start();
    counter.checkpoint(&[]).assert_ok();
    counter.assert_gone();
    let bundle = |counter: &Counter| counter.bundle.config().clone();
    let original = bundle(&counter);
    for (pointer, value, place) in cases {
        counter.bundle = counter.bundle.set(pointer, value);
        let before = HostState::of(&counter.bundle);
        let refused = counter.restore(&[]).assert_code(1);
        assert!(refused.one_line().contains(place), "{pointer}: {refused}");
        before.assert_unchanged(&counter.bundle);
        counter.bundle = counter.bundle.with_config(original.clone());
    }
    counter.restore(&[]).assert_ok();
    counter.wait_for_more();
}

/// CRIU 3.17 keeps what the runtime makes of the root, and later versions do not.
fn a_root_is_read_only_if_the_bundle_says_so() {
    only_rt("runc takes from the images what they have");
    let mut counter = Counter::new(Bundle::new().writable());
    counter.start();
    counter.checkpoint(&[]).assert_ok();
    counter.assert_gone();
    let original = counter.bundle.config().clone();
    counter.bundle = counter.bundle.set("/root/readonly", json!(true));
    let before = HostState::of(&counter.bundle);
    let restored = counter.restore(&[]);
    if restored.code() == 0 {
        counter.wait_for_more();
        let pid = counter.bundle.container().pid();
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
        let mut mounts = mounts.lines().map(|line| line.split(' ').skip(4));
        let root = mounts.find_map(|mut fields| (fields.next()? == "/").then(|| fields.next()));
        let options = root.flatten().unwrap();
        assert!(options.split(',').any(|option| option == "ro"), "{options}");
        return;
    }
    assert!(
        restored.one_line().contains("root.readonly: "),
        "{restored}"
    );
    before.assert_unchanged(&counter.bundle);
    counter.bundle = counter.bundle.with_config(original);
    counter.restore(&[]).assert_ok();
    counter.wait_for_more();
}

fn no_process_gets_privileges_that_it_gave_up() {
    let mut counter = Counter::new(Bundle::new());
    if !restores_no_new_privs() {
        only_rt("runc restores a process that may gain privileges");
    }
    counter.bundle = counter.bundle.set("/process/noNewPrivileges", json!(true));
    counter.start();
    counter.checkpoint(&[]).assert_ok();
    counter.assert_gone();
    let restored = counter.restore(&[]);
    if !restores_no_new_privs() {
        let text = "CRIU restores no_new_privs since version 3.19";
        assert!(restored.assert_code(1).one_line().ends_with(text));
        return;
    }
    restored.assert_ok();
    counter.wait_for_more();
    let pid = counter.bundle.container().pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
}

fn links_lead_to_nothing_outside() {
    only_rt("runc follows them");
    let mut counter = Counter::new(Bundle::new());
    let container = counter.start();
    let victim = counter.bundle.runtime().home().join("victim");
    fs::write(&victim, "untouched").unwrap();
    fs::create_dir(counter.images()).unwrap();
    for name in [
        "dump.log",
        "core-1.img",
        "descriptors.json",
        "inventory.img",
    ] {
        symlink(&victim, counter.images().join(name)).unwrap();
    }
    assert_ne!(counter.checkpoint(&[]).code(), 0);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    assert_eq!(container.status(), "running");
    counter.wait_for_more();
    fs::remove_dir_all(counter.images()).unwrap();
    counter.checkpoint(&[]).assert_ok();
    counter.assert_gone();
    let work = counter.bundle.runtime().home().join("work");
    fs::create_dir(&work).unwrap();
    symlink(&victim, work.join("restore.log")).unwrap();
    assert_ne!(counter.restore(&[]).code(), 0);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
}

fn links_beside_a_pre_dump_are_refused() {
    only_rt("runc follows them");
    let mut counter = Counter::new(Bundle::new());
    let container = counter.start();
    let first = counter.bundle.runtime().home().join("first");
    fs::create_dir(&first).unwrap();
    symlink("/etc/passwd", first.join("pages-1.img")).unwrap();
    let refused = counter
        .checkpoint(&["--parent-path", "../first"])
        .assert_code(1);
    let line = refused.one_line();
    assert!(line.ends_with("first/pages-1.img: is a symbolic link"));
    assert_eq!(container.status(), "running");
    counter.checkpoint(&[]).assert_ok();
    counter.assert_gone();
    symlink("../first", counter.images().join("parent")).unwrap();
    let before = HostState::of(&counter.bundle);
    let refused = counter.restore(&[]).assert_code(1);
    let line = refused.one_line();
    assert!(line.ends_with("parent/pages-1.img: is a symbolic link"));
    before.assert_unchanged(&counter.bundle);
    fs::remove_file(counter.images().join("parent")).unwrap();
    counter.restore(&[]).assert_ok();
    counter.wait_for_more();
}

fn damaged_images_leave_nothing() {
    let mut counter = Counter::new(Bundle::new());
    counter.start();
    counter.checkpoint(&[]).assert_ok();
    counter.assert_gone();
    let before = HostState::of(&counter.bundle);
    for name in ["pstree.img", "core-1.img", "mm-1.img", "files.img"] {
        let file = counter.images().join(name);
        let content = fs::read(&file).unwrap();
        for damaged in [
            Vec::new(),
            vec![0xff; 4096],
            content[..content.len() / 2].to_vec(),
        ] {
            fs::write(&file, damaged).unwrap();
            assert_ne!(counter.restore(&[]).code(), 0, "{name}");
            before.assert_unchanged(&counter.bundle);
        }
        fs::write(&file, content).unwrap();
    }
    counter.restore(&[]).assert_ok();
    counter.wait_for_more();
}
