//! What a caller hands to a container beside standard input, output and error.

mod descriptors;
mod groups;
mod leaks;
mod named;
mod notify;
mod orphans;
mod pidfd;

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;

use libtest_mimic::Trial;

use crate::harness::{Call, Report};

pub(crate) fn tests() -> Vec<Trial> {
    [
        descriptors::tests(),
        groups::tests(),
        leaks::tests(),
        named::tests(),
        notify::tests(),
        pidfd::tests(),
        orphans::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Gives each of the files to the command under a number of its own, without close-on-exec,
/// and nothing that the tests themselves were started with.
#[allow(
    unsafe_code,
    reason = "descriptors get their numbers between fork and exec"
)]
pub(crate) fn with_descriptors(call: Call, files: &[(RawFd, &File)]) -> Call {
    // Out of the way of every number that a test gives.
    let parked: Vec<(RawFd, File)> = files
        .iter()
        .map(|(number, file)| (*number, park(file)))
        .collect();
    let place = move || {
        let cloexec = libc::CLOSE_RANGE_CLOEXEC as libc::c_int;
        // SAFETY: a flag on a descriptor closes none; without the call (Linux 5.10) all stays.
        unsafe { libc::close_range(3, libc::c_uint::MAX, cloexec) };
        for (number, file) in &parked {
            // SAFETY: duplicates a descriptor in the child that is about to exec.
            if unsafe { libc::dup2(file.as_raw_fd(), *number) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: `place` makes only async-signal-safe calls and does not allocate.
    call.with(|command| unsafe { command.pre_exec(place) })
}

/// A copy with a number from 200 on.
fn park(file: &File) -> File {
    let parked = nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(200)).unwrap();
    // SAFETY: the kernel has just opened it for this process, and nobody else knows it.
    #[allow(unsafe_code, reason = "the descriptor is new")]
    unsafe {
        std::os::fd::FromRawFd::from_raw_fd(parked)
    }
}

/// The numbers of the open descriptors, in order.
fn numbers(seen: &Report) -> Vec<u32> {
    let open = seen["fds"].as_object().unwrap().keys();
    let mut numbers: Vec<u32> = open.map(|number| number.parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}
