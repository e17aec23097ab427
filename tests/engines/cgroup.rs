//! Cgroups of both versions, as containers and the machine see them.

use std::fs;
use std::path::Path;

/// Shows, in a shell of a container, a file of its own cgroup, by its names in versions 1 and 2.
pub(crate) fn show(controller: &str, one: &str, two: &str) -> String {
    format!("cat /sys/fs/cgroup/{controller}/{one} 2>/dev/null || cat /sys/fs/cgroup/{two}")
}

/// CPU shares as a container sees them: those asked for, with version 2 the weight for them, by the
/// line of runc 1.1 or by the curve that runc 1.3.2, crun 1.23 and `rt` have.
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
        expected.iter().any(|one| one == seen),
        "{seen} for {shares}"
    );
}

/// A file of the cgroup of a process, by its names in versions 1 and 2.
#[track_caller]
pub(crate) fn limit(pid: u32, controller: &str, one: &str, two: &str) -> String {
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let of = |line: &str| {
        let (names, path) = line.split_once(':')?.1.split_once(':')?;
        let is_it = names.split(',').any(|name| name == controller);
        is_it.then(|| format!("/sys/fs/cgroup/{controller}{path}/{one}"))
    };
    let unified = || {
        let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
        Some(format!("/sys/fs/cgroup{path}/{two}"))
    };
    let file = own.lines().find_map(of).or_else(unified).unwrap();
    let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{file}: {e}"));
    text.trim().to_owned()
}

/// With all below it, in every hierarchy.
pub(crate) fn remove(name: &str) {
    let all = fs::read_dir("/sys/fs/cgroup").into_iter().flatten();
    for hierarchy in all.flatten() {
        remove_directories(&hierarchy.path().join(name));
    }
    remove_directories(&Path::new("/sys/fs/cgroup").join(name));
}

/// The files of a cgroup go with it.
fn remove_directories(directory: &Path) {
    let below = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.path().is_dir()) {
        remove_directories(&entry.path());
    }
    let _ = fs::remove_dir(directory);
}
