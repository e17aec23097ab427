//! Nothing but 0, 1 and 2 survives execve(2) (CVE-2024-21626).

use nix::errno::Errno;

use crate::sys;
use crate::trusted_proc::Proc;

/// The first descriptor that is not one of the three.
const FIRST: u32 = 3;

/// Marks every other descriptor close-on-exec.
pub(super) fn close_on_exec(proc: &Proc) -> nix::Result<()> {
    match sys::close_range_cloexec(FIRST) {
        // Linux 5.10 knows the call but not the flag; a sandbox may know neither.
        Err(Errno::EINVAL | Errno::ENOSYS | Errno::EPERM) => mark_each(proc),
        done => done,
    }
}

fn mark_each(proc: &Proc) -> nix::Result<()> {
    let slots = slots(&proc.read("self/status")?).ok_or(Errno::EINVAL)?;
    for fd in FIRST as i32..slots {
        match sys::set_cloexec(fd) {
            Ok(()) | Err(Errno::EBADF) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The size of the table of descriptors, above which none is open: `FDSize` in
/// /proc/PID/status (proc(5)).
fn slots(status: &str) -> Option<i32> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("FDSize:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn the_table_s_size_is_read() {
        assert_eq!(slots("Name:\tx\nFDSize:\t256\nGroups:\t0 \n"), Some(256));
        assert_eq!(slots("Name:\tx\n"), None);
    }

    #[test]
    fn without_close_range_each_is_marked() {
        let proc = Proc::open().unwrap();
        let (open, _other) = nix::unistd::pipe().unwrap();
        let flags = || nix::fcntl::fcntl(&open, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags(), 0);
        assert!(open.as_raw_fd() >= FIRST as i32);
        mark_each(&proc).unwrap();
        assert_eq!(flags(), libc::FD_CLOEXEC);
    }
}
