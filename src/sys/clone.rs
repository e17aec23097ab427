//! Processes: clone3(2), pidfds, and leaving without flushing anything.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::unistd::Pid;

use super::check;

/// Which of the two processes this is, after [`clone3`].
pub(crate) enum Cloned {
    /// The caller. The child's pid as the caller's pid namespace counts it,
    /// and a descriptor that names the child whatever happens to the number.
    Runtime { pid: Pid, pidfd: OwnedFd },
    /// The child.
    Init,
}

/// `struct clone_args` of clone3(2), up to `cgroup` (88 bytes, Linux 5.7).
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_PIDFD: u64 = 0x0000_1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Makes a child in new namespaces, with a copy of this address space, born
/// in the cgroup v2 directory `cgroup` when one is given (clone3(2), Linux
/// 5.7). With `CLONE_PARENT` it is the child of this process's parent.
pub(crate) fn clone3(flags: CloneFlags, cgroup: Option<BorrowedFd>) -> nix::Result<Cloned> {
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: CLONE_PIDFD | u64::from(flags.bits().cast_unsigned()),
        pidfd: &raw mut pidfd as u64,
        ..CloneArgs::default()
    };
    // A sibling ends with the signal that this process ends with, and the kernel takes no other.
    if !flags.contains(CloneFlags::CLONE_PARENT) {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(directory) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = directory.as_raw_fd() as u64;
    }
    // SAFETY: `args` has the layout and the size that it announces, `pidfd`
    // outlives the call, and no stack is given, so that the child goes on with
    // a copy of this one, as after fork(2). `rt` has one thread, so no lock is
    // held by a thread that the child lacks, and the child may run any code.
    let pid = check(unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            std::mem::size_of::<CloneArgs>(),
        )
    })?;
    if pid == 0 {
        return Ok(Cloned::Init);
    }
    Ok(Cloned::Runtime {
        pid: Pid::from_raw(pid as i32),
        // SAFETY: the kernel stored a new descriptor there, which is ours alone.
        pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
    })
}

/// Which of the two processes this is, after [`fork`].
pub(crate) enum Forked {
    /// The caller, with the child by number and by descriptor.
    Parent {
        pid: Pid,
        pidfd: OwnedFd,
    },
    Child,
}

/// Makes a child as fork(2) does, with a descriptor for it (clone(2),
/// `CLONE_PIDFD`, Linux 5.2). The filters that containers run under refuse the
/// newer call, whose flags they cannot see.
pub(crate) fn fork() -> nix::Result<Forked> {
    let (flags, mut pidfd) = (CLONE_PIDFD | libc::SIGCHLD as u64, -1 as RawFd);
    // SAFETY: no stack is given and no memory is shared, so that the child goes
    // on with a copy of this one; the kernel stores the descriptor in `pidfd`,
    // which outlives the call, and does not look at what follows. `rt` has one
    // thread, so the child may run any code.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) })?;
    if pid == 0 {
        return Ok(Forked::Child);
    }
    Ok(Forked::Parent {
        pid: Pid::from_raw(pid as i32),
        // SAFETY: the kernel stored a new descriptor there, which is ours alone.
        pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
    })
}

/// Bytes of the stack that [`run_ahead`] gives, beside a page that ends it.
const STACK: usize = 1 << 20;
const PAGE: usize = 4096;

/// Runs `act` in a child that shares this process's memory, but neither descriptors
/// nor working directory, and goes on when the child has ended or executed a program
/// (clone(2), `CLONE_VM` and `CLONE_VFORK`). Returns the child, to be waited for.
///
/// A child that `act` clones itself has a copy of this memory as it is then, and
/// never returns from `act`.
pub(crate) fn run_ahead(act: &mut dyn FnMut()) -> nix::Result<Pid> {
    extern "C" fn enter(act: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the pointer is to the reference that `run_ahead` holds while this runs.
        let act = unsafe { &mut *act.cast::<&mut dyn FnMut()>() };
        act();
        0
    }
    let mut act = act;
    let size = PAGE + STACK;
    // SAFETY: a new mapping, which nobody else knows.
    let stack = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        libc::mmap(std::ptr::null_mut(), size, access, flags, -1, 0)
    };
    if stack == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    let (flags, act) = (
        libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
        (&raw mut act).cast(),
    );
    // SAFETY: the lowest page of the mapping becomes a guard, and its end is the
    // stack of the child, which nobody else uses. The child shares this memory, but
    // this process stands still until it has ended, so that nothing is used by two
    // at a time; `rt` has one thread. `act` outlives the call.
    let done = unsafe {
        check(libc::mprotect(stack, PAGE, libc::PROT_NONE).into())
            .and_then(|_| check(libc::clone(enter, stack.byte_add(size), flags, act).into()))
    };
    // SAFETY: the child has ended, and nobody else knows the mapping.
    let unmapped = check(unsafe { libc::munmap(stack, size) }.into());
    let child = done?;
    unmapped?;
    Ok(Pid::from_raw(child as i32))
}

/// A descriptor for the process `pid` (pidfd_open(2), Linux 5.3).
pub(crate) fn pidfd_open(pid: Pid) -> nix::Result<OwnedFd> {
    // SAFETY: the call takes two numbers and touches no memory of ours.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    // SAFETY: the kernel returned a new descriptor, which is ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Sends the signal numbered `signal` to the process that `pidfd` names
/// (pidfd_send_signal(2), Linux 5.1); 0 only asks whether it is there.
pub(crate) fn pidfd_send_signal(pidfd: BorrowedFd, signal: i32) -> nix::Result<()> {
    // SAFETY: a null siginfo asks the kernel to fill in its own, as kill(2) does.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    })?;
    Ok(())
}

/// Ends the process at once: no destructors, no buffers flushed (`_exit(2)`).
/// The only way out of a cloned child, whose buffers are copies of its parent's.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: _exit has no preconditions and does not return.
    unsafe { libc::_exit(code) }
}
