//! User and time namespaces: new, joined, mapped; and runtimes that are not started by root.

mod attacks;
mod clocks;
mod combinations;
mod devices;
mod life;
mod maps;
mod refusals;
mod rootless;
mod view;

use std::fs;
use std::os::unix::fs::lchown;
use std::path::Path;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::harness::Bundle;

pub(crate) fn tests() -> Vec<Trial> {
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

/// Where the ids of a mapped container begin outside.
const FIRST: u32 = 100_000;
/// How many there are.
const COUNT: u32 = 65_536;

/// Entries of `linux.uidMappings`: inside, outside, how many.
fn mappings(entries: &[(u32, u32, u32)]) -> Value {
    let entry = |(inside, outside, size): &(u32, u32, u32)| json!({ "containerID": inside, "hostID": outside, "size": size });
    entries.iter().map(entry).collect()
}

/// The same mappings for users and groups, in a new user namespace.
pub(crate) fn map(bundle: Bundle, entries: &[(u32, u32, u32)]) -> Bundle {
    bundle
        .namespace("user", None)
        .set("/linux/uidMappings", mappings(entries))
        .set("/linux/gidMappings", mappings(entries))
}

/// The template in a user namespace whose 65536 ids are nobody's outside.
fn mapped() -> Bundle {
    map(Bundle::new(), &[(0, FIRST, COUNT)])
}

/// Refused by name, without a trace.
#[track_caller]
fn refused(bundle: Bundle, texts: &[&str]) {
    bundle.args(&["/bin/true"]).assert_refused(texts);
}

/// Gives the root file system to the root of `mapped` containers.
fn owned(bundle: Bundle) -> Bundle {
    give(&bundle.rootfs(), FIRST);
    bundle
}

/// Gives away a directory with all below it.
fn give(path: &Path, id: u32) {
    let given = lchown(path, Some(id), Some(id));
    given.unwrap_or_else(|e| panic!("chown {}: {e}", path.display()));
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            give(&entry.path(), id);
        }
    }
}

/// The numbers of uid_map or gid_map as the probe has read them.
fn numbers(map: &Value) -> Vec<(u32, u32, u32)> {
    let line = |line: &Value| {
        let numbers: Vec<u32> = line
            .as_str()?
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        Some((*numbers.first()?, *numbers.get(1)?, *numbers.get(2)?))
    };
    map.as_array()
        .into_iter()
        .flatten()
        .filter_map(line)
        .collect()
}
