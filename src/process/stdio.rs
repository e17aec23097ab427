//! Standard input, output and error belong to the process's user, who could not
//! otherwise open /dev/stdout or change its terminal.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat, major, minor};
use nix::unistd::{Uid, fchown};

use crate::step::{Progress, Step};

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
pub(super) fn hand_over(streams: Streams, uid: Uid, at: &Progress) -> nix::Result<()> {
    let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let all = [input.as_fd(), output.as_fd(), error.as_fd()];
    for (item, fd) in all.into_iter().enumerate() {
        at.at(Step::StandardIo, item);
        hand_over_one(streams, fd, uid)?;
    }
    Ok(())
}

fn hand_over_one(streams: Streams, fd: BorrowedFd, uid: Uid) -> nix::Result<()> {
    let stat = fstat(fd)?;
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    // The machine's null device has one owner for everybody.
    let null = kind == SFlag::S_IFCHR && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3);
    let lent = streams == Streams::Lent && kind != SFlag::S_IFIFO && kind != SFlag::S_IFSOCK;
    if null || lent || stat.st_uid == uid.as_raw() {
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
