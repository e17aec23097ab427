//! What root in a container can change of the files that it was given: mode, owner, times.

use std::collections::BTreeSet;
use std::fs::{self, Metadata, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, major, makedev, minor, utimensat};
use nix::sys::time::TimeSpec;
use serde_json::{Value, json};

use crate::proc;

/// Tries its hand on every mount, on all nodes in /dev, on the null devices among the standard streams, and on
/// `places`. Each file keeps its permissions and its owner even if it can be changed.
pub(crate) fn deface(places: &[&str]) -> i32 {
    let mut all: BTreeSet<String> = places.iter().map(|place| (*place).to_owned()).collect();
    let mounts = proc::mounts();
    let mounts = mounts.as_array().into_iter().flatten();
    all.extend(mounts.filter_map(|mount| mount["mountpoint"].as_str().map(str::to_owned)));
    for entry in fs::read_dir("/dev").into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| !kind.is_symlink()) {
            all.insert(entry.path().to_string_lossy().into_owned());
        }
    }
    let streams = (0..3).map(|number| format!("/proc/self/fd/{number}"));
    all.extend(streams.filter(|stream| fs::metadata(stream).is_ok_and(|file| is_null(&file))));
    let said: Value = all.iter().filter_map(|place| tried(place)).collect();
    crate::say(&said.to_string())
}

fn is_null(file: &Metadata) -> bool {
    file.file_type().is_char_device() && file.rdev() == makedev(1, 3)
}

/// The place, the device number of its file system, and what could be changed.
fn tried(place: &str) -> Option<Value> {
    let file = fs::metadata(place).ok()?;
    let sticky = Permissions::from_mode(file.mode() & 0o7777 | 0o1000);
    let (now, early) = (TimeSpec::UTIME_NOW, TimeSpec::new(1, 0));
    let times = |time| utimensat(AT_FDCWD, place, &time, &time, UtimensatFlags::FollowSymlink);
    let done = [
        ("mode", fs::set_permissions(place, sticky).is_ok()),
        (
            "owner",
            chown(place, Some(file.uid()), Some(file.gid())).is_ok(),
        ),
        ("times", times(early).is_ok()),
        ("times, to now", times(now).is_ok()),
    ];
    let done = done.iter().filter(|(_, done)| *done).map(|(what, _)| *what);
    let device = format!("{}:{}", major(file.dev()), minor(file.dev()));
    Some(json!({ "place": place, "device": device, "changed": done.collect::<Vec<_>>() }))
}
