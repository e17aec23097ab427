//! The program's entry point, which replaces that of Rust's standard library, and the
//! descriptors that the program inherits.
//!
//! The standard library's start-up code reads /proc/self/maps, installs a handler for
//! stack overflows and ignores SIGPIPE. That costs seventeen system calls in a process
//! that runs for a few milliseconds, and SIGPIPE would have to be restored before
//! execve(2). The one useful part is done here: descriptors 0 to 2 are opened if they
//! are closed, so that no file opened later gets one of these numbers.

use std::ffi::{c_char, c_int};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::init;
use super::start::execute_read_only;
use super::{check, set_cloexec};

/// Defines the two functions that crt1.o needs: `main`, and a wrapper of the C
/// library's start function, to which `build.rs` makes the linker redirect the call.
/// To be used once, in the file of the program. Other users of the library have a
/// `main` of their own.
#[macro_export]
macro_rules! entry {
    () => {
        type Argv = *const *const ::core::ffi::c_char;
        type Function = *const ::core::ffi::c_void;

        unsafe extern "C" {
            fn __real___libc_start_main(
                main: Function,
                argc: ::core::ffi::c_int,
                argv: Argv,
                init: Function,
                fini: Function,
                rtld_fini: Function,
                stack_end: Function,
            ) -> ::core::ffi::c_int;
        }

        // SAFETY: ld(1) reserves this name for this purpose (--wrap).
        #[unsafe(no_mangle)]
        unsafe extern "C" fn __wrap___libc_start_main(
            main: Function,
            argc: ::core::ffi::c_int,
            argv: Argv,
            init: Function,
            fini: Function,
            rtld_fini: Function,
            stack_end: Function,
        ) -> ::core::ffi::c_int {
            // SAFETY: crt1.o passes the arguments as the kernel put them on the stack, and
            // they are passed to the C library's function unchanged.
            unsafe {
                $crate::before_c_library(argc, argv);
                __real___libc_start_main(main, argc, argv, init, fini, rtld_fini, stack_end)
            }
        }

        // SAFETY: no other `main` is linked, because the program is `no_main`.
        #[unsafe(no_mangle)]
        extern "C" fn main(_argc: ::core::ffi::c_int, _argv: Argv) -> ::core::ffi::c_int {
            ::core::ffi::c_int::from($crate::run())
        }
    };
}

/// What comes before the C library starts: this process becomes the PID 1 of a container with
/// `rt.init`, or executes the program again from a read-only mount. Returns in a process that
/// carries out a command.
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

/// Opens /dev/null on each of the descriptors 0 to 2 that is closed, and closes all
/// inherited descriptors from 3 on, except the first `passed` ones and those in
/// `kept`. An inherited directory of the host would be a way out of the container
/// (CVE-2024-21626).
///
/// Returns those of `kept` that are open and not among the first `passed`, now
/// close-on-exec. To be called before the program opens a descriptor.
///
/// # Errors
/// When /dev/null cannot be opened, or close_range(2) fails.
pub(crate) fn sanitize_descriptors(passed: u32, mut kept: Vec<RawFd>) -> nix::Result<Vec<OwnedFd>> {
    let pollfd = |fd| libc::pollfd {
        fd,
        events: 0,
        revents: 0,
    };
    let mut standard = [0, 1, 2].map(pollfd);
    // SAFETY: the kernel writes to the three structures, which are borrowed mutably.
    check(unsafe { libc::poll(standard.as_mut_ptr(), 3, 0) }.into())?;
    for _ in standard
        .iter()
        .filter(|fd| fd.revents & libc::POLLNVAL != 0)
    {
        // open(2) returns the lowest free number, which is the first closed one. It stays
        // open across execve(2).
        let _: RawFd = open("/dev/null", OFlag::O_RDWR, Mode::empty())?.into_raw_fd();
    }
    let mut first = 3_u32.saturating_add(passed);
    kept.retain(|fd| u32::try_from(*fd).is_ok_and(|fd| fd >= first) && set_cloexec(*fd).is_ok());
    kept.sort_unstable();
    kept.dedup();
    for fd in kept.iter().map(|fd| fd.cast_unsigned()) {
        if first < fd {
            close_range(first, fd - 1)?;
        }
        first = fd + 1;
    }
    close_range(first, u32::MAX)?;
    // SAFETY: the descriptors are open, and no value owns one of them yet.
    Ok(kept
        .into_iter()
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        .collect())
}

/// Closes the descriptors `passed`, which the caller of `rt` passes to the container's
/// process, once that process has its copies. The numbers must be in ascending order.
pub(crate) fn close_passed_fds(passed: &[RawFd]) -> nix::Result<()> {
    for run in passed.chunk_by(|fd, next| fd + 1 == *next) {
        close_range(run[0].cast_unsigned(), run[run.len() - 1].cast_unsigned())?;
    }
    Ok(())
}

fn close_range(first: u32, last: u32) -> nix::Result<()> {
    // SAFETY: no value of this program owns a descriptor with one of these numbers,
    // because they are inherited.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
    Ok(())
}
