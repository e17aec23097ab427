//! What a new cgroup of version 2 becomes: one for threads, or somebody's own.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::unistd::{Uid, fchownat};

use super::directory::Directory;

/// What of a cgroup its owner may write (cgroups(7), "Cgroups v2 delegation").
const DELEGATE: &str = "/sys/kernel/cgroup/delegate";
/// The same where the kernel does not say.
const ALWAYS_DELEGATED: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

/// The directory, and the files that the kernel says may go with it.
pub(super) fn hand_over(leaf: &Directory, owner: Uid) -> Result<()> {
    let give = |name: &str, flags| fchownat(leaf.as_fd(), name, Some(owner), None, flags);
    give("", AtFlags::AT_EMPTY_PATH)?;
    let listed = match fs::read_to_string(DELEGATE) {
        Err(error) if error.kind() == ErrorKind::NotFound => ALWAYS_DELEGATED.to_owned(),
        text => text.context(DELEGATE)?,
    };
    for name in listed.lines() {
        match give(name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            // Of a controller that is off here.
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).context(name.to_owned()),
        }
    }
    Ok(())
}

/// Below a threaded cgroup there are threaded ones only, and one that is made
/// takes no process until it is told so (cgroup-v2.rst, "Threads"). What must be
/// whole, as a limit on memory, its parent has refused to hand down.
pub(super) fn fit_among_threads(leaf: &Directory, created: &[PathBuf]) -> Result<()> {
    let path = leaf.path().display();
    let kind = leaf.line("cgroup.type");
    if kind.with_context(|| format!("read {path}/cgroup.type"))? != "domain invalid" {
        return Ok(());
    }
    // The upper first: one below an invalid one stays invalid.
    let above = created.iter().filter(|made| *made != leaf.path());
    for made in above {
        Directory::open(made)
            .and_then(|made| made.write("cgroup.type", "threaded"))
            .with_context(|| making_threaded(made))?;
    }
    leaf.write("cgroup.type", "threaded")
        .with_context(|| making_threaded(leaf.path()))
}

fn making_threaded(path: &Path) -> String {
    let path = path.display();
    format!("linux.cgroupsPath: write \"threaded\" to {path}/cgroup.type")
}
