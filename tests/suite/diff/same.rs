//! Compares two file trees: types, modes, owners, times, hard links, attributes and contents.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// # Panics
/// With the first differences.
#[track_caller]
pub(super) fn assert_same(one: &Path, other: &Path) {
    let (left, right) = (list(one), list(other));
    let mut found = Vec::new();
    for path in left
        .keys()
        .chain(right.keys().filter(|path| !left.contains_key(*path)))
    {
        match (left.get(path), right.get(path)) {
            (Some(a), Some(b)) => {
                found.extend(differences(a, b).map(|what| format!("{}: {what}", path.display())));
                if a.is_file() && !same_content(&one.join(path), &other.join(path)) {
                    found.push(format!("{}: content", path.display()));
                }
                if a.is_symlink()
                    && fs::read_link(one.join(path)).unwrap()
                        != fs::read_link(other.join(path)).unwrap()
                {
                    found.push(format!("{}: target", path.display()));
                }
            }
            (Some(_), None) => found.push(format!("{}: missing", path.display())),
            _ => found.push(format!("{}: too many", path.display())),
        }
    }
    assert!(
        found.is_empty(),
        "{} differences:\n{}",
        found.len(),
        found[..found.len().min(30)].join("\n")
    );
    assert_eq!(links(&left), links(&right), "hard links");
    assert_eq!(attributes(one), attributes(other), "extended attributes");
}

/// The metadata of everything below a directory, and of itself under an empty path.
fn list(top: &Path) -> BTreeMap<PathBuf, Metadata> {
    let mut all = BTreeMap::from([(PathBuf::new(), fs::metadata(top).unwrap())]);
    let mut waiting = vec![PathBuf::new()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(top.join(&directory)).unwrap() {
            let path = directory.join(entry.unwrap().file_name());
            let metadata = fs::symlink_metadata(top.join(&path)).unwrap();
            if metadata.is_dir() {
                waiting.push(path.clone());
            }
            all.insert(path, metadata);
        }
    }
    all
}

fn differences(one: &Metadata, other: &Metadata) -> impl Iterator<Item = String> {
    let facts = |of: &Metadata| {
        let size = if of.is_file() { of.len() } else { 0 };
        // The root's own time says only that entries were added.
        [
            ("mode", i64::from(of.mode())),
            ("uid", i64::from(of.uid())),
            ("gid", i64::from(of.gid())),
            ("device", of.rdev() as i64),
            ("size", size as i64),
            ("seconds", of.mtime()),
            ("nanoseconds", of.mtime_nsec()),
        ]
    };
    let both = facts(one).into_iter().zip(facts(other));
    let differ = both.filter(|((_, a), (_, b))| a != b);
    differ.map(|((what, a), (_, b))| format!("{what} {a:o}, not {b:o}"))
}

fn same_content(one: &Path, other: &Path) -> bool {
    let (mut one, mut other) = (File::open(one).unwrap(), File::open(other).unwrap());
    let (mut a, mut b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let length = one.read(&mut a).unwrap();
        other.read_exact(&mut b[..length]).unwrap();
        if a[..length] != b[..length] {
            return false;
        }
        if length == 0 {
            return true;
        }
    }
}

/// The groups of paths that are hard links to one file.
fn links(all: &BTreeMap<PathBuf, Metadata>) -> Vec<Vec<&PathBuf>> {
    let mut groups: BTreeMap<(u64, u64), Vec<&PathBuf>> = BTreeMap::new();
    for (path, metadata) in all.iter().filter(|(_, metadata)| metadata.is_file()) {
        let group = groups.entry((metadata.dev(), metadata.ino())).or_default();
        group.push(path);
    }
    let mut groups: Vec<_> = groups
        .into_values()
        .filter(|group| group.len() > 1)
        .collect();
    groups.sort();
    groups
}

/// The output of getfattr(1), by path.
fn attributes(top: &Path) -> BTreeMap<String, String> {
    let mut getfattr = Command::new("getfattr");
    getfattr.args(["-R", "-P", "-h", "-d", "-m", "-", "-e", "hex", "."]);
    let listed = getfattr.current_dir(top).output().unwrap().stdout;
    let listed = String::from_utf8_lossy(&listed).into_owned();
    let blocks = listed.split("\n\n").filter(|block| !block.is_empty());
    blocks
        .map(|block| {
            let (path, rest) = block.split_once('\n').unwrap_or((block, ""));
            (path.to_owned(), rest.to_owned())
        })
        .collect()
}

/// Copies a file tree with everything that [`assert_same`] compares.
pub(super) fn copy(from: &Path, to: &Path) {
    let mut command = Command::new("cp");
    let arguments: [OsString; 3] = ["-a".into(), from.into(), to.into()];
    assert!(command.args(arguments).status().unwrap().success());
}
