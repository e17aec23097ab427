//! Creating processes (clone3(2), clone(2)), pidfds, and `_exit(2)`.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::unistd::Pid;

use super::check;
use super::probe::refused;

/// The return value of [`clone3`], which returns in both processes.
pub(crate) enum Cloned {
    /// In the caller: the child's pid in the caller's pid namespace, and a pidfd.
    Parent { pid: Pid, pidfd: OwnedFd },
    /// In the child.
    Child,
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

/// Creates a process with a copy of this address space, in the new namespaces that
/// `flags` ask for, and in the cgroup v2 directory `cgroup` if one is given
/// (clone3(2), Linux 5.7). With `CLONE_PARENT` it becomes a child of this process's
/// parent.
pub(crate) fn clone3(flags: CloneFlags, cgroup: Option<BorrowedFd>) -> nix::Result<Cloned> {
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: CLONE_PIDFD | u64::from(flags.bits().cast_unsigned()),
        pidfd: &raw mut pidfd as u64,
        ..CloneArgs::default()
    };
    // With CLONE_PARENT the kernel uses this process's exit signal and refuses another.
    if !flags.contains(CloneFlags::CLONE_PARENT) {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(directory) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = directory.as_raw_fd() as u64;
    }
    // SAFETY: `args` has the layout of `struct clone_args` and the size that is passed,
    // and `pidfd` outlives the call. No stack is given, so the child continues on a
    // copy of this one, as after fork(2). `rt` has one thread, so no lock is held by a
    // thread that does not exist in the child, and the child may run any code.
    let pid = check(unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            std::mem::size_of::<CloneArgs>(),
        )
    })?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    Ok(Cloned::Parent {
        pid: Pid::from_raw(pid as i32),
        // SAFETY: the kernel stored a new descriptor there, and no other value owns it.
        pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
    })
}

/// Whether the kernel has clone3(2) with `CLONE_INTO_CGROUP`: makes no process.
///
/// # Errors
/// Those of [`refused`]; `E2BIG` from an older kernel, whose structure is shorter.
pub(crate) fn try_clone_into_cgroup() -> nix::Result<()> {
    let args = CloneArgs {
        flags: CLONE_INTO_CGROUP,
        cgroup: u64::MAX, // Larger than any descriptor.
        ..CloneArgs::default()
    };
    let size = std::mem::size_of::<CloneArgs>();
    // SAFETY: the kernel reads `args`, which has the size that is passed, and refuses the descriptor before it
    // makes a process.
    refused(check(unsafe {
        libc::syscall(libc::SYS_clone3, std::ptr::from_ref(&args), size)
    }))
}

/// The return value of [`fork`], which returns in both processes.
pub(crate) enum Forked {
    /// In the caller: the child's pid and a pidfd.
    Parent { pid: Pid, pidfd: OwnedFd },
    /// In the child.
    Child,
}

/// Creates a child as fork(2) does, and a pidfd for it (clone(2), `CLONE_PIDFD`,
/// Linux 5.2). Seccomp filters of containers refuse clone3(2), because they cannot
/// inspect flags that are passed in memory.
pub(crate) fn fork() -> nix::Result<Forked> {
    let (flags, mut pidfd) = (CLONE_PIDFD | libc::SIGCHLD as u64, -1 as RawFd);
    // SAFETY: no stack is given and no memory is shared, so the child continues on a
    // copy of this stack. The kernel stores the descriptor in `pidfd`, which outlives
    // the call, and ignores the arguments after it. `rt` has one thread, so the child
    // may run any code.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) })?;
    if pid == 0 {
        return Ok(Forked::Child);
    }
    Ok(Forked::Parent {
        pid: Pid::from_raw(pid as i32),
        // SAFETY: the kernel stored a new descriptor there, and no other value owns it.
        pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
    })
}

/// Runs `act` in a child that shares this process's memory, but neither its
/// descriptors nor its working directory (clone(2), `CLONE_VM` and `CLONE_VFORK`).
/// Returns the child's pid once the child has ended or executed a program; the caller
/// must wait for it.
///
/// A process that `act` clones gets a copy of the memory at that moment. It must not
/// return from `act`.
pub(crate) fn clone_vfork(act: &mut dyn FnMut()) -> nix::Result<Pid> {
    let mut act = act;
    let stack = Stack::new()?;
    let (flags, act) = (
        libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
        (&raw mut act).cast(),
    );
    // SAFETY: nothing else uses the stack. The child shares this memory, but this process is
    // suspended until the child has ended, and `rt` has one thread, so no memory is used by both
    // at a time. `act` outlives the call.
    let child = check(unsafe { libc::clone(enter, stack.top(), flags, act) }.into())?;
    Ok(Pid::from_raw(child as i32))
}

/// Runs `act` in a second thread of this process. What the thread changes of its own credentials
/// and its seccomp filter does not change this thread.
///
/// # Safety
/// Neither thread may use what the other one is changing, such as `errno`, which both have in
/// common: they take turns. What `act` borrows must live until it does not use it any more.
pub(super) unsafe fn clone_thread(act: &mut dyn FnMut()) -> nix::Result<()> {
    let act = Box::new(std::ptr::from_mut(act));
    let stack = Stack::new()?;
    let flags = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM;
    let top = stack.top();
    std::mem::forget(stack);
    // SAFETY: nothing else uses the stack, which stays mapped. The box is not dropped, and what it
    // points to lives long enough by the condition of this function.
    check(unsafe { libc::clone(enter, top, flags, Box::into_raw(act).cast()) }.into())?;
    Ok(())
}

/// Calls the closure to a reference to which `act` points.
extern "C" fn enter(act: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the pointer is to the reference that the caller of clone(2) holds while this runs.
    let act = unsafe { &mut *act.cast::<&mut dyn FnMut()>() };
    act();
    0
}

/// A stack for a process or thread that shares this memory.
struct Stack(*mut libc::c_void);

impl Stack {
    /// In bytes, without the guard page.
    const SIZE: usize = 1 << 20;
    const PAGE: usize = 4096;

    fn new() -> nix::Result<Stack> {
        let size = Self::PAGE + Self::SIZE;
        // SAFETY: the kernel chooses the address of a new mapping, so no memory in use changes.
        let stack = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
            let access = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), size, access, flags, -1, 0)
        };
        if stack == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let stack = Stack(stack);
        // SAFETY: the lowest page of the new mapping becomes a guard page.
        check(unsafe { libc::mprotect(stack.0, Self::PAGE, libc::PROT_NONE) }.into())?;
        Ok(stack)
    }

    /// The address from which the stack grows down.
    fn top(&self) -> *mut libc::c_void {
        self.0.wrapping_byte_add(Self::PAGE + Self::SIZE)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: no process uses the mapping any more, and no pointer to it is left.
        unsafe { libc::munmap(self.0, Self::PAGE + Self::SIZE) };
    }
}

/// Opens a pidfd for the process `pid` (pidfd_open(2), Linux 5.3).
pub(crate) fn pidfd_open(pid: Pid) -> nix::Result<OwnedFd> {
    // SAFETY: the call takes two numbers and accesses no memory of this process.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    // SAFETY: the kernel returned a new descriptor, and no other value owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Sends the signal numbered `signal` to the process that `pidfd` names
/// (pidfd_send_signal(2), Linux 5.1). Signal 0 only checks whether it exists.
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

/// Ends the process without destructors and without flushing buffers (`_exit(2)`).
/// A cloned child must end in this way, because its buffers are copies of its
/// parent's.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: _exit has no preconditions and does not return.
    unsafe { libc::_exit(code) }
}
