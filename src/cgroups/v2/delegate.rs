//! Delegation of a v2 cgroup to a user, who may then make cgroups below it
//! (cgroup-v2.rst, "Delegation").

use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use caps::Capability;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::unistd::{Uid, fchownat};

use crate::cgroups::directory::Directory;
use crate::host::missing_capability;
use crate::log;

/// The kernel's list of the files that a delegatee may own (cgroups(7), "Cgroups v2
/// delegation").
const DELEGATE: &str = "/sys/kernel/cgroup/delegate";
/// The files to delegate on a kernel without that list.
const ALWAYS_DELEGATED: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

/// Gives `owner` the directory, and in it the files that the kernel lists.
///
/// # Errors
/// When the list cannot be read, or the kernel refuses to change an owner.
pub(in crate::cgroups) fn delegate(cgroup: &Directory, owner: Uid) -> Result<()> {
    let chown = |name: &str, flags| fchownat(cgroup.as_fd(), name, Some(owner), None, flags);
    chown("", AtFlags::AT_EMPTY_PATH)
        .map_err(|errno| log::hinted(errno, missing_capability(errno, &[Capability::CAP_CHOWN])))?;
    let listed = match fs::read_to_string(DELEGATE) {
        Err(error) if error.kind() == ErrorKind::NotFound => ALWAYS_DELEGATED.to_owned(),
        text => text.context(DELEGATE)?,
    };
    for name in listed.lines() {
        match chown(name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            // ENOENT: the file belongs to a controller that is off in this cgroup.
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).context(name.to_owned()),
        }
    }
    Ok(())
}
