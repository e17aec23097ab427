//! Pseudoterminals (pty(7), ioctl_tty(2)), and handing one to another process.

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

/// Unlocks the other end of a master, so that it can be opened (`TIOCSPTLCK`).
pub(crate) fn pty_unlock(master: BorrowedFd) -> nix::Result<()> {
    let locked: libc::c_int = 0;
    // SAFETY: this request reads one int, which outlives the call.
    let done = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const locked) };
    check(done.into())?;
    Ok(())
}

/// Opens the other end of a master without asking a path for it (`TIOCGPTPEER`,
/// Linux 4.13): whatever lies at /dev/pts/N has no part in it (CVE-2025-52565).
pub(crate) fn pty_peer(master: BorrowedFd) -> nix::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: this request takes flags by value and touches no memory of ours.
    let fd = check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) }.into())?;
    // SAFETY: the kernel returned a new descriptor, which is ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// The number N in /dev/pts/N of a master (`TIOCGPTN`).
pub(crate) fn pty_number(master: BorrowedFd) -> nix::Result<u32> {
    let mut number: libc::c_uint = 0;
    // SAFETY: this request writes one unsigned int, which is ours.
    let done = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, &raw mut number) };
    check(done.into())?;
    Ok(number)
}

/// Makes a terminal the controlling one of this session, which has none yet
/// (`TIOCSCTTY`).
pub(crate) fn set_controlling_terminal(terminal: BorrowedFd) -> nix::Result<()> {
    // SAFETY: this request takes a number by value: 0, steal from nobody.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }.into())?;
    Ok(())
}

/// The size of a terminal (`TIOCGWINSZ`).
pub(crate) fn terminal_size(terminal: BorrowedFd) -> nix::Result<Size> {
    let mut size = winsize(Size {
        rows: 0,
        columns: 0,
    });
    // SAFETY: this request writes one `winsize`, which is ours.
    let done = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    check(done.into())?;
    Ok(Size {
        rows: size.ws_row,
        columns: size.ws_col,
    })
}

/// Sets the size of a terminal; its foreground processes get SIGWINCH if it
/// changes (`TIOCSWINSZ`).
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

/// Sends one message with a descriptor (unix(7), `SCM_RIGHTS`).
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

/// Receives what [`send_descriptor`] sent, close-on-exec from birth.
///
/// # Errors
/// `EBADMSG` when no descriptor came.
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
            // SAFETY: the kernel installed a new descriptor for us, which nobody else owns.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
    Err(Errno::EBADMSG)
}

/// As many descriptors as one message of [`send_descriptors`] carries; the kernel
/// takes 253 (unix(7), `SCM_MAX_FD`).
pub(crate) const MOST_PASSED: usize = 128;

/// Sends copies of some descriptors, without waiting for room.
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

/// Receives what [`send_descriptors`] sent, close-on-exec; nothing when the peer
/// has closed. `EMFILE` when not all of them fit.
pub(crate) fn receive_descriptors(socket: BorrowedFd) -> nix::Result<Vec<OwnedFd>> {
    let mut text = [0; 1];
    let mut iov = [IoSliceMut::new(&mut text)];
    let mut space = nix::cmsg_space!([RawFd; MOST_PASSED]);
    let received = recvmsg::<UnixAddr>(
        socket.as_raw_fd(),
        &mut iov,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let cut = received.flags.contains(MsgFlags::MSG_CTRUNC);
    let mut all = Vec::new();
    for control in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            // SAFETY: the kernel has just installed these descriptors for this process;
            // nobody else knows them.
            all.extend(
                fds.into_iter()
                    .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
            );
        }
    }
    match cut {
        true => Err(Errno::EMFILE),
        false => Ok(all),
    }
}
