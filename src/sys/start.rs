//! Code that runs before the C library starts: it executes the program again from a
//! read-only mount.
//!
//! `rt` must be protected against being overwritten by a container (`seal.rs` says
//! why), so commands that create a process in a container execute the program a second
//! time. Here this costs a fifth of what it would cost later. The start-up code of the
//! C library executes cpuid some forty times, and each of these takes microseconds in a
//! virtual machine.
//!
//! The C library cannot be used yet: errno is thread-local, and the implementations of
//! memcpy(3) and similar functions are not selected yet. So this file makes system
//! calls by number, and moves no value that is larger than a pointer. It ignores errors:
//! `seal.rs` checks the result and reports them.

use std::ffi::{c_char, c_int};

use syscalls::{Sysno, raw};

use super::mount::{AT_EMPTY_PATH, MountAttr, OPEN_TREE_CLOEXEC, OPEN_TREE_CLONE};

/// The commands that create a process which a container can see while it still
/// executes this program.
pub(crate) const SEALED_COMMANDS: [&str; 3] = ["create", "exec", "run"];

static READ_ONLY: MountAttr = MountAttr {
    set: libc::MOUNT_ATTR_RDONLY,
    clear: 0,
    propagation: 0,
    userns_fd: 0,
};

/// If one of the arguments is a command in [`SEALED_COMMANDS`], executes this program again
/// from a read-only, detached copy of its file's mount. execve(2) closes the copy's
/// descriptor. Without a descriptor, and in no mount namespace, the copy's attributes
/// cannot be changed any more.
///
/// Returns if the file is on a read-only mount already, or if the kernel refuses the
/// copy: without the right to mount, in a sandbox, before Linux 5.12, or if the file's
/// mount is not in this mount namespace.
///
/// # Safety
/// As [`super::before_c_library`].
pub(super) unsafe fn execute_read_only(argc: c_int, argv: *const *const c_char) {
    let argc = argc.unsigned_abs() as usize;
    let is_sealed = |i| {
        // SAFETY: `i` is less than `argc`, and there are `argc` strings by the condition
        // of this function.
        let argument = unsafe { *argv.add(i) };
        // SAFETY: the kernel passes NUL-terminated strings.
        SEALED_COMMANDS
            .iter()
            .any(|verb| unsafe { equals(argument, verb) })
    };
    if !(1..argc).any(is_sealed) {
        return;
    }
    let (cwd, empty) = (libc::AT_FDCWD as usize, c"".as_ptr() as usize);
    let path = c"/proc/self/exe".as_ptr() as usize;
    let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
    let empty_path = AT_EMPTY_PATH as usize;
    let clone = (OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH) as usize;
    // SAFETY: both paths are static and NUL-terminated. Both descriptors are new, and no
    // value owns them. `argv` is valid for execve(2) by the condition of this
    // function. The kernel only reads the structure, which is static and has the size
    // that is passed.
    unsafe {
        let Some(file) = call(Sysno::openat, [cwd, path, flags, 0, 0]) else {
            return;
        };
        // faccessat2(2) also fails if the mount is read-only.
        let access = libc::W_OK as usize;
        let writable = call(Sysno::faccessat2, [file, empty, access, empty_path, 0]);
        if writable.is_some()
            && let Some(mount) = call(Sysno::open_tree, [file, empty, clone, 0, 0])
        {
            let (attr, size) = (&raw const READ_ONLY as usize, size_of::<MountAttr>());
            if call(Sysno::mount_setattr, [mount, empty, empty_path, attr, size]).is_some() {
                let environment = argv.add(argc + 1) as usize;
                let argv = argv as usize;
                call(
                    Sysno::execveat,
                    [mount, empty, argv, environment, empty_path],
                );
            }
            call(Sysno::close, [mount, 0, 0, 0, 0]);
        }
        call(Sysno::close, [file, 0, 0, 0, 0]);
    }
}

/// Whether a NUL-terminated string is equal to `expected`, which has no NUL.
///
/// # Safety
/// `string` must point to a NUL-terminated string.
pub(super) unsafe fn equals(string: *const c_char, expected: &str) -> bool {
    let mut position = string.cast::<u8>();
    for byte in expected.bytes() {
        // SAFETY: all bytes before were equal, so none was the NUL. The read is volatile to
        // prevent the compiler from making this loop a call of strcmp(3).
        if unsafe { position.read_volatile() } != byte {
            return false;
        }
        // SAFETY: this byte was not the NUL, so there is another one after it.
        position = unsafe { position.add(1) };
    }
    // SAFETY: as above.
    unsafe { position.read_volatile() == 0 }
}

/// Makes a system call. `None` on error.
///
/// # Safety
/// The requirements of the system call must be met.
unsafe fn call(number: Sysno, [a, b, c, d, e]: [usize; 5]) -> Option<usize> {
    // SAFETY: the caller meets the requirements of the system call.
    let result = unsafe { raw::syscall5(number as usize, a, b, c, d, e) };
    (result <= isize::MAX as usize).then_some(result)
}
