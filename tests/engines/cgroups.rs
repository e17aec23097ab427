//! Reading and removing cgroups of both versions.

use std::fs;
use std::path::Path;

/// A shell command that prints a file of the container's own cgroup, given the names of the file in cgroup v1 and
/// v2.
pub(crate) fn show(controller: &str, v1: &str, v2: &str) -> String {
    format!("cat /sys/fs/cgroup/{controller}/{v1} 2>/dev/null || cat /sys/fs/cgroup/{v2}")
}

/// Checks the CPU shares that a container sees. With cgroup v2 it sees a weight: by the linear formula of
/// runc 1.1, or by the curve of runc 1.3.2, crun 1.23 and `rt`.
#[track_caller]
pub(crate) fn assert_shares(seen: &str, shares: u64) {
    let weights = match shares {
        256 => [10, 35],
        333 => [13, 42],
        512 => [20, 59],
        2048 => [79, 174],
        other => panic!("no weights for {other}"),
    };
    let expected = [shares, weights[0], weights[1]].map(|value| value.to_string());
    assert!(
        expected.iter().any(|value| value == seen),
        "{seen} for {shares}"
    );
}

/// The content of a file in the cgroup of a process, given the names of the file in cgroup v1 and v2.
#[track_caller]
pub(crate) fn limit(pid: u32, controller: &str, v1: &str, v2: &str) -> String {
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let v1_file = |line: &str| {
        let (names, path) = line.split_once(':')?.1.split_once(':')?;
        let is_it = names.split(',').any(|name| name == controller);
        is_it.then(|| format!("/sys/fs/cgroup/{controller}{path}/{v1}"))
    };
    let v2_file = || {
        let path = cgroups.lines().find_map(|line| line.strip_prefix("0::"))?;
        Some(format!("/sys/fs/cgroup{path}/{v2}"))
    };
    let file = cgroups.lines().find_map(v1_file).or_else(v2_file).unwrap();
    let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{file}: {e}"));
    text.trim().to_owned()
}

/// Removes a cgroup and its descendants, in every hierarchy.
pub(crate) fn remove(name: &str) {
    let all = fs::read_dir("/sys/fs/cgroup").into_iter().flatten();
    for hierarchy in all.flatten() {
        remove_directories(&hierarchy.path().join(name));
    }
    remove_directories(&Path::new("/sys/fs/cgroup").join(name));
}

/// Removes the directories only: rmdir(2) removes a cgroup with its files.
fn remove_directories(directory: &Path) {
    let below = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.path().is_dir()) {
        remove_directories(&entry.path());
    }
    let _ = fs::remove_dir(directory);
}
