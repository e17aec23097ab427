//! execve(2) under a seccomp filter that passes system calls to another process, which must have the
//! listener before the first of them.
//!
//! A filter holds for the thread that installs it, and may pass or refuse any system call, also
//! those that would hand over the listener. So two threads share the work. They take turns at gates,
//! where a thread waits without a system call:
//!
//! ```text
//!   this thread                          performer
//!   ───────────                          ─────────
//!   clones the performer
//!   waits for it at the first gate       installs the filter
//!                                        waits at the first gate
//!   hands the listener over
//!   opens the first gate       ────────▶ execve: ends this thread, takes over the pid
//!   waits for it at the second gate      if execve fails: waits at the second gate
//! ```

use std::ffi::CStr;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::sys::prctl;
use seccompiler::BpfProgramRef;

use super::clone::clone_thread;
use super::gate::Gates;
use super::seccomp::seccomp_set_filter_with_listener;
use super::task::{Pointers, execve};

/// Why the program was not executed.
pub(crate) enum ListenerFailure<E> {
    /// The filter could not be installed.
    Filter(Errno),
    /// The listener could not be handed over.
    HandOver(E),
    /// execve(2) failed.
    Exec(Errno),
}

/// What a program is executed with.
pub(crate) struct Program<'a> {
    pub(crate) path: &'a CStr,
    pub(crate) args: &'a Pointers<'a>,
    pub(crate) env: &'a Pointers<'a>,
}

/// The gates of the performer.
const INSTALLED: usize = 0;
const NOT_EXECUTED: usize = 1;

/// What the performer tells at its gates.
struct Performance {
    gates: Gates,
    /// The listener; or, below 0, a negated errno.
    result: AtomicI32,
}

/// Installs the filter, calls `hand_over` with the listener, and executes the program. Returns only on
/// failure; then this process can only end.
///
/// The performer has this thread's attributes, and its parent-death signal. It needs a second task
/// within the limits of the cgroup and of the user.
pub(crate) fn execve_with_listener<E>(
    (filter, flags): (BpfProgramRef, libc::c_ulong),
    program: &Program,
    hand_over: impl FnOnce(OwnedFd) -> Result<(), E>,
) -> ListenerFailure<E> {
    let performance = match Gates::new(2) {
        // The performer may use it as long as this process exists.
        Ok(gates) => Box::leak(Box::new(Performance {
            gates,
            result: AtomicI32::new(0),
        })),
        Err(errno) => return ListenerFailure::Filter(errno),
    };
    let performance = &*performance;
    let result = || match performance.result.load(Ordering::Acquire) {
        number if number < 0 => Err(Errno::from_raw(-number)),
        number => Ok(number),
    };
    let signal = prctl::get_pdeathsig();
    let mut perform = || {
        let installed = (signal.and_then(prctl::set_pdeathsig))
            .and_then(|()| seccomp_set_filter_with_listener(filter, flags));
        let installed = installed.map_or_else(|errno| -(errno as RawFd), IntoRawFd::into_raw_fd);
        performance.result.store(installed, Ordering::Release);
        if performance.gates.pass(INSTALLED) {
            let errno = execve(program.path, program.args, program.env);
            performance
                .result
                .store(-(errno as RawFd), Ordering::Release);
            performance.gates.pass(NOT_EXECUTED);
        }
    };
    // SAFETY: this thread waits at the gates until the performer waits there, and the other way
    // round. What the performer borrows is on the stack of this function, which returns only when
    // the performer waits at a gate that is never opened.
    let cloned = unsafe { clone_thread(&mut perform) };
    let installed = cloned
        .and_then(|()| performance.gates.wait_for(INSTALLED))
        .and_then(|()| result());
    let listener = match installed {
        // SAFETY: the performer has given up the new descriptor.
        Ok(listener) => unsafe { OwnedFd::from_raw_fd(listener) },
        Err(errno) => return ListenerFailure::Filter(errno),
    };
    if let Err(error) = hand_over(listener) {
        return ListenerFailure::HandOver(error);
    }
    let executed = (performance.gates.open(INSTALLED))
        .and_then(|()| performance.gates.wait_for(NOT_EXECUTED))
        .and_then(|()| result());
    ListenerFailure::Exec(executed.err().unwrap_or(Errno::EPROTO))
}
