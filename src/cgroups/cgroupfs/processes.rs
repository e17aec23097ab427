//! The processes of a cgroup, threaded cgroups included.

use std::collections::BTreeSet;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::cgroups::directory::walk::{WalkEvent, walk};
use crate::cgroups::directory::{Directory, is_gone};
use crate::sys;

/// The pids in the cgroup at `top` and in all below it, with a 0 if there are processes of
/// another pid namespace.
pub(super) fn pids_below(top: &Path) -> nix::Result<BTreeSet<i32>> {
    let mut pids = BTreeSet::new();
    // Whether `top`, which is visited first, is threaded. All cgroups below it are then too.
    let mut top_is_threaded = None;
    walk(top, |event| {
        let WalkEvent::Enter(directory) = event else {
            return Ok(());
        };
        let listed = directory.read_all("cgroup.procs");
        let is_threaded = *top_is_threaded.get_or_insert(listed == Err(Errno::EOPNOTSUPP));
        match listed {
            Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
            Err(Errno::EOPNOTSUPP) if is_threaded => {
                pids.extend(thread_group_leaders(directory)?);
            }
            // A threaded cgroup below a domain: the domain lists its processes.
            Err(Errno::EOPNOTSUPP) => {}
            Err(errno) if is_gone(errno) => {}
            Err(errno) => return Err(errno),
        }
        Ok(())
    })?;
    Ok(pids)
}

/// The processes whose first thread is in a threaded cgroup. Such a cgroup lists threads only,
/// and pidfd_open(2) succeeds for the first thread of a process alone.
fn thread_group_leaders(directory: &Directory) -> nix::Result<Vec<i32>> {
    let text = match directory.read_all("cgroup.threads") {
        Err(errno) if is_gone(errno) => String::new(),
        text => text?,
    };
    let threads = text.lines().filter_map(|line| line.parse::<i32>().ok());
    let is_leader = |tid: &i32| *tid == 0 || sys::pidfd_open(Pid::from_raw(*tid)).is_ok();
    Ok(threads.filter(is_leader).collect())
}

/// The subject of an error about the processes of the cgroup at `path`.
pub(super) fn listing(path: &Path) -> String {
    format!("processes of cgroup {}", path.display())
}
