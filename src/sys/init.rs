//! PID 1 of a container with `rt.init`: passes signals on to the process, reaps all
//! children, and ends with the process's status.
//!
//! `src/process/pid_1.rs` executes `rt` as this program, with every signal blocked and with
//! the process as its only child. It runs before the C library starts (`entry.rs`), with
//! system calls only, and in a few pages of memory.
//!
//! A shell starts jobs and stops and continues them. This program is like a shell with one
//! job. It passes a stop on and leaves the job stopped. When the terminal or another
//! process in the container stops the job, nothing else could continue it, so this program
//! brings it back to the foreground and continues it. Without `rt.init` the process is PID 1 itself, and
//! the kernel discards these stops.

use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;

use syscalls::{Sysno, raw};

use super::start::equals;

/// Its first argument and its name. The second argument is the pid of the process.
pub(crate) const INIT_NAME: &str = "rt-init";
const COMM: &std::ffi::CStr = c"rt-init";

/// Follows the pid. No command line of `rt` begins like this.
const SEPARATOR: &str = "--";

/// Size of the kernel's signal set, in bytes.
const SET_SIZE: usize = 8;

const FAILURE: &[u8] = b"rt-init: rt_sigtimedwait(2) failed: does a seccomp filter forbid it?\n";

/// The pid of the process, if these arguments are those of this program.
///
/// # Safety
/// As [`super::before_c_library`].
pub(super) unsafe fn child(argc: c_int, argv: *const *const c_char) -> Option<c_int> {
    if argc < 3 {
        return None;
    }
    // SAFETY: there are at least three arguments, all of them NUL-terminated strings.
    unsafe {
        if !equals(*argv, INIT_NAME) || !equals(*argv.add(2), SEPARATOR) {
            return None;
        }
        number((*argv.add(1)).cast())
    }
}

/// A positive decimal number.
///
/// # Safety
/// `text` must point to a NUL-terminated string.
unsafe fn number(mut text: *const u8) -> Option<c_int> {
    let mut number: c_int = 0;
    loop {
        // SAFETY: no byte before was the NUL.
        let byte = unsafe { text.read() };
        if byte == 0 {
            return (number > 0).then_some(number);
        }
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number.checked_mul(10)?.checked_add((byte - b'0').into())?;
        // SAFETY: this byte was not the NUL, so there is another one after it.
        text = unsafe { text.add(1) };
    }
}

/// Waits for signals until the process ends. Does not return.
pub(super) fn serve(child: c_int) -> ! {
    // After execveat(2) the name is that of the file or of the descriptor. The file does
    // not matter to users of the container.
    call(
        Sysno::prctl,
        [libc::PR_SET_NAME as usize, COMM.as_ptr() as usize, 0, 0],
    );
    forget_start();
    let all_signals = u64::MAX;
    let mut passed_stop = false;
    let mut info = MaybeUninit::<libc::siginfo_t>::uninit();
    loop {
        let (set, to) = (&raw const all_signals as usize, info.as_mut_ptr() as usize);
        let signal = call(Sysno::rt_sigtimedwait, [set, to, 0, SET_SIZE]) as c_int;
        match signal {
            libc::SIGCHLD => reap(child, &mut passed_stop),
            1.. => {
                match signal {
                    libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => passed_stop = true,
                    libc::SIGCONT => passed_stop = false,
                    _ => {}
                }
                // SAFETY: the kernel has filled in the structure.
                pass_on(child, signal, unsafe { &*info.as_ptr() });
            }
            _ if signal == -libc::EINTR => {} // It was stopped and continued.
            _ => {
                call(
                    Sysno::write,
                    [2, FAILURE.as_ptr() as usize, FAILURE.len(), 0],
                );
                exit(1);
            }
        }
    }
}

unsafe extern "C" {
    /// The first and the last address of the program's code and constants, which the linker
    /// defines (ld(1)).
    static __executable_start: u8;
    static etext: u8;
}

/// Gives back the pages of the program that were needed to start. The kernel maps sixteen
/// pages for each that is read, and maps those of the loop below again.
fn forget_start() {
    let start = &raw const __executable_start as usize;
    let length = (&raw const etext as usize).wrapping_sub(start);
    let advice = libc::MADV_DONTNEED as usize;
    call(Sysno::madvise, [start, length, advice, 0]);
}

/// Passes a signal on, with its value if sigqueue(3) has sent it.
fn pass_on(child: c_int, signal: c_int, info: &libc::siginfo_t) {
    let (child, signal) = (child as usize, signal as usize);
    if info.si_code == libc::SI_QUEUE {
        let info = std::ptr::from_ref(info) as usize;
        call(Sysno::rt_sigqueueinfo, [child, signal, info, 0]);
    } else {
        call(Sysno::kill, [child, signal, 0, 0]);
    }
}

/// Reaps every child that has ended: one SIGCHLD may stand for many. Ends this process
/// when the process has ended; the kernel then kills the rest of the container.
fn reap(child: c_int, passed_stop: &mut bool) {
    const FLAGS: c_int = libc::WNOHANG | libc::WUNTRACED | libc::__WALL;
    loop {
        let mut status: c_int = 0;
        let to = &raw mut status as usize;
        // The first argument is -1: any child.
        let pid = call(Sysno::wait4, [usize::MAX, to, FLAGS as usize, 0]);
        if pid <= 0 {
            return;
        }
        if pid != child as isize {
            continue;
        }
        if !libc::WIFSTOPPED(status) {
            exit(if libc::WIFSIGNALED(status) {
                128 + libc::WTERMSIG(status)
            } else {
                libc::WEXITSTATUS(status)
            });
        }
        match libc::WSTOPSIG(status) {
            libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU if !*passed_stop => resume(child),
            _ => *passed_stop = false,
        }
    }
}

/// Brings the process group of the process to the foreground, as a shell does, and
/// continues it. Without a terminal the first call has no effect.
fn resume(child: c_int) {
    let group = &raw const child as usize;
    call(Sysno::ioctl, [0, libc::TIOCSPGRP as usize, group, 0]);
    call(
        Sysno::kill,
        [(-child) as usize, libc::SIGCONT as usize, 0, 0],
    );
}

fn exit(status: c_int) -> ! {
    loop {
        call(Sysno::exit_group, [status as usize, 0, 0, 0]);
    }
}

/// Makes a system call. The result is negative on error. Every pointer that this file
/// passes is to memory of the size that the call reads or writes.
#[inline(always)]
fn call(number: Sysno, [a, b, c, d]: [usize; 4]) -> isize {
    // SAFETY: as the comment says. The pages that madvise(2) gives back are those of the file.
    unsafe { raw::syscall4(number as usize, a, b, c, d) as isize }
}
