//! Pseudoterminals (pty(7), ioctl_tty(2)).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

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
