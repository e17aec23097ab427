//! Signals by number, including real-time signals, waiting for children, and resource
//! limits of another process.

use std::mem::MaybeUninit;

use nix::sys::wait::WaitPidFlag;
use nix::unistd::Pid;

use super::check;

fn full_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigfillset(3) initializes the whole set before it is read.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        set.assume_init()
    }
}

/// Blocks every signal, so that signals stay pending until they are read.
pub(crate) fn block_all() -> nix::Result<()> {
    // SAFETY: the new mask is initialized, and the pointer for the old one is null.
    let done = unsafe { libc::sigprocmask(libc::SIG_SETMASK, &full_set(), std::ptr::null_mut()) };
    check(done.into())?;
    Ok(())
}

/// Size of the kernel's signal set, in bytes.
const SET_SIZE: usize = 8;

/// Unblocks every signal, so that a container does not inherit the caller's mask.
/// This includes the two signals that the C library reserves and does not unblock.
pub(crate) fn unblock_all() -> nix::Result<()> {
    set_mask(0)
}

/// Blocks every signal, including the two that the C library reserves.
pub(crate) fn block_all_and_reserved() -> nix::Result<()> {
    set_mask(u64::MAX)
}

/// Sets the signal mask (rt_sigprocmask(2)). Bit n stands for signal n + 1.
fn set_mask(mask: u64) -> nix::Result<()> {
    let old = std::ptr::null_mut::<u64>();
    // SAFETY: the kernel reads a set of the size that is passed, and it outlives the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            old,
            SET_SIZE,
        )
    })?;
    Ok(())
}

/// Resets a signal to its default action (rt_sigaction(2)). This works for the two
/// signals that the C library reserves as well.
pub(crate) fn default_signal(number: i32) -> nix::Result<()> {
    // `SIG_DFL`, no flags, no restorer and an empty mask are all zeros on every
    // architecture, and the kernel's structure is no larger than this on any.
    let (action, old) = ([0u64; 8], std::ptr::null_mut::<u64>());
    // SAFETY: the kernel reads the action, which outlives the call and installs no handler.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            number,
            action.as_ptr(),
            old,
            SET_SIZE,
        )
    })?;
    Ok(())
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Exited(u8),
    Signaled(i32),
}

/// Waits for the child `pid`, or for any child, and reaps it, however it was cloned
/// (wait(2), `__WALL`). `None` if `flags` contain `WNOHANG` and no child has ended.
///
/// nix's function returns an error if the child was killed by a real-time signal, and
/// by then the child is reaped and its status lost.
pub(crate) fn wait(pid: Option<Pid>, flags: WaitPidFlag) -> nix::Result<Option<(Pid, Ended)>> {
    let mut status = 0;
    let flags = (flags | WaitPidFlag::__WALL).bits();
    // SAFETY: the kernel writes one int to `status`.
    let pid = unsafe { libc::waitpid(pid.map_or(-1, Pid::as_raw), &raw mut status, flags) };
    let pid = check(pid.into())? as i32;
    let ended = if libc::WIFSIGNALED(status) {
        Ended::Signaled(libc::WTERMSIG(status))
    } else {
        Ended::Exited(libc::WEXITSTATUS(status) as u8)
    };
    Ok((pid > 0).then_some((Pid::from_raw(pid), ended)))
}

/// Sets the soft and the hard limit on `resource` for the process `pid`, or for this
/// process if `pid` is 0, and returns the previous ones (prlimit(2)). If `limit` is
/// `None`, they stay unchanged.
pub(crate) fn prlimit(
    pid: Pid,
    resource: u32,
    limit: Option<(u64, u64)>,
) -> nix::Result<(u64, u64)> {
    let new = limit.map(|(soft, hard)| libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    });
    let mut old = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let new_ptr = new.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the pointer to the new limit is null or valid during the call, and the kernel
    // writes the old limit to `old`.
    let done = unsafe { libc::prlimit64(pid.as_raw(), resource, new_ptr, &raw mut old) };
    check(done.into())?;
    Ok((old.rlim_cur, old.rlim_max))
}
