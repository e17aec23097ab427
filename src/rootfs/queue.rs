//! More mounts than one process may have descriptors (RLIMIT_NOFILE): they wait in
//! a socket, where they are in nobody's table, until their turn comes.
//!
//! Both ends belong to whoever opened the mounts, and init is born with them: what
//! was opened with the caller's rights, and in the machine's mount namespace, stays
//! as it was opened.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;

use crate::sys::{self, MOST_PASSED};

/// Detached mounts, taken out in the order in which they were put in.
pub(super) struct Parked {
    /// Gone when all are in.
    entrance: Option<OwnedFd>,
    exit: OwnedFd,
    /// Those next to the end that is used.
    near: VecDeque<OwnedFd>,
}

impl Parked {
    pub(super) fn new() -> nix::Result<Parked> {
        let (entrance, exit) = sys::socketpair()?;
        Ok(Parked {
            entrance: Some(entrance),
            exit,
            near: VecDeque::new(),
        })
    }

    /// # Errors
    /// `ETOOMANYREFS`, `EAGAIN`: more than a socket holds.
    pub(super) fn add(&mut self, mount: OwnedFd) -> nix::Result<()> {
        self.near.push_back(mount);
        if self.near.len() == MOST_PASSED {
            self.send()?;
        }
        Ok(())
    }

    /// All are in.
    pub(super) fn close(&mut self) -> nix::Result<()> {
        if !self.near.is_empty() {
            self.send()?;
        }
        self.entrance = None;
        Ok(())
    }

    fn send(&mut self) -> nix::Result<()> {
        let entrance = self.entrance.as_ref().ok_or(Errno::EPIPE)?;
        sys::send_descriptors(entrance.as_fd(), self.near.make_contiguous())?;
        self.near.clear();
        Ok(())
    }

    /// The next one; `EBADF` when there is none left.
    pub(super) fn take(&mut self) -> nix::Result<OwnedFd> {
        if self.near.is_empty() {
            self.near
                .extend(sys::receive_descriptors(self.exit.as_fd())?);
        }
        self.near.pop_front().ok_or(Errno::EBADF)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::fstat;

    #[test]
    fn what_was_parked_comes_back_in_order() {
        let mut parked = Parked::new().unwrap();
        let mut inodes = Vec::new();
        for _ in 0..2 * MOST_PASSED + 7 {
            let file = sys::anonymous_file(c"parked").unwrap();
            inodes.push(fstat(&file).unwrap().st_ino);
            parked.add(file).unwrap();
        }
        parked.close().unwrap();
        for inode in inodes {
            assert_eq!(fstat(parked.take().unwrap()).unwrap().st_ino, inode);
        }
        assert_eq!(parked.take().err(), Some(Errno::EBADF));
    }
}
