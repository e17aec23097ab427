//! Listing.

use std::collections::BTreeSet;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::cgroups::directory::walk::{Visit, walk};
use crate::cgroups::directory::{Directory, is_gone};
use crate::sys;

/// The numbers in cgroup.procs of `top` and of all below.
pub(super) fn pids_below(top: &Path) -> nix::Result<BTreeSet<i32>> {
    let mut pids = BTreeSet::new();
    // Whether `top`, which comes first, is threaded, and all below it then.
    let mut threaded = None;
    walk(top, |visit| {
        let Visit::Enter(directory) = visit else {
            return Ok(());
        };
        let listed = directory.text("cgroup.procs");
        let threads = *threaded.get_or_insert(listed == Err(Errno::EOPNOTSUPP));
        match listed {
            Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
            Err(Errno::EOPNOTSUPP) if threads => pids.extend(leaders(directory)?),
            // Its processes are listed above it, and in the end at `top`.
            Err(Errno::EOPNOTSUPP) => {}
            Err(errno) if is_gone(errno) => {}
            Err(errno) => return Err(errno),
        }
        Ok(())
    })?;
    Ok(pids)
}

/// The processes whose first thread is in a threaded cgroup, which lists threads
/// only: of those, the kernel opens no others as a process.
fn leaders(directory: &Directory) -> nix::Result<Vec<i32>> {
    let text = match directory.text("cgroup.threads") {
        Err(errno) if is_gone(errno) => String::new(),
        text => text?,
    };
    let threads = text.lines().filter_map(|line| line.parse::<i32>().ok());
    let first = |thread: &i32| *thread == 0 || sys::pidfd_open(Pid::from_raw(*thread)).is_ok();
    Ok(threads.filter(first).collect())
}

pub(super) fn list_of(path: &Path) -> String {
    format!("processes of cgroup {}", path.display())
}
