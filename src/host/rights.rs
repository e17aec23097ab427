//! What the caller may do on the host.

use std::fs;

use anyhow::{Context, Result};
use caps::{CapSet, Capability};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::geteuid;

use crate::sys::{self, Cloned};

/// Makes a user namespace for a child process that ends at once. Returns whether the child had capabilities
/// there: a security module can withhold them.
///
/// # Errors
/// When the kernel does not make one.
pub(crate) fn try_user_namespace() -> nix::Result<bool> {
    match sys::clone3(CloneFlags::CLONE_NEWUSER, None)? {
        Cloned::Child => {
            let has_capabilities = unshare(CloneFlags::CLONE_NEWNS).is_ok();
            sys::exit(i32::from(!has_capabilities))
        }
        Cloned::Parent { pid, .. } => {
            let ended = waitpid(pid, Some(WaitPidFlag::__WALL))?;
            Ok(ended == WaitStatus::Exited(pid, 0))
        }
    }
}

/// The remedy when the kernel has refused root something that needs the capabilities `needed`, and one
/// of them is missing. This is usual where `rt` itself runs in a container. Users have no
/// capabilities, so they need other remedies.
pub(crate) fn missing_capability(errno: Errno, needed: &[Capability]) -> Option<String> {
    let is_refusal = matches!(errno, Errno::EPERM | Errno::EACCES);
    if !is_refusal || !geteuid().is_root() {
        return None;
    }
    let lacks =
        |one: &&Capability| matches!(caps::has_cap(None, CapSet::Effective, **one), Ok(false));
    let missing = needed.iter().find(lacks)?;
    Some(format!(
        "rt has no {missing}; in a container, add it to process.capabilities of that container"
    ))
}

/// Whether a seccomp filter decides which system calls this process may make.
pub(crate) fn is_filtered() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line == "Seccomp:\t2")
}

/// A line of /etc/subuid or /etc/subgid: ids that a user may map.
#[derive(Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct SubordinateIds {
    pub(crate) first: u32,
    pub(crate) count: u32,
}

/// The ids that `file`, /etc/subuid or /etc/subgid, grants to the user `uid`.
///
/// # Errors
/// When the file cannot be read. A missing one grants nothing.
pub(crate) fn subordinate_ids(file: &str, uid: u32) -> Result<Vec<SubordinateIds>> {
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.context(file.to_owned())?,
    };
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    Ok(granted(&text, uid, name_of(&users, uid)))
}

/// The user's name in the text of /etc/passwd.
fn name_of(users: &str, uid: u32) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        (id.parse() == Ok(uid)).then_some(name)
    })
}

/// The ranges of lines `NAME:FIRST:COUNT` or `UID:FIRST:COUNT` (subuid(5)).
fn granted(text: &str, uid: u32, name: Option<&str>) -> Vec<SubordinateIds> {
    let range = |line: &str| {
        let mut fields = line.split(':');
        let user = fields.next()?;
        if user.parse() != Ok(uid) && Some(user) != name {
            return None;
        }
        Some(SubordinateIds {
            first: fields.next()?.parse().ok()?,
            count: fields.next()?.trim().parse().ok()?,
        })
    };
    text.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_granted_to_a_name_or_a_uid() {
        let users = "root:x:0:0::/:/bin/sh\nann:x:1000:1000::/:/bin/sh\n";
        assert_eq!(name_of(users, 1000), Some("ann"));
        assert_eq!(name_of(users, 1), None);
        let text = "ann:100000:65536\nbob:1:2\n1000:7:1\nann:x:1\n# ann\n";
        let range = |first, count| SubordinateIds { first, count };
        let own = [range(100_000, 65_536), range(7, 1)];
        assert_eq!(granted(text, 1000, Some("ann")), own);
        assert_eq!(granted(text, 0, None), []);
    }
}
