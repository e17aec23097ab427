//! File descriptors: closing ranges of them, reading, files in memory, Unix sockets, and
//! ioctl(2) requests for namespaces and network interfaces.

use std::cell::RefCell;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::CloneFlags;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind, listen,
    setsockopt, socket, sockopt::SendTimeout,
};

use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat};
use nix::sys::time::TimeVal;

use super::check;

/// Descriptors to be closed later, those with consecutive numbers by one call of
/// close_range(2) (Linux 5.9). At [`Self::CAPACITY`] descriptors the batch is closed. A process
/// that closes everything before execve(2) keeps its batch until then, and never drops it.
#[derive(Default)]
pub(crate) struct CloseBatch(RefCell<Vec<OwnedFd>>);

impl CloseBatch {
    const CAPACITY: usize = 64;

    pub(crate) fn add(&self, fd: OwnedFd) {
        let mut batch = self.0.borrow_mut();
        batch.push(fd);
        if batch.len() >= Self::CAPACITY {
            close_together(&mut batch);
        }
    }

    /// The descriptors of the batch, which stay open.
    pub(crate) fn take(&self) -> Vec<OwnedFd> {
        self.0.take()
    }

    /// Closes all descriptors of the batch.
    pub(crate) fn close(&self) {
        close_together(&mut self.0.borrow_mut());
    }
}

impl Drop for CloseBatch {
    fn drop(&mut self) {
        close_together(self.0.get_mut());
    }
}

fn close_together(batch: &mut Vec<OwnedFd>) {
    batch.sort_by_key(AsRawFd::as_raw_fd);
    let follows = |a: &OwnedFd, b: &OwnedFd| a.as_raw_fd() + 1 == b.as_raw_fd();
    let mut rest = std::mem::take(batch);
    while let Some(run) = rest.chunk_by(follows).next().map(<[_]>::len) {
        let others = rest.split_off(run);
        let numbers: Vec<RawFd> = rest.into_iter().map(IntoRawFd::into_raw_fd).collect();
        let (first, last) = (numbers[0], numbers[run - 1]);
        // SAFETY: every number from `first` to `last` was owned by a value of `rest` until
        // `into_raw_fd` released it, so no value owns one of them now.
        if check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).is_err() {
            // SAFETY: no value owns these descriptors, and the failed call closed none of them.
            numbers
                .into_iter()
                .for_each(|fd| drop(unsafe { OwnedFd::from_raw_fd(fd) }));
        }
        rest = others;
    }
}

/// Reads the rest of `fd` as text. `EILSEQ` when it is not UTF-8.
pub(crate) fn read_to_string(fd: BorrowedFd) -> nix::Result<String> {
    String::from_utf8(read_to_end(fd)?).map_err(|_| Errno::EILSEQ)
}

/// Reads a file that the kernel fills with one record, such as a sysctl or /proc/PID/stat. One read(2)
/// that does not fill the buffer has all of it.
pub(crate) fn read_record(fd: BorrowedFd) -> nix::Result<Vec<u8>> {
    let mut bytes = vec![0; 4096];
    let length = loop {
        match nix::unistd::read(fd, &mut bytes) {
            Err(Errno::EINTR) => {}
            done => break done?,
        }
    };
    let is_whole = length < bytes.len();
    bytes.truncate(length);
    if !is_whole {
        bytes.extend(read_to_end(fd)?);
    }
    Ok(bytes)
}

/// Reads the rest of `fd`. Unlike the standard library it makes no call to learn the
/// size, which files in /proc do not have.
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

/// Gives a copy of `fd` another number, which survives execve(2) (dup2(2)). To be called right
/// before execve(2) only: what has that number is closed.
pub(crate) fn duplicate_to(fd: RawFd, number: RawFd) -> nix::Result<()> {
    // SAFETY: dup2(2) accesses no memory. A value that owns `number` is not used any more,
    // because this process executes a program or exits.
    check(unsafe { libc::dup2(fd, number) }.into())?;
    Ok(())
}

/// Creates a file in memory (memfd_create(2)) that cannot be executed. The sysctl
/// `vm.memfd_noexec` may forbid any other.
pub(crate) fn anonymous_file(name: &CStr) -> nix::Result<OwnedFd> {
    let not_executable = MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    match memfd_create(name, MFdFlags::MFD_CLOEXEC | not_executable) {
        // Before Linux 6.3.
        Err(Errno::EINVAL) => memfd_create(name, MFdFlags::MFD_CLOEXEC),
        done => done,
    }
}

/// Creates a file in memory (memfd_create(2)) that can be executed and sealed.
pub(crate) fn anonymous_program(name: &CStr) -> nix::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let executable = MFdFlags::from_bits_retain(libc::MFD_EXEC);
    match memfd_create(name, flags | executable) {
        // Before Linux 6.3.
        Err(Errno::EINVAL) => memfd_create(name, flags),
        done => done,
    }
}

/// Closes every descriptor from `first` to `last` (close_range(2), Linux 5.9), even
/// if a value owns it. Only for a process that opens nothing more before it calls
/// execve(2) or [`super::exit`].
pub(crate) fn close_range(first: u32, last: u32) -> nix::Result<()> {
    // SAFETY: values of this program may own the descriptors. None of them reads or
    // writes again. If one of them closes its number a second time, that number is not
    // in use, because nothing more is opened.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
    Ok(())
}

/// Closes every descriptor from 3 on except `kept` (close_range(2), Linux 5.9). Only
/// for a cloned child that uses no other inherited descriptor: it must not return to
/// the frames whose values own the others.
pub(crate) fn close_all_except(mut kept: Vec<RawFd>) -> nix::Result<()> {
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept.into_iter().map(RawFd::cast_unsigned).chain([u32::MAX]) {
        if first < fd {
            // SAFETY: the caller does not use the values that own these descriptors again.
            check(unsafe { libc::syscall(libc::SYS_close_range, first, fd - 1, 0) })?;
        }
        first = first.max(fd.saturating_add(1));
    }
    Ok(())
}

/// The kind of namespace that `fd` names (ioctl_ns(2), `NS_GET_NSTYPE`, Linux
/// 4.11). `ENOTTY` when it is not a namespace.
pub(crate) fn namespace_type(fd: BorrowedFd) -> nix::Result<CloneFlags> {
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703u32 as libc::Ioctl;
    // SAFETY: this request takes no argument and accesses no memory of this process.
    let bits = check(unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) }.into())?;
    // nix has no name for CLONE_NEWTIME.
    Ok(CloneFlags::from_bits_retain(bits as i32))
}

/// Brings up `lo` in the network namespace of this process (netdevice(7)). Returns the socket that it
/// has used.
pub(crate) fn loopback_up() -> nix::Result<OwnedFd> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // SAFETY: zeros are a valid `ifreq`, because it consists of numbers and bytes.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads the `ifreq`, which outlives the call.
    let set = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    check(set.into())?;
    Ok(socket)
}

/// Sets the NIS domain name of this process's UTS namespace (setdomainname(2)).
pub(crate) fn setdomainname(name: &CStr) -> nix::Result<()> {
    // SAFETY: the kernel reads as many bytes as the string has, and it outlives the call.
    check(unsafe { libc::setdomainname(name.as_ptr(), name.to_bytes().len()) }.into())?;
    Ok(())
}

/// Creates a pair of connected sockets that preserve message boundaries (unix(7),
/// SOCK_SEQPACKET).
pub(crate) fn socketpair() -> nix::Result<(OwnedFd, OwnedFd)> {
    nix::sys::socket::socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
}

/// Sends one message. If the peer has closed its end, the error is `EPIPE`, without a
/// SIGPIPE.
pub(crate) fn send(end: BorrowedFd, message: &[u8]) -> nix::Result<()> {
    nix::sys::socket::send(end.as_raw_fd(), message, MsgFlags::MSG_NOSIGNAL)?;
    Ok(())
}

/// Receives one message and returns its length, or 0 if the peer has closed its end.
pub(crate) fn recv(end: BorrowedFd, message: &mut [u8]) -> nix::Result<usize> {
    loop {
        match nix::sys::socket::recv(end.as_raw_fd(), message, MsgFlags::empty()) {
            Err(Errno::EINTR) => {}
            // The peer closed its end with a message unread (unix(7)).
            Err(Errno::ECONNRESET) => return Ok(0),
            done => return done,
        }
    }
}

/// The address of the socket `name` in `directory`. The path goes through /proc,
/// because `sun_path` holds at most 108 bytes.
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

/// Creates a listening socket called `name` in `directory`.
pub(crate) fn listen_at(directory: BorrowedFd, name: &str) -> nix::Result<OwnedFd> {
    let socket = seqpacket()?;
    // Before bind(2), because others can connect once the socket has a name.
    fchmod(&socket, Mode::from_bits_truncate(0o600))?;
    bind(socket.as_raw_fd(), &address(directory, name)?)?;
    listen(&socket, Backlog::new(1)?)?;
    Ok(socket)
}

/// Creates a datagram socket called `name` in `directory`, to which every user that
/// can reach it may send (unix(7), SOCK_DGRAM).
pub(crate) fn bind_datagram_at(directory: BorrowedFd, name: &str) -> nix::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::Unix, SockType::Datagram);
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    bind(socket.as_raw_fd(), &address(directory, name)?)?;
    // bind(2) applied the caller's umask to the mode.
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

/// Connects to the stream socket at `path` (unix(7)). The connection, and each write to it, wait at most
/// as long as `limit`.
///
/// # Errors
/// `ECONNREFUSED` when nobody listens, `EAGAIN` when the limit is over.
pub(crate) fn connect_stream(path: &Path, limit: Duration) -> nix::Result<OwnedFd> {
    let name = path.file_name().ok_or(Errno::EINVAL)?;
    let name = name.to_str().ok_or(Errno::EINVAL)?;
    let parent = path.parent().ok_or(Errno::EINVAL)?;
    let directory = open(
        parent,
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    let (family, kind) = (AddressFamily::Unix, SockType::Stream);
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    let limit = TimeVal::new(limit.as_secs().cast_signed(), limit.subsec_micros().into());
    setsockopt(&socket, SendTimeout, &limit)?;
    nix::sys::socket::connect(socket.as_raw_fd(), &address(directory.as_fd(), name)?)?;
    Ok(socket)
}

/// Waits for a connection and returns it, close-on-exec.
pub(crate) fn accept(listener: BorrowedFd) -> nix::Result<OwnedFd> {
    loop {
        match accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
            Err(Errno::EINTR) => {}
            // SAFETY: the kernel returned a new descriptor, and no other value owns it.
            done => return done.map(|fd: RawFd| unsafe { OwnedFd::from_raw_fd(fd) }),
        }
    }
}
