//! Where the C start-up code enters the program.
//!
//! Rust's own start-up reads /proc/self/maps, installs a handler for stack
//! overflows and ignores SIGPIPE: seventeen system calls that a process of a
//! few milliseconds makes for nothing, and an ignored signal that would have to
//! be undone before execve(2). What it does of use is done here: descriptors 0
//! to 2 exist, so that nothing opened later is taken for one of them.

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::{check, set_cloexec};

/// Defines what crt1.o calls, once, in the file of the program: the start of the C
/// library, which `build.rs` has the linker wrap, and `main`. Whatever else uses the
/// library has a `main` of its own.
#[macro_export]
macro_rules! entry {
    () => {
        type Words = *const *const ::core::ffi::c_char;
        type Function = *const ::core::ffi::c_void;

        unsafe extern "C" {
            fn __real___libc_start_main(
                main: Function,
                count: ::core::ffi::c_int,
                words: Words,
                init: Function,
                fini: Function,
                rtld_fini: Function,
                stack_end: Function,
            ) -> ::core::ffi::c_int;
        }

        // SAFETY: the linker makes this name for this purpose (ld(1), --wrap).
        #[unsafe(no_mangle)]
        unsafe extern "C" fn __wrap___libc_start_main(
            main: Function,
            count: ::core::ffi::c_int,
            words: Words,
            init: Function,
            fini: Function,
            rtld_fini: Function,
            stack_end: Function,
        ) -> ::core::ffi::c_int {
            // SAFETY: crt1.o passes what the kernel has laid on the stack, and to the
            // function of the C library it goes as it came.
            unsafe {
                $crate::execute_read_only(count, words);
                __real___libc_start_main(main, count, words, init, fini, rtld_fini, stack_end)
            }
        }

        // SAFETY: no other `main` is linked: the file that this stands in has none (`no_main`).
        #[unsafe(no_mangle)]
        extern "C" fn main(_count: ::core::ffi::c_int, _words: Words) -> ::core::ffi::c_int {
            ::core::ffi::c_int::from($crate::run())
        }
    };
}

/// Opens /dev/null where 0, 1 or 2 is closed, and closes whatever else the
/// caller has left open, but for the first `passed` of them: a directory of the
/// machine among them would be a way out of the container (CVE-2024-21626).
/// Returns those of the `kept` that are open beyond, close-on-exec.
///
/// # Errors
/// When there is no /dev/null.
pub(crate) fn tidy_descriptors(passed: u32, mut kept: Vec<RawFd>) -> nix::Result<Vec<OwnedFd>> {
    let ask = |fd| libc::pollfd {
        fd,
        events: 0,
        revents: 0,
    };
    let mut standard = [0, 1, 2].map(ask);
    // SAFETY: the kernel writes to the three structures, which are ours; it waits for nothing.
    check(unsafe { libc::poll(standard.as_mut_ptr(), 3, 0) }.into())?;
    for _ in standard
        .iter()
        .filter(|fd| fd.revents & libc::POLLNVAL != 0)
    {
        // The lowest free number is the first of them. It is inherited, as 0 to 2 are.
        let _: RawFd = open("/dev/null", OFlag::O_RDWR, Mode::empty())?.into_raw_fd();
    }
    // Before the program owns any descriptor from 3 on.
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
    // SAFETY: they are open, and no value of this program owns one of them yet.
    Ok(kept
        .into_iter()
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        .collect())
}

/// Closes what the caller has handed on, when only the container's process is
/// to have it: these descriptors.
pub(crate) fn let_go(passed: &[RawFd]) -> nix::Result<()> {
    for run in passed.chunk_by(|fd, next| fd + 1 == *next) {
        close_range(run[0].cast_unsigned(), run[run.len() - 1].cast_unsigned())?;
    }
    Ok(())
}

fn close_range(first: u32, last: u32) -> nix::Result<()> {
    // SAFETY: no value of this program owns a descriptor with one of these
    // numbers: they are the caller's since before it began.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
    Ok(())
}
