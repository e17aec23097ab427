//! Passing descriptors over Unix sockets (unix(7), `SCM_RIGHTS`).

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};
use nix::unistd::Pid;

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

/// Sends all bytes over a stream socket, and a copy of a descriptor with the first of them.
///
/// # Errors
/// `EPIPE`, without a SIGPIPE, when the peer has closed its end. `EAGAIN` after the socket's time-out.
pub(crate) fn send_all_with_descriptor(
    socket: BorrowedFd,
    bytes: &[u8],
    fd: BorrowedFd,
) -> nix::Result<()> {
    let (fd, mut rest) = ([fd.as_raw_fd()], bytes);
    let rights = [ControlMessage::ScmRights(&fd)];
    let mut control: &[ControlMessage] = &rights;
    while !rest.is_empty() {
        let parts = [IoSlice::new(rest)];
        let flags = MsgFlags::MSG_NOSIGNAL;
        let sent = sendmsg::<UnixAddr>(socket.as_raw_fd(), &parts, control, flags, None)?;
        (rest, control) = (&rest[sent..], &[]);
    }
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

/// What [`recv_with_descriptor`] has received besides the text.
#[derive(Default)]
pub(crate) struct Received {
    /// In bytes; 0 if the peer has closed its end.
    pub(crate) length: usize,
    /// Close-on-exec.
    pub(crate) descriptor: Option<OwnedFd>,
    /// In this pid namespace, with the socket option `SO_PASSCRED`.
    pub(crate) sender: Option<Pid>,
}

/// Receives one message, and the descriptor that [`send_descriptor`] sent with it.
pub(crate) fn recv_with_descriptor(
    socket: BorrowedFd,
    message: &mut [u8],
) -> nix::Result<Received> {
    let mut parts = [IoSliceMut::new(message)];
    let mut space = nix::cmsg_space!([RawFd; 1], libc::ucred);
    let received = loop {
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags) {
            Err(Errno::EINTR) => {}
            // The peer closed its end with a message unread (unix(7)).
            Err(Errno::ECONNRESET) => return Ok(Received::default()),
            done => break done?,
        }
    };
    let (mut passed, mut sender) = (None, None);
    for control in received.cmsgs()? {
        match control {
            ControlMessageOwned::ScmRights(fds) => {
                // SAFETY: the kernel installed these descriptors, and no other value owns them.
                let fds = fds
                    .into_iter()
                    .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
                fds.for_each(|fd| passed = Some(fd));
            }
            ControlMessageOwned::ScmCredentials(credentials) => {
                sender = Some(Pid::from_raw(credentials.pid()));
            }
            _ => {}
        }
    }
    Ok(Received {
        length: received.bytes,
        descriptor: passed,
        sender,
    })
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
