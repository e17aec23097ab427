//! Standard input, output and error belong to the process's user, who could not
//! otherwise open /dev/stdout or change its terminal.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat, major, minor};
use nix::unistd::{Uid, fchown};

use crate::step::{Progress, Step};

/// The names of descriptors 0, 1, 2.
pub(super) const NAMES: [&str; 3] = ["standard input", "standard output", "standard error"];

/// Gives the three to `uid`; their group stays, which a terminal's mount may
/// have chosen (devpts, `gid=`).
pub(super) fn hand_over(uid: Uid, at: &Progress) -> nix::Result<()> {
    let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let all = [input.as_fd(), output.as_fd(), error.as_fd()];
    for (item, fd) in all.into_iter().enumerate() {
        at.at(Step::StandardIo, item);
        hand_over_one(fd, uid)?;
    }
    Ok(())
}

fn hand_over_one(fd: BorrowedFd, uid: Uid) -> nix::Result<()> {
    let stat = fstat(fd)?;
    // The machine's null device has one owner for everybody.
    let null = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits()
        && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3);
    if null || stat.st_uid == uid.as_raw() {
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
