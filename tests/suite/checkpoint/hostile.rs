//! Images that are damaged, or that want something outside of their directory.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::Counter;
use crate::harness::{Bundle, HostState, only_rt, trials};
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    trials![
        links_lead_to_nothing_outside,
        links_beside_a_pre_dump_are_refused,
        damaged_images_leave_nothing,
        no_process_leaves_the_cgroups,
    ]
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

/// The images name the cgroup of each process.
fn no_process_leaves_the_cgroups() {
    only_rt("runc leaves it to CRIU");
    let mut counter = Counter::new(Bundle::new());
    counter.start();
    counter.checkpoint(&[]).assert_ok();
    counter.assert_gone();
    let id = counter.bundle.id().to_owned();
    let other = format!("{}x", &id[..id.len() - 1]);
    let cgroups = Cgroups::new(&other);
    let image = counter.images().join("cgroup.img");
    let content = fs::read(&image).unwrap();
    fs::write(
        &image,
        replaced(&content, &format!("/{id}"), &format!("/{other}")),
    )
    .unwrap();
    let before = HostState::of(&counter.bundle);
    let refused = counter.restore(&[]).assert_code(1);
    let text = "linux.cgroupsPath: a process of the images is in another cgroup";
    assert!(refused.one_line().ends_with(text), "{refused}");
    before.assert_unchanged(&counter.bundle);
    drop(cgroups);
    fs::write(&image, content).unwrap();
    counter.restore(&[]).assert_ok();
    counter.wait_for_more();
}

fn replaced(content: &[u8], from: &str, to: &str) -> Vec<u8> {
    let mut content = content.to_vec();
    for at in 0..content.len() - from.len() {
        if content[at..].starts_with(from.as_bytes()) {
            content[at..at + from.len()].copy_from_slice(to.as_bytes());
        }
    }
    content
}

/// A cgroup of the host in each hierarchy.
struct Cgroups(Vec<PathBuf>);

impl Cgroups {
    fn new(name: &str) -> Self {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let mut made = Vec::new();
        for mount in mounts.lines() {
            let mut fields = mount.split(' ').skip(1);
            let (Some(top), Some("cgroup" | "cgroup2")) = (fields.next(), fields.next()) else {
                continue;
            };
            let (top, path) = (Path::new(top), Path::new(top).join(name));
            fs::create_dir(&path).unwrap();
            // Those of version 1 begin without CPUs and memory.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if path.join(file).exists() && top.join(file).exists() {
                    fs::copy(top.join(file), path.join(file)).unwrap();
                }
            }
            made.push(path);
        }
        Self(made)
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for path in &self.0 {
            drop(fs::remove_dir(path));
        }
    }
}
