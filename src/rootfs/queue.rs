//! A queue of detached mounts, for more mounts than RLIMIT_NOFILE permits descriptors. The
//! mounts wait in a socket, where they count in no descriptor table.
//!
//! The process that opened the mounts holds both ends, and init inherits them. So mounts
//! that were opened with the caller's privileges, in the host's mount namespace, need not
//! be opened again.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;

use crate::sys::{self, MAX_PASSED_FDS};

/// Detached mounts, in the order in which they were added.
pub(super) struct MountQueue {
    /// `None` when all mounts are added.
    sender: Option<OwnedFd>,
    receiver: OwnedFd,
    /// Mounts not yet sent, or received and not yet taken.
    buffer: VecDeque<OwnedFd>,
}

impl MountQueue {
    pub(super) fn new() -> nix::Result<MountQueue> {
        let (sender, receiver) = sys::socketpair()?;
        Ok(MountQueue {
            sender: Some(sender),
            receiver,
            buffer: VecDeque::new(),
        })
    }

    /// # Errors
    /// `ETOOMANYREFS` or `EAGAIN` if the socket is full.
    pub(super) fn push(&mut self, mount: OwnedFd) -> nix::Result<()> {
        self.buffer.push_back(mount);
        if self.buffer.len() == MAX_PASSED_FDS {
            self.send()?;
        }
        Ok(())
    }

    /// Sends the remaining mounts, and ends the queue.
    pub(super) fn finish(&mut self) -> nix::Result<()> {
        if !self.buffer.is_empty() {
            self.send()?;
        }
        self.sender = None;
        Ok(())
    }

    fn send(&mut self) -> nix::Result<()> {
        let sender = self.sender.as_ref().ok_or(Errno::EPIPE)?;
        sys::send_descriptors(sender.as_fd(), self.buffer.make_contiguous())?;
        self.buffer.clear();
        Ok(())
    }

    /// The next mount; `EBADF` if the queue is empty.
    pub(super) fn pop(&mut self) -> nix::Result<OwnedFd> {
        if self.buffer.is_empty() {
            self.buffer
                .extend(sys::receive_descriptors(self.receiver.as_fd())?);
        }
        self.buffer.pop_front().ok_or(Errno::EBADF)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::fstat;

    #[test]
    fn mounts_are_returned_in_the_order_in_which_they_were_added() {
        let mut queue = MountQueue::new().unwrap();
        let mut inodes = Vec::new();
        for _ in 0..2 * MAX_PASSED_FDS + 7 {
            let file = sys::anonymous_file(c"queued").unwrap();
            inodes.push(fstat(&file).unwrap().st_ino);
            queue.push(file).unwrap();
        }
        queue.finish().unwrap();
        for inode in inodes {
            assert_eq!(fstat(queue.pop().unwrap()).unwrap().st_ino, inode);
        }
        assert_eq!(queue.pop().err(), Some(Errno::EBADF));
    }
}
