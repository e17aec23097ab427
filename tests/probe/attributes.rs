//! Tries to change mode, owner and times of the files that the runtime provides to the container.

use std::collections::BTreeSet;
use std::fs::{self, Metadata, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, major, makedev, minor, utimensat};
use nix::sys::time::TimeSpec;
use serde_json::{Value, json};

use crate::proc;

/// Tries every mount point, all nodes in /dev, the null devices among the standard streams, and `paths`. Prints what
/// could be changed. Permissions and owner of a file stay the same even if the change succeeds.
pub(crate) fn change(paths: &[&str]) -> i32 {
    let mut all: BTreeSet<String> = paths.iter().map(|path| (*path).to_owned()).collect();
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
    let report: Value = all.iter().filter_map(|path| try_change(path)).collect();
    crate::print(&report.to_string())
}

fn is_null(file: &Metadata) -> bool {
    file.file_type().is_char_device() && file.rdev() == makedev(1, 3)
}

/// The path, the device number of its file system, and what could be changed.
fn try_change(path: &str) -> Option<Value> {
    let file = fs::metadata(path).ok()?;
    let sticky = Permissions::from_mode(file.mode() & 0o7777 | 0o1000);
    let (now, past) = (TimeSpec::UTIME_NOW, TimeSpec::new(1, 0));
    let times = |time| utimensat(AT_FDCWD, path, &time, &time, UtimensatFlags::FollowSymlink);
    let attempts = [
        ("mode", fs::set_permissions(path, sticky).is_ok()),
        (
            "owner",
            chown(path, Some(file.uid()), Some(file.gid())).is_ok(),
        ),
        ("times", times(past).is_ok()),
        ("times, to now", times(now).is_ok()),
    ];
    let changed = attempts
        .iter()
        .filter(|(_, changed)| *changed)
        .map(|(what, _)| *what);
    let device = format!("{}:{}", major(file.dev()), minor(file.dev()));
    Some(json!({ "place": path, "device": device, "changed": changed.collect::<Vec<_>>() }))
}
