//! mount(2), for what fsconfig(2) is too small for: on a place that nobody else
//! sees, from where the mount is taken as a detached one.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::CloneFlags;
use nix::sys::stat::{Mode, mkdirat};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::fchdir;

use super::attributes::Setter;
use super::detached::new_file_system;
use super::options::Parameter;
use super::pivot;
use crate::step::Cause;
use crate::sys::{self, Cloned, CloseBatch, OpenTree};

/// What mount(2) is told.
pub(super) struct Told<'a> {
    pub(super) name: &'a CStr,
    pub(super) source: &'a CStr,
    pub(super) flags: MsFlags,
    pub(super) options: &'a str,
}

/// A detached mount, made below a tmpfs that lies on top of `ground` meanwhile.
pub(super) fn on_top_of(
    ground: BorrowedFd,
    told: &Told,
    close_batch: &CloseBatch,
) -> Result<OwnedFd, Cause> {
    const PLACE: &str = "place";
    let mode = [Parameter::Value(c"mode".into(), c"0700".into())];
    let memory = new_file_system(close_batch, c"tmpfs", c"tmpfs", &[], &mode, 0)?;
    sys::move_mount(memory.as_fd(), ground)?;
    mkdirat(&memory, PLACE, Mode::S_IRWXU)?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let place = openat(&memory, PLACE, flags, Mode::empty())?;
    fchdir(&place)?;
    let (source, name) = (Some(told.source), Some(told.name));
    mount(source, ".", name, told.flags, Some(told.options))?;
    let mounted = openat(&memory, PLACE, flags, Mode::empty())?;
    let copy = sys::open_tree(mounted.as_fd(), c"", OpenTree::Mount)?;
    fchdir(&memory)?;
    umount2(".", MntFlags::MNT_DETACH)?;
    for done in [memory, place, mounted] {
        close_batch.add(done);
    }
    Ok(copy)
}

/// The same by a child in a mount namespace of its own, for what is made while this
/// process still is in the machine's: with its rights, and in its cgroups.
pub(super) fn apart(setter: Setter, told: &Told) -> Result<OwnedFd, Cause> {
    let (ours, theirs) = sys::socketpair()?;
    let pid = match sys::clone3(CloneFlags::CLONE_NEWNS, None)? {
        Cloned::Runtime { pid, .. } => pid,
        Cloned::Init => {
            let made = pivot::isolate(setter)
                .map_err(Cause::from)
                .and_then(|ground| on_top_of(ground.as_fd(), told, &CloseBatch::default()))
                .and_then(|mount| Ok(sys::send_descriptor(theirs.as_fd(), b"m", mount.as_fd())?));
            sys::exit(match made {
                Ok(()) => 0,
                // Only the tmpfs has parameters, which every kernel takes.
                Err(Cause::Errno(errno) | Cause::Parameter(_, errno)) => errno as i32,
                Err(_) => Errno::EIO as i32,
            })
        }
    };
    drop(theirs);
    match waitpid(pid, Some(WaitPidFlag::__WALL))? {
        WaitStatus::Exited(_, 0) => Ok(sys::receive_descriptor(ours.as_fd())?),
        WaitStatus::Exited(_, errno) => Err(Errno::from_raw(errno).into()),
        _ => Err(Errno::EIO.into()),
    }
}
