//! Pseudoterminals (pty(7), ioctl_tty(2)), and passing descriptors over a Unix socket.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};

use super::check;

/// Height and width of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
}

/// Unlocks the slave of a pseudoterminal master, so that it can be opened
/// (`TIOCSPTLCK`).
pub(crate) fn pty_unlock(master: BorrowedFd) -> nix::Result<()> {
    let locked: libc::c_int = 0;
    // SAFETY: this request reads one int, which outlives the call.
    let done = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const locked) };
    check(done.into())?;
    Ok(())
}

/// Opens the slave of a pseudoterminal master without a path (`TIOCGPTPEER`, Linux
/// 4.13), because the container may have replaced /dev/pts/N (CVE-2025-52565).
pub(crate) fn pty_peer(master: BorrowedFd) -> nix::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: this request takes flags by value and accesses no memory of this process.
    let fd = check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) }.into())?;
    // SAFETY: the kernel returned a new descriptor, and no other value owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// The number N of the slave /dev/pts/N of a master (`TIOCGPTN`).
pub(crate) fn pty_number(master: BorrowedFd) -> nix::Result<u32> {
    let mut number: libc::c_uint = 0;
    // SAFETY: this request writes one unsigned int to `number`.
    let done = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, &raw mut number) };
    check(done.into())?;
    Ok(number)
}

/// Makes `terminal` the controlling terminal of this session, which must not have one
/// yet (`TIOCSCTTY`).
pub(crate) fn set_controlling_terminal(terminal: BorrowedFd) -> nix::Result<()> {
    // SAFETY: this request takes a number by value. With 0 it does not take the terminal
    // from another session.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }.into())?;
    Ok(())
}

/// The size of a terminal (`TIOCGWINSZ`).
pub(crate) fn terminal_size(terminal: BorrowedFd) -> nix::Result<Size> {
    let mut size = winsize(Size {
        rows: 0,
        columns: 0,
    });
    // SAFETY: this request writes one `winsize` to `size`.
    let done = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    check(done.into())?;
    Ok(Size {
        rows: size.ws_row,
        columns: size.ws_col,
    })
}

/// Sets the size of a terminal (`TIOCSWINSZ`). If the size changes, the foreground
/// processes get SIGWINCH.
pub(crate) fn set_terminal_size(terminal: BorrowedFd, size: Size) -> nix::Result<()> {
    let size = winsize(size);
    // SAFETY: this request reads one `winsize`, which outlives the call.
    let done = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    check(done.into())?;
    Ok(())
}

fn winsize(size: Size) -> libc::winsize {
    libc::winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

/// Sends one message with a copy of a descriptor (unix(7), `SCM_RIGHTS`).
pub(crate) fn send_descriptor(socket: BorrowedFd, text: &[u8], fd: BorrowedFd) -> nix::Result<()> {
    sendmsg::<UnixAddr>(
        socket.as_raw_fd(),
        &[IoSlice::new(text)],
        &[ControlMessage::ScmRights(&[fd.as_raw_fd()])],
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}

/// Receives a descriptor that [`send_descriptor`] sent, close-on-exec.
///
/// # Errors
/// `EBADMSG` when the message has no descriptor or more than one.
pub(crate) fn receive_descriptor(socket: BorrowedFd) -> nix::Result<OwnedFd> {
    let mut text = [0; 64];
    let mut parts = [IoSliceMut::new(&mut text)];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let message = recvmsg::<UnixAddr>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control
            && let [fd] = fds[..]
        {
            // SAFETY: the kernel installed a new descriptor, and no other value owns it.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
    Err(Errno::EBADMSG)
}

/// The most descriptors in one message of [`send_descriptors`]. The kernel's limit is
/// 253 (unix(7), `SCM_MAX_FD`).
pub(crate) const MAX_PASSED_FDS: usize = 128;

/// Sends one message with copies of descriptors (unix(7), `SCM_RIGHTS`). `EAGAIN` when
/// the socket's buffer is full.
pub(crate) fn send_descriptors(socket: BorrowedFd, fds: &[OwnedFd]) -> nix::Result<()> {
    let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    sendmsg::<UnixAddr>(
        socket.as_raw_fd(),
        &[IoSlice::new(b"m")],
        &[ControlMessage::ScmRights(&numbers)],
        MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
        None,
    )?;
    Ok(())
}

/// Receives the descriptors of one message of [`send_descriptors`], close-on-exec.
/// Empty when the peer has closed its end. `EMFILE` when not all of them fit.
pub(crate) fn receive_descriptors(socket: BorrowedFd) -> nix::Result<Vec<OwnedFd>> {
    let mut text = [0; 1];
    let mut iov = [IoSliceMut::new(&mut text)];
    let mut space = nix::cmsg_space!([RawFd; MAX_PASSED_FDS]);
    let received = recvmsg::<UnixAddr>(
        socket.as_raw_fd(),
        &mut iov,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let truncated = received.flags.contains(MsgFlags::MSG_CTRUNC);
    let mut descriptors = Vec::new();
    for control in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            // SAFETY: the kernel has just installed these descriptors, and no other value
            // owns them.
            descriptors.extend(
                fds.into_iter()
                    .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
            );
        }
    }
    if truncated {
        Err(Errno::EMFILE)
    } else {
        Ok(descriptors)
    }
}
