//! Containers that work against the command: files that change while they are read.

use std::fs;
use std::io;

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{mkfifo, mkfifoat};

use crate::runner::Test;

use super::{after, diff, root_of, without_mounts};
use crate::harness::{Bundle, Directory, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_container_that_changes_its_files_meanwhile_gives_a_valid_layer,
        links_and_devices_are_not_opened,
        very_deep_directories_are_in_the_layer,
    ]
}

/// The number of entries of an archive, all of them read.
fn read_all(archive: &std::path::Path) -> usize {
    let mut archive = tar::Archive::new(fs::File::open(archive).unwrap());
    let mut count = 0;
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let size = entry.size();
        assert_eq!(io::copy(&mut entry, &mut io::sink()).unwrap(), size);
        count += 1;
    }
    count
}

fn a_container_that_changes_its_files_meanwhile_gives_a_valid_layer() {
    let script = "
        mkdir -p /busy/kept
        for n in 0 1 2 3; do (
            while :; do
                head -c 3000000 /dev/zero > /busy/grows$n; : > /busy/grows$n
                mkdir -p /busy/d$n/e/f; echo x > /busy/d$n/e/f/g; rm -r /busy/d$n
                echo x > /busy/swap$n; rm /busy/swap$n; mkdir /busy/swap$n; rm -r /busy/swap$n
            done
        ) & done";
    let (bundle, container) = after(without_mounts(Bundle::new()), script);
    let directory = Directory::new();
    let file = directory.join("layer.tar");
    for _ in 0..20 {
        diff(&bundle, &["--tar", file.to_str().unwrap()]).assert_code(0);
        assert!(read_all(&file) > 2);
    }
    container.end();
}

/// A FIFO without a writer would block, and the link leads out of the container.
fn links_and_devices_are_not_opened() {
    let (bundle, container) = after(without_mounts(Bundle::new()), "ln -s / /etc/up; :");
    let root = root_of(&container);
    let outside = Directory::new();
    fs::write(outside.join("secret"), "secret of the host").unwrap();
    std::os::unix::fs::symlink(outside.path(), root.join("etc/out")).unwrap();
    std::os::unix::fs::symlink("/proc/self/fd/3", root.join("etc/fd")).unwrap();
    mkfifo(&root.join("etc/fifo"), Mode::from_bits_truncate(0o600)).unwrap();
    let said = diff(&bundle, &["--tar", "-"]).assert_ok().stdout;
    assert!(said.contains("etc/out") && said.contains("etc/fifo"));
    assert!(!said.contains("secret of the host"));
}

/// With names of 200 bytes, twenty times the longest path that a system call takes.
const DEPTH: usize = 400;

fn very_deep_directories_are_in_the_layer() {
    let (bundle, container) = after(without_mounts(Bundle::new()), ":");
    let name = "d".repeat(200);
    let (flags, mode) = (OFlag::O_DIRECTORY, Mode::from_bits_truncate(0o755));
    let mut deepest = open(&root_of(&container).join("etc"), flags, mode).unwrap();
    for _ in 0..DEPTH {
        mkdirat(&deepest, name.as_str(), mode).unwrap();
        deepest = openat(&deepest, name.as_str(), flags, mode).unwrap();
    }
    mkfifoat(&deepest, "end", mode).unwrap();
    drop(deepest);
    let directory = Directory::new();
    let file = directory.join("layer.tar");
    diff(&bundle, &["--tar", file.to_str().unwrap()]).assert_ok();
    let mut archive = tar::Archive::new(fs::File::open(&file).unwrap());
    let longest = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path_bytes().into_owned());
    let longest = longest.max_by_key(Vec::len).unwrap();
    assert_eq!(longest.len(), "etc/".len() + DEPTH * 201 + "end".len());
}
