//! What the caller may do on the host, found out by trying.

use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

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
