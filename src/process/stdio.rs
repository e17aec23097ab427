//! Changes the owner of standard input, output and error to the process's user, who could
//! not otherwise open /dev/stdout or change the terminal's mode.
//!
//! A stream that is the host's null device is replaced by the container's null device. The
//! host's is a single inode for all processes, and root in the container could change its
//! mode and owner through /proc/self/fd.

use std::io::{stderr, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FcntlArg, OFlag, OpenHow, ResolveFlag, fcntl, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, makedev, mknodat};
use nix::unistd::{Uid, dup2_stderr, dup2_stdin, dup2_stdout, fchown};

use crate::step::{Cause, Progress, Refusal, Step};
use crate::sys::{self, CloseBatch, FsConfig};

/// The owner that stat(2) shows for a file whose owner is not mapped in this user namespace
/// (user_namespaces(7), /proc/sys/kernel/overflowuid).
const OVERFLOW_UID: u32 = 65534;

/// The names of descriptors 0, 1, 2.
pub(super) const NAMES: [&str; 3] = ["standard input", "standard output", "standard error"];

/// Whether the process gets ownership of the caller's standard streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StdioOwnership {
    /// The caller exits and leaves its streams to the process, which gets ownership.
    Transferred,
    /// The caller stays. Its terminal and its files keep their owner, which would otherwise
    /// outlast the container.
    Kept,
}

/// Changes the owner of the three streams to `uid`. The group stays, because the mount of a
/// terminal may determine it (devpts, `gid=`).
///
/// # Errors
/// [`Refusal::HostNullDevice`] when a stream is the host's null device, there is no other to
/// replace it by, and the container's root could change it.
pub(super) fn change_owner(
    streams: StdioOwnership,
    uid: Uid,
    unused: &CloseBatch,
    at: &Progress,
) -> Result<(), Cause> {
    let (input, output, error) = (stdin(), stdout(), stderr());
    let all = [input.as_fd(), output.as_fd(), error.as_fd()];
    let mut null = None;
    for (item, fd) in all.into_iter().enumerate() {
        at.at(Step::StandardIo, item);
        let stat = fstat(fd)?;
        if !is_null(&stat) {
            change_owner_of(fd, &stat, streams, uid)?;
            continue;
        }
        // A null device of the container serves every user in it: its owner does not matter.
        match null.get_or_insert_with(|| containers_null().or_else(private_null)) {
            Some(null) => replace(item, null)?,
            // The owner is not mapped, so that no process of the container may change the device.
            None if stat.st_uid == OVERFLOW_UID => {}
            None => return Err(Refusal::HostNullDevice.into()),
        }
    }
    null.flatten().into_iter().for_each(|null| unused.add(null));
    Ok(())
}

fn change_owner_of(
    fd: BorrowedFd,
    stat: &FileStat,
    streams: StdioOwnership,
    uid: Uid,
) -> nix::Result<()> {
    let kind = kind(stat);
    let lent = streams == StdioOwnership::Kept && kind != SFlag::S_IFIFO && kind != SFlag::S_IFSOCK;
    if lent || stat.st_uid == uid.as_raw() {
        return Ok(());
    }
    match fchown(fd, Some(uid), None) {
        // This process may not change the owner (EPERM), or the file system is read-only
        // (EROFS), cannot represent this owner (EINVAL), or has no owners (ENOSYS). The
        // stream is open already, so that reading and writing still work.
        Err(Errno::EPERM | Errno::EROFS | Errno::EINVAL | Errno::ENOSYS) => Ok(()),
        done => done,
    }
}

/// The container's /dev/null, if this process can open it. `None` when another kind of file
/// is at that path; O_NONBLOCK keeps a FIFO from blocking this process.
fn containers_null() -> Option<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let null = openat2(AT_FDCWD, "/dev/null", how).ok()?;
    if !is_null(&fstat(&null).ok()?) {
        return None;
    }
    fcntl(&null, FcntlArg::F_SETFL(OFlag::empty())).ok()?;
    Some(null)
}

/// A new null device, on a tmpfs that is not mounted anywhere. `None` in a user namespace,
/// where mknod(2) is not permitted.
fn private_null() -> Option<OwnedFd> {
    let make = || {
        let context = sys::fsopen(c"tmpfs")?;
        sys::fsconfig(context.as_fd(), FsConfig::Create)?;
        let place = sys::fsmount(context.as_fd(), libc::MOUNT_ATTR_NOEXEC)?;
        let mode = Mode::from_bits_truncate(0o666);
        mknodat(&place, "null", SFlag::S_IFCHR, mode, makedev(1, 3))?;
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&place, "null", flags, Mode::empty())
    };
    make().ok()
}

fn replace(item: usize, null: &OwnedFd) -> nix::Result<()> {
    match item {
        0 => dup2_stdin(null),
        1 => dup2_stdout(null),
        _ => dup2_stderr(null),
    }
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

fn is_null(stat: &FileStat) -> bool {
    kind(stat) == SFlag::S_IFCHR && stat.st_rdev == makedev(1, 3)
}
