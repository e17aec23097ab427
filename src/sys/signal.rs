//! Signals by number, real-time ones included, and limits of another process.

use std::mem::MaybeUninit;

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

fn set_mask(how: libc::c_int, set: &libc::sigset_t) -> nix::Result<()> {
    // SAFETY: `set` is a whole set; the old mask is not asked for.
    check(unsafe { libc::sigprocmask(how, set, std::ptr::null_mut()) }.into())?;
    Ok(())
}

/// Blocks every signal, so that [`wait_signal`] receives them one by one.
pub(crate) fn block_all() -> nix::Result<()> {
    set_mask(libc::SIG_SETMASK, &full_set())
}

/// Blocks none: a container starts with a clean mask, whatever the caller had.
pub(crate) fn unblock_all() -> nix::Result<()> {
    set_mask(libc::SIG_UNBLOCK, &full_set())
}

/// Waits for the next blocked signal and returns its number (sigwaitinfo(2)).
pub(crate) fn wait_signal() -> nix::Result<i32> {
    // SAFETY: the set is whole, and no siginfo is asked for.
    let number = unsafe { libc::sigwaitinfo(&full_set(), std::ptr::null_mut()) };
    check(number.into()).map(|number| number as i32)
}

/// Undoes what Rust's start-up does to SIGPIPE, which execve(2) would hand on.
pub(crate) fn default_sigpipe() {
    // SAFETY: SIG_DFL installs no code of ours, and the number is a valid one.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
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
