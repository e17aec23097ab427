//! Signals by number, real-time ones included, how children end, and limits of
//! another process.

use std::mem::MaybeUninit;

use nix::sys::wait::WaitPidFlag;
use nix::unistd::Pid;

use super::check;

fn full_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigfillset writes the whole set before it is read.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        set.assume_init()
    }
}

/// Blocks every signal: they are kept for who reads them.
pub(crate) fn block_all() -> nix::Result<()> {
    // SAFETY: the set is whole; the old mask is not asked for.
    let done = unsafe { libc::sigprocmask(libc::SIG_SETMASK, &full_set(), std::ptr::null_mut()) };
    check(done.into())?;
    Ok(())
}

/// Size of the kernel's signal set, in bytes.
const SET: usize = 8;

/// Unblocks all: a container starts with a clean mask, whatever the caller had.
/// The two signals too that the C library keeps to itself and would leave out.
pub(crate) fn unblock_all() -> nix::Result<()> {
    let (none, old) = (0u64, std::ptr::null_mut::<u64>());
    // SAFETY: the kernel reads a set of the size announced, which outlives the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            old,
            SET,
        )
    })?;
    Ok(())
}

/// Gives a signal its default action (rt_sigaction(2)): any signal, also the two
/// that the C library's function refuses.
pub(crate) fn default_signal(number: i32) -> nix::Result<()> {
    // `SIG_DFL`, no flags, no restorer, an empty mask: larger than the kernel's
    // structure on any architecture, and all zeros on each.
    let (action, old) = ([0u64; 8], std::ptr::null_mut::<u64>());
    // SAFETY: the kernel reads the action, which outlives the call; it holds no code.
    check(unsafe { libc::syscall(libc::SYS_rt_sigaction, number, action.as_ptr(), old, SET) })?;
    Ok(())
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Exited(u8),
    Signaled(i32),
}

/// Reaps a child, `pid` or any, however it was made; `None` when `flags` say not
/// to wait and none has ended (wait(2)).
///
/// nix's function takes the end by a real-time signal for an error, after which
/// there is no child to ask about any more.
pub(crate) fn wait(pid: Option<Pid>, flags: WaitPidFlag) -> nix::Result<Option<(Pid, Ended)>> {
    let mut status = 0;
    let flags = (flags | WaitPidFlag::__WALL).bits();
    // SAFETY: the kernel writes one int to `status`, which is ours.
    let pid = unsafe { libc::waitpid(pid.map_or(-1, Pid::as_raw), &raw mut status, flags) };
    let pid = check(pid.into())? as i32;
    let ended = if libc::WIFSIGNALED(status) {
        Ended::Signaled(libc::WTERMSIG(status))
    } else {
        Ended::Exited(libc::WEXITSTATUS(status) as u8)
    };
    Ok((pid > 0).then_some((Pid::from_raw(pid), ended)))
}

/// Sets (soft, hard) of the limit `resource` of the process `pid`, 0 for this
/// one, and returns what held before (prlimit(2)). `None` only asks.
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
    // SAFETY: the new limit is null or outlives the call, the old one is ours to write.
    let done = unsafe { libc::prlimit64(pid.as_raw(), resource, new_ptr, &raw mut old) };
    check(done.into())?;
    Ok((old.rlim_cur, old.rlim_max))
}
