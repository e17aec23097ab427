//! Attributes of this process: its program, CPU affinity, capabilities, working
//! directory, and the flags of its descriptors.

use std::ffi::{CStr, c_char};
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;

use nix::errno::Errno;
use nix::unistd::{Gid, Pid, Uid};

use super::check;

/// The effective ids with which the kernel has executed this program (getauxval(3), `AT_EUID`, `AT_EGID`). The
/// runtime does not change its own, so it needs no system call to learn them. A cloned child may change its ids.
pub(crate) fn ids_at_execve() -> (Uid, Gid) {
    // SAFETY: the C library reads a vector that the kernel has made at execve(2), and that nothing changes.
    let value = |kind| unsafe { libc::getauxval(kind) } as u32;
    (
        Uid::from_raw(value(libc::AT_EUID)),
        Gid::from_raw(value(libc::AT_EGID)),
    )
}

/// A null-terminated array of pointers to arguments or variables, for execve(2).
pub(crate) struct Pointers<'a> {
    pointers: Vec<*const c_char>,
    strings: PhantomData<&'a CStr>,
}

impl<'a> FromIterator<&'a CStr> for Pointers<'a> {
    fn from_iter<T: IntoIterator<Item = &'a CStr>>(strings: T) -> Pointers<'a> {
        let pointers = strings.into_iter().map(CStr::as_ptr);
        Pointers {
            pointers: pointers.chain([ptr::null()]).collect(),
            strings: PhantomData,
        }
    }
}

/// Executes another program (execve(2)). Returns only on error.
///
/// Unlike nix's function it does not allocate memory, because the container's seccomp
/// filter may already forbid the system calls for that.
pub(crate) fn execve(path: &CStr, args: &Pointers, env: &Pointers) -> Errno {
    let (args, env) = (args.pointers.as_ptr(), env.pointers.as_ptr());
    // SAFETY: `path` is NUL-terminated. Both arrays end in null, and their other pointers
    // point to NUL-terminated strings that live as long as the arrays.
    unsafe { libc::execve(path.as_ptr(), args, env) };
    Errno::last()
}

/// Executes the program in `file` with the environment of this process (execveat(2),
/// `AT_EMPTY_PATH`). Returns only on error.
pub(crate) fn execute_again(file: BorrowedFd, args: &Pointers) -> Errno {
    // SAFETY: `environ` is the C library's array, and this program has one thread and does
    // not change it.
    unsafe { execute_file(file, args, environ) }
}

/// Executes the program in `file` (execveat(2), `AT_EMPTY_PATH`). Returns only on error.
/// Like [`execve`] it allocates no memory.
pub(crate) fn execveat(file: BorrowedFd, args: &Pointers, env: &Pointers) -> Errno {
    // SAFETY: the array ends in null, and its other pointers point to NUL-terminated
    // strings that live as long as the array.
    unsafe { execute_file(file, args, env.pointers.as_ptr()) }
}

/// # Safety
/// `env` must be an array as execve(2) requires it.
unsafe fn execute_file(file: BorrowedFd, args: &Pointers, env: *const *const c_char) -> Errno {
    // SAFETY: the path is the empty string, which is NUL-terminated and static. `args` is
    // an array as for `execve`, and `env` is one by the condition of this function.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            args.pointers.as_ptr(),
            env,
            libc::AT_EMPTY_PATH,
        )
    };
    Errno::last()
}

unsafe extern "C" {
    /// environ(7).
    static environ: *const *const c_char;
}

/// The most CPUs that a kernel can be built for (`CONFIG_NR_CPUS`). The kernel ignores
/// the part of a mask that exceeds its own.
const CPUS: usize = 8192;

/// A set of CPUs. CPU n is bit n % 8 of byte n / 8.
pub(crate) type CpuMask = [u8; CPUS / 8];

/// Sets the CPUs on which this process may run (sched_setaffinity(2)). The kernel
/// intersects them with the process's cpuset. `EINVAL` if the intersection is empty.
pub(crate) fn sched_setaffinity(mask: &CpuMask) -> nix::Result<()> {
    // SAFETY: the kernel reads `mask.len()` bytes of `mask`, which outlives the call.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, mask.len(), mask.as_ptr()) })?;
    Ok(())
}

/// Sets the scheduling policy and its attributes of a process (sched_setattr(2)).
pub(crate) fn sched_setattr(pid: Pid, attributes: &libc::sched_attr) -> nix::Result<()> {
    // SAFETY: the kernel reads as many bytes of `attributes` as its `size` says, which is that of
    // the structure, and writes to it only when the size is none that it knows.
    check(unsafe {
        libc::syscall(
            libc::SYS_sched_setattr,
            pid.as_raw(),
            std::ptr::from_ref(attributes),
            0,
        )
    })?;
    Ok(())
}

/// The most memory nodes that a kernel can be built for (`CONFIG_NODES_SHIFT`).
const NODES: usize = 1024;

/// A set of memory nodes. Node n is bit n % 8 of byte n / 8.
pub(crate) type NodeMask = [u8; NODES / 8];

/// Sets the memory policy of this process (set_mempolicy(2)). `mode` includes the flags.
pub(crate) fn set_mempolicy(mode: libc::c_int, nodes: &NodeMask) -> nix::Result<()> {
    // SAFETY: the kernel reads `NODES` bits of `nodes`, which outlives the call: it takes the
    // third argument as one more than their number.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, nodes.as_ptr(), NODES + 1) })?;
    Ok(())
}

/// Sets the I/O scheduling class and level of a process, or of this one if `pid` is 0
/// (ioprio_set(2), `IOPRIO_WHO_PROCESS`). `EPERM` for the real-time class without
/// CAP_SYS_NICE or CAP_SYS_ADMIN.
pub(crate) fn ioprio_set(pid: Pid, priority: u16) -> nix::Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    let priority = libc::c_int::from(priority);
    // SAFETY: this call takes three numbers and accesses no memory of this process.
    check(unsafe {
        libc::syscall(
            libc::SYS_ioprio_set,
            IOPRIO_WHO_PROCESS,
            pid.as_raw(),
            priority,
        )
    })?;
    Ok(())
}

/// Removes a capability, by its number, from the bounding set (prctl(2),
/// `PR_CAPBSET_DROP`). `EINVAL` for a number beyond the kernel's last capability, which
/// may be one that `rt` has no name for.
pub(crate) fn capbset_drop(capability: u32) -> nix::Result<()> {
    // SAFETY: this operation takes one number and accesses no memory of this process.
    let done = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability)) };
    check(done.into())?;
    Ok(())
}

/// Sets the effective, permitted and inheritable sets of this process. Bit n stands
/// for capability n (capset(2), version 3).
pub(crate) fn capset(effective: u64, permitted: u64, inheritable: u64) -> nix::Result<()> {
    /// `struct __user_cap_header_struct`: `_LINUX_CAPABILITY_VERSION_3`, and pid 0 for
    /// this process.
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    let header = Header {
        version: 0x2008_0522,
        pid: 0,
    };
    let [low, high] =
        [0, 32].map(|shift| [effective, permitted, inheritable].map(|set| (set >> shift) as u32));
    let data = [low, high];
    // SAFETY: the kernel reads the header and, in this version, two structures
    // of three u32 each, which outlive the call.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, &raw const data) })?;
    Ok(())
}

/// Writes the working directory and a NUL to `path`, and returns their length
/// in bytes (getcwd(2)). The path of a directory outside the root begins with
/// `(unreachable)`.
///
/// The C library's function would search the parents of such a directory for a name
/// instead.
pub(crate) fn getcwd(path: &mut [u8]) -> nix::Result<usize> {
    // SAFETY: the kernel writes at most `path.len()` bytes to `path`, which is borrowed mutably.
    check(unsafe { libc::syscall(libc::SYS_getcwd, path.as_mut_ptr(), path.len()) })
        .map(|length| length as usize)
}

/// Marks a descriptor close-on-exec (fcntl(2), `F_SETFD`). `EBADF` when it is not open.
pub(crate) fn set_cloexec(fd: RawFd) -> nix::Result<()> {
    set_flags(fd, libc::FD_CLOEXEC)
}

/// Clears the close-on-exec flag, so that the descriptor stays open across execve(2).
pub(crate) fn clear_cloexec(fd: RawFd) -> nix::Result<()> {
    set_flags(fd, 0)
}

fn set_flags(fd: RawFd, flags: libc::c_int) -> nix::Result<()> {
    // SAFETY: setting a flag does not close the descriptor, so its owner stays valid.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, flags) }.into())?;
    Ok(())
}
