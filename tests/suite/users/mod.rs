//! User namespaces, time namespaces, and rootless callers.

mod attacks;
mod clocks;
mod combinations;
mod devices;
mod life;
mod maps;
mod refusals;
pub(crate) mod rootless;
mod view;

use std::fs;
use std::os::unix::fs::lchown;
use std::path::Path;

use crate::runner::Test;
use serde_json::{Value, json};

use crate::harness::Bundle;

pub(crate) fn tests() -> Vec<Test> {
    [
        maps::tests(),
        refusals::tests(),
        combinations::tests(),
        devices::tests(),
        view::tests(),
        life::tests(),
        clocks::tests(),
        attacks::tests(),
        rootless::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The first host id of a container with id maps.
const FIRST: u32 = 100_000;
/// The number of ids.
const COUNT: u32 = 65_536;

/// Entries of `linux.uidMappings`: container id, host id, size.
fn mappings(entries: &[(u32, u32, u32)]) -> Value {
    let entry = |(container, host, size): &(u32, u32, u32)| json!({ "containerID": container, "hostID": host, "size": size });
    entries.iter().map(entry).collect()
}

/// Adds a new user namespace with the same mappings for users and groups.
pub(crate) fn map(bundle: Bundle, entries: &[(u32, u32, u32)]) -> Bundle {
    bundle
        .namespace("user", None)
        .set("/linux/uidMappings", mappings(entries))
        .set("/linux/gidMappings", mappings(entries))
}

/// The template in a user namespace of 65536 ids that no user of the host has.
fn mapped() -> Bundle {
    map(Bundle::new(), &[(0, FIRST, COUNT)])
}

/// Checks that the container is refused with these texts, and that nothing is left behind.
#[track_caller]
fn refused(bundle: Bundle, texts: &[&str]) {
    bundle.args(&["/bin/true"]).assert_refused(texts);
}

/// Gives the root file system to the root of `mapped` containers.
fn owned(bundle: Bundle) -> Bundle {
    give(&bundle.rootfs(), FIRST);
    bundle
}

/// Changes the owner of a directory and of everything below it.
fn give(path: &Path, id: u32) {
    let changed = lchown(path, Some(id), Some(id));
    changed.unwrap_or_else(|e| panic!("chown {}: {e}", path.display()));
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            give(&entry.path(), id);
        }
    }
}

/// Parses a uid_map or gid_map in the probe's report.
fn numbers(map: &Value) -> Vec<(u32, u32, u32)> {
    let line = |line: &Value| {
        let numbers: Vec<u32> = line
            .as_str()?
            .split_whitespace()
            .filter_map(|number| number.parse().ok())
            .collect();
        Some((*numbers.first()?, *numbers.get(1)?, *numbers.get(2)?))
    };
    map.as_array()
        .into_iter()
        .flatten()
        .filter_map(line)
        .collect()
}
