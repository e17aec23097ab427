//! Code that runs before the C library starts: it executes the program again from a
//! read-only mount, or becomes the PID 1 of a container with `rt.init` (`init.rs`).
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
use std::sync::atomic::{AtomicBool, Ordering};

use syscalls::{Sysno, raw};

use super::c_string::equals;
use super::init;
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

/// Whether the file of this program is on a read-only mount, as [`before_c_library`] has found out in a process
/// that carries out one of [`SEALED_COMMANDS`].
static IS_READ_ONLY: AtomicBool = AtomicBool::new(false);

/// Whether a command in [`SEALED_COMMANDS`] has found the file of this program on a read-only mount.
pub(crate) fn is_on_read_only_mount() -> bool {
    IS_READ_ONLY.load(Ordering::Relaxed)
}

/// Called before the C library starts. Returns in a process that carries out a command.
///
/// # Safety
/// `argv` points to the `argc` arguments of the program and a null, followed by
/// its environment and a null, as the kernel puts them on the stack.
pub unsafe fn before_c_library(argc: c_int, argv: *const *const c_char) {
    // SAFETY: `argv` is as this function requires it.
    unsafe {
        if let Some(child) = init::child(argc, argv) {
            init::serve(child);
        }
        execute_read_only(argc, argv);
    }
}

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
/// As [`before_c_library`].
unsafe fn execute_read_only(argc: c_int, argv: *const *const c_char) {
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
    let access = libc::W_OK as usize;
    // SAFETY: the path is static and NUL-terminated.
    let writable = unsafe { call(Sysno::faccessat, [cwd, path, access, 0, 0]) };
    if writable < 0 {
        IS_READ_ONLY.store(writable == -(libc::EROFS as isize), Ordering::Relaxed);
        return;
    }
    let empty_path = AT_EMPTY_PATH as usize;
    let clone = (OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC) as usize;
    // SAFETY: both paths are static and NUL-terminated. The descriptor is new, and no value
    // owns it. `argv` is valid for execve(2) by the condition of this function. The kernel only
    // reads the structure, which is static and has the size that is passed.
    unsafe {
        let mount = call(Sysno::open_tree, [cwd, path, clone, 0, 0]);
        if mount < 0 {
            return;
        }
        let mount = mount as usize;
        let (attr, size) = (&raw const READ_ONLY as usize, size_of::<MountAttr>());
        if call(Sysno::mount_setattr, [mount, empty, empty_path, attr, size]) == 0 {
            let environment = argv.add(argc + 1) as usize;
            let argv = argv as usize;
            call(
                Sysno::execveat,
                [mount, empty, argv, environment, empty_path],
            );
        }
        call(Sysno::close, [mount, 0, 0, 0, 0]);
    }
}

/// Makes a system call. The result is a negative errno on error.
///
/// # Safety
/// The requirements of the system call must be met.
unsafe fn call(number: Sysno, [a, b, c, d, e]: [usize; 5]) -> isize {
    // SAFETY: the caller meets the requirements of the system call.
    unsafe { raw::syscall5(number as usize, a, b, c, d, e) as isize }
}
