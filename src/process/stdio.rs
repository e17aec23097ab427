//! Standard input, output and error belong to the process's user, who could not
//! otherwise open /dev/stdout or change its terminal.
//!
//! A stream that is the null device, because the caller says so or had it closed,
//! becomes the container's own: the machine's is one file for everybody, and
//! through /proc/self/fd root in the container could change its mode and owner.

use std::io::{stderr, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FcntlArg, OFlag, OpenHow, ResolveFlag, fcntl, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, makedev, mknodat};
use nix::unistd::{Uid, dup2_stderr, dup2_stdin, dup2_stdout, fchown};

use crate::step::{Cause, Progress, Refusal, Step};
use crate::sys::{self, FsConfig};

/// Whose files are everybody's who has no number in this user namespace
/// (user_namespaces(7), /proc/sys/kernel/overflowuid).
const NOBODY: u32 = 65534;

/// The names of descriptors 0, 1, 2.
pub(super) const NAMES: [&str; 3] = ["standard input", "standard output", "standard error"];

/// What becomes of the caller's own standard streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Streams {
    /// The caller goes and leaves them to the process.
    Left,
    /// The caller stays. Its terminal and its files are not the process's to own,
    /// which would outlast it.
    Lent,
}

/// Gives the three to `uid`; their group stays, which a terminal's mount may
/// have chosen (devpts, `gid=`).
///
/// # Errors
/// [`Refusal::MachinesNull`] rather than a stream through which the container's
/// root could change the machine's null device.
pub(super) fn hand_over(streams: Streams, uid: Uid, at: &Progress) -> Result<(), Cause> {
    let (input, output, error) = (stdin(), stdout(), stderr());
    let all = [input.as_fd(), output.as_fd(), error.as_fd()];
    let mut null = None;
    for (item, fd) in all.into_iter().enumerate() {
        at.at(Step::StandardIo, item);
        let found = fstat(fd)?;
        if !is_null(&found) {
            hand_over_one(streams, fd, &found, uid)?;
            continue;
        }
        // Whoever it belongs to: one serves everybody in the container.
        match null.get_or_insert_with(|| containers_null().or_else(private_null)) {
            Some(null) => replace(item, null)?,
            // Its owner has no number here: nobody in here is its owner, or has power over it.
            None if found.st_uid == NOBODY => {}
            None => return Err(Refusal::MachinesNull.into()),
        }
    }
    Ok(())
}

fn hand_over_one(streams: Streams, fd: BorrowedFd, found: &FileStat, uid: Uid) -> nix::Result<()> {
    let kind = kind(found);
    let lent = streams == Streams::Lent && kind != SFlag::S_IFIFO && kind != SFlag::S_IFSOCK;
    if lent || found.st_uid == uid.as_raw() {
        return Ok(());
    }
    match fchown(fd, Some(uid), None) {
        // A file that is not ours to give (EPERM), on a read-only file system
        // (EROFS), on one that cannot hold this owner (EINVAL) or none at all
        // (ENOSYS). It is open already, so reading and writing work without.
        Err(Errno::EPERM | Errno::EROFS | Errno::EINVAL | Errno::ENOSYS) => Ok(()),
        done => done,
    }
}

/// The null device that the container has, if it has one that this process may
/// open. Whatever else lies there is opened without waiting, and left alone.
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

/// A null device on a file system that is attached nowhere. In a user namespace
/// nobody can make one (mknod(2)).
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

fn kind(found: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits())
}

fn is_null(found: &FileStat) -> bool {
    kind(found) == SFlag::S_IFCHR && found.st_rdev == makedev(1, 3)
}
