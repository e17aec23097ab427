//! Delegation.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::unistd::{Uid, fchownat};

use crate::cgroups::directory::Directory;

/// What of a cgroup its owner may write (cgroups(7), "Cgroups v2 delegation").
const DELEGATE: &str = "/sys/kernel/cgroup/delegate";
/// The same where the kernel does not say.
const ALWAYS_DELEGATED: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

/// The directory, and the files that the kernel says may go with it.
pub(in crate::cgroups) fn hand_over(leaf: &Directory, owner: Uid) -> Result<()> {
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
