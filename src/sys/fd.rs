//! Descriptors: sockets, namespaces' types, and what must not survive execve(2).

use std::cell::RefCell;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind, listen, socket,
};

use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat};

use super::check;

/// Descriptors that are done with, closed together: those with neighbouring
/// numbers by one call (close_range(2), Linux 5.9). Never holds many.
#[derive(Default)]
pub(crate) struct CloseBatch(RefCell<Vec<OwnedFd>>);

impl CloseBatch {
    const MOST: usize = 64;

    pub(crate) fn add(&self, fd: OwnedFd) {
        let mut close_batch = self.0.borrow_mut();
        close_batch.push(fd);
        if close_batch.len() >= Self::MOST {
            close_together(&mut close_batch);
        }
    }
}

impl Drop for CloseBatch {
    fn drop(&mut self) {
        close_together(self.0.get_mut());
    }
}

fn close_together(close_batch: &mut Vec<OwnedFd>) {
    close_batch.sort_by_key(AsRawFd::as_raw_fd);
    let follows = |a: &OwnedFd, b: &OwnedFd| a.as_raw_fd() + 1 == b.as_raw_fd();
    let mut rest = std::mem::take(close_batch);
    while let Some(run) = rest.chunk_by(follows).next().map(<[_]>::len) {
        let others = rest.split_off(run);
        let numbers: Vec<RawFd> = rest.into_iter().map(IntoRawFd::into_raw_fd).collect();
        let (first, last) = (numbers[0], numbers[run - 1]);
        // SAFETY: every number from `first` to `last` was owned by a value of
        // `rest`, which gave it up just now: nobody else uses one of them.
        if check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).is_err() {
            // SAFETY: as above; the call closed none of them.
            numbers
                .into_iter()
                .for_each(|fd| drop(unsafe { OwnedFd::from_raw_fd(fd) }));
        }
        rest = others;
    }
}

/// [`read_to_end`], as text. `EILSEQ` when it is not UTF-8.
pub(crate) fn read_to_string(fd: BorrowedFd) -> nix::Result<String> {
    String::from_utf8(read_to_end(fd)?).map_err(|_| Errno::EILSEQ)
}

/// All that is left to read of `fd`, in as few calls as files of /proc need.
pub(crate) fn read_to_end(fd: BorrowedFd) -> nix::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match nix::unistd::read(fd, &mut chunk) {
            Ok(0) => return Ok(bytes),
            Ok(length) => bytes.extend_from_slice(&chunk[..length]),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// A file without a name, in memory (memfd_create(2)), that nobody executes: some
/// machines allow no other (sysctl `vm.memfd_noexec`).
pub(crate) fn anonymous_file(name: &CStr) -> nix::Result<OwnedFd> {
    let not_executable = MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    match memfd_create(name, MFdFlags::MFD_CLOEXEC | not_executable) {
        // Before Linux 6.3.
        Err(Errno::EINVAL) => memfd_create(name, MFdFlags::MFD_CLOEXEC),
        done => done,
    }
}

/// The same for a program that is to be executed and sealed.
pub(crate) fn anonymous_program(name: &CStr) -> nix::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let executable = MFdFlags::from_bits_retain(libc::MFD_EXEC);
    match memfd_create(name, flags | executable) {
        // Before Linux 6.3.
        Err(Errno::EINVAL) => memfd_create(name, flags),
        done => done,
    }
}

/// Closes every descriptor from `first` to `last` (close_range(2), Linux 5.9),
/// whoever holds it. Only for a process that opens nothing any more: it executes
/// a program next, or ends by [`super::exit`].
pub(crate) fn close_for_good(first: u32, last: u32) -> nix::Result<()> {
    // SAFETY: values of this program may own what is closed. None of them reads or
    // writes again, and a number that one closes a second time is not in use, for
    // nothing is opened any more.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
    Ok(())
}

/// Closes every descriptor from 3 on but `kept` (close_range(2), Linux 5.9). Only for
/// a cloned child that uses nothing else of what it was born with: it never returns
/// to the frames whose values own the others.
pub(crate) fn keep_only(mut kept: Vec<RawFd>) -> nix::Result<()> {
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept.into_iter().map(RawFd::cast_unsigned).chain([u32::MAX]) {
        if first < fd {
            // SAFETY: the caller uses no value again that owns one of these.
            check(unsafe { libc::syscall(libc::SYS_close_range, first, fd - 1, 0) })?;
        }
        first = first.max(fd.saturating_add(1));
    }
    Ok(())
}

/// The kind of namespace that `fd` names (ioctl_ns(2), `NS_GET_NSTYPE`, Linux
/// 4.11). `ENOTTY` when it is no namespace.
pub(crate) fn namespace_type(fd: BorrowedFd) -> nix::Result<CloneFlags> {
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703u32 as libc::Ioctl;
    // SAFETY: this request takes no argument and touches no memory of ours.
    let bits = check(unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) }.into())?;
    // nix has no name for CLONE_NEWTIME.
    Ok(CloneFlags::from_bits_retain(bits as i32))
}

/// Brings up `lo` in the network namespace of this process (netdevice(7)).
pub(crate) fn loopback_up() -> nix::Result<()> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // SAFETY: a request of zeros is a valid `ifreq`: numbers and bytes only.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads the `ifreq`, which outlives the call.
    let set = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    check(set.into())?;
    Ok(())
}

/// Sets the NIS domain name of this process's UTS namespace (setdomainname(2)).
pub(crate) fn setdomainname(name: &CStr) -> nix::Result<()> {
    // SAFETY: the length is that of the string, which outlives the call.
    check(unsafe { libc::setdomainname(name.as_ptr(), name.to_bytes().len()) }.into())?;
    Ok(())
}

/// Two connected ends that keep the borders of messages (unix(7), SOCK_SEQPACKET).
pub(crate) fn socketpair() -> nix::Result<(OwnedFd, OwnedFd)> {
    nix::sys::socket::socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
}

/// Sends one message whole; a peer that is gone is `EPIPE`, never a signal.
pub(crate) fn send(end: BorrowedFd, message: &[u8]) -> nix::Result<()> {
    nix::sys::socket::send(end.as_raw_fd(), message, MsgFlags::MSG_NOSIGNAL)?;
    Ok(())
}

/// Receives one message; its length, 0 when the peer has closed.
pub(crate) fn recv(end: BorrowedFd, message: &mut [u8]) -> nix::Result<usize> {
    loop {
        match nix::sys::socket::recv(end.as_raw_fd(), message, MsgFlags::empty()) {
            Err(Errno::EINTR) => {}
            // A peer that died with a message unread (unix(7)).
            Err(Errno::ECONNRESET) => return Ok(0),
            done => return done,
        }
    }
}

/// The address of `name` in the directory that a descriptor names. Through
/// /proc, because a path of 108 bytes is the longest that `sun_path` holds.
fn address(directory: BorrowedFd, name: &str) -> nix::Result<UnixAddr> {
    UnixAddr::new(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()).as_str())
}

fn seqpacket() -> nix::Result<OwnedFd> {
    socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
}

/// A listening socket called `name` in `directory`.
pub(crate) fn listen_at(directory: BorrowedFd, name: &str) -> nix::Result<OwnedFd> {
    let socket = seqpacket()?;
    fchmod(&socket, Mode::from_bits_truncate(0o600))?; // Before it has a name that others could use.
    bind(socket.as_raw_fd(), &address(directory, name)?)?;
    listen(&socket, Backlog::new(1)?)?;
    Ok(socket)
}

/// A socket called `name` in `directory` that everybody who finds it may send
/// messages to (unix(7), SOCK_DGRAM).
pub(crate) fn receive_at(directory: BorrowedFd, name: &str) -> nix::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::Unix, SockType::Datagram);
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    bind(socket.as_raw_fd(), &address(directory, name)?)?;
    // Whatever the caller's umask, which has its part in the name's mode.
    let all = Mode::from_bits_truncate(0o777);
    fchmodat(directory, name, all, FchmodatFlags::FollowSymlink)?;
    Ok(socket)
}

/// Connects to the socket called `name` in `directory`.
pub(crate) fn connect(directory: BorrowedFd, name: &str) -> nix::Result<OwnedFd> {
    let socket = seqpacket()?;
    nix::sys::socket::connect(socket.as_raw_fd(), &address(directory, name)?)?;
    Ok(socket)
}

/// Waits for one connection, close-on-exec from birth.
pub(crate) fn accept(listener: BorrowedFd) -> nix::Result<OwnedFd> {
    loop {
        match accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
            Err(Errno::EINTR) => {}
            // SAFETY: the kernel returned a new descriptor, which is ours alone.
            done => return done.map(|fd: RawFd| unsafe { OwnedFd::from_raw_fd(fd) }),
        }
    }
}
