//! What the kernel keeps of this process: its CPUs, its capabilities, its
//! working directory, its descriptors' flags, its program.

use std::ffi::{CStr, c_char};
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;

use nix::errno::Errno;

use super::check;

/// Arguments or variables as execve(2) wants them: a pointer to each, and a null.
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

/// Becomes another program (execve(2)); returns only with why it did not. Other
/// than nix's it allocates nothing: not even that may be allowed any more.
pub(crate) fn execve(path: &CStr, args: &Pointers, env: &Pointers) -> Errno {
    let (args, env) = (args.pointers.as_ptr(), env.pointers.as_ptr());
    // SAFETY: `path` ends in NUL; both lists end in null, and their other
    // pointers are to strings that end in NUL and live as long as the lists.
    unsafe { libc::execve(path.as_ptr(), args, env) };
    Errno::last()
}

/// Becomes the program in `file` with the environment of this one (execveat(2),
/// `AT_EMPTY_PATH`); returns only with why it did not.
pub(crate) fn execute_again(file: BorrowedFd, args: &Pointers) -> Errno {
    // SAFETY: the path is the empty string, which ends in NUL and is static; `args`
    // is a list as for `execve`; `environ` is the C library's own list, and this
    // program, which has one thread, changes nothing in it.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            args.pointers.as_ptr(),
            environ,
            libc::AT_EMPTY_PATH,
        )
    };
    Errno::last()
}

unsafe extern "C" {
    /// environ(7).
    static environ: *const *const c_char;
}

/// As many CPUs as kernels are built for at most (`CONFIG_NR_CPUS`); what exceeds
/// the running kernel's own mask is cut off there.
const CPUS: usize = 8192;

/// A set of CPUs: number n is bit n % 8 of byte n / 8.
pub(crate) type CpuMask = [u8; CPUS / 8];

/// Lets this process run on the CPUs of a set that its cpuset allows: the kernel
/// intersects the two (sched_setaffinity(2)). `EINVAL` if that leaves none.
pub(crate) fn sched_setaffinity(mask: &CpuMask) -> nix::Result<()> {
    // SAFETY: the kernel reads `mask.len()` bytes of `mask`, which outlives the call.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, mask.len(), mask.as_ptr()) })?;
    Ok(())
}

/// Removes the capability of this number from the bounding set for good
/// (prctl(2), `PR_CAPBSET_DROP`). `EINVAL` past the last one that the kernel
/// knows, which may be newer than any table of names.
pub(crate) fn capbset_drop(capability: u32) -> nix::Result<()> {
    // SAFETY: this operation takes one number and touches no memory of ours.
    let done = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability)) };
    check(done.into())?;
    Ok(())
}

/// Sets the effective, permitted and inheritable sets of this process at once;
/// bit n stands for capability n (capset(2), version 3).
pub(crate) fn capset(effective: u64, permitted: u64, inheritable: u64) -> nix::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3`, and 0: this process.
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
/// in bytes. `(unreachable)/...` for a directory outside the root (getcwd(2)).
///
/// The C library's function would go on by itself to search such a directory's
/// parents for a name.
pub(crate) fn getcwd(path: &mut [u8]) -> nix::Result<usize> {
    // SAFETY: the kernel writes at most `path.len()` bytes to `path`, which is ours.
    check(unsafe { libc::syscall(libc::SYS_getcwd, path.as_mut_ptr(), path.len()) })
        .map(|length| length as usize)
}

/// Marks one descriptor close-on-exec (fcntl(2), `F_SETFD`). `EBADF` when the
/// number is not in use, which a number alone cannot tell.
pub(crate) fn set_cloexec(fd: RawFd) -> nix::Result<()> {
    set_flags(fd, libc::FD_CLOEXEC)
}

/// Takes the mark off again: the descriptor outlives execve(2).
pub(crate) fn clear_cloexec(fd: RawFd) -> nix::Result<()> {
    set_flags(fd, 0)
}

fn set_flags(fd: RawFd, flags: libc::c_int) -> nix::Result<()> {
    // SAFETY: a flag on a descriptor closes none, whoever owns it.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, flags) }.into())?;
    Ok(())
}
