//! What a container inherits from the caller besides standard input, output and error.

mod descriptor_paths;
mod descriptors;
mod groups;
mod leaks;
mod notify;
mod orphans;
mod pidfd;

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;

use crate::runner::Test;

use crate::harness::{Call, Report};

pub(crate) fn tests() -> Vec<Test> {
    [
        descriptors::tests(),
        groups::tests(),
        leaks::tests(),
        descriptor_paths::tests(),
        notify::tests(),
        pidfd::tests(),
        orphans::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Passes each file to the command as the descriptor with the given number, and none of the
/// descriptors that the test suite itself has inherited.
#[allow(
    unsafe_code,
    reason = "descriptors are duplicated between fork and exec"
)]
pub(crate) fn with_inherited_descriptors(call: Call, files: &[(RawFd, &File)]) -> Call {
    // The duplicates have numbers from 200 on, so that no `dup2` below closes one of them.
    let duplicates: Vec<(RawFd, File)> = files
        .iter()
        .map(|(number, file)| (*number, duplicate(file)))
        .collect();
    let install = move || {
        let cloexec = libc::CLOSE_RANGE_CLOEXEC as libc::c_int;
        // SAFETY: the call sets flags and closes no descriptor. On Linux 5.10, which lacks
        // CLOSE_RANGE_CLOEXEC, it fails and changes nothing.
        unsafe { libc::close_range(3, libc::c_uint::MAX, cloexec) };
        for (number, file) in &duplicates {
            // SAFETY: the call takes numbers only, in a child that is about to exec.
            if unsafe { libc::dup2(file.as_raw_fd(), *number) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: `install` makes only async-signal-safe calls and does not allocate.
    call.with(|command| unsafe { command.pre_exec(install) })
}

/// A duplicate of a descriptor, with a number from 200 on.
fn duplicate(file: &File) -> File {
    let duplicate = nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(200)).unwrap();
    // SAFETY: the kernel has just created the descriptor, and nothing else owns it.
    #[allow(unsafe_code, reason = "the descriptor is new")]
    unsafe {
        std::os::fd::FromRawFd::from_raw_fd(duplicate)
    }
}

/// The sorted numbers of the open descriptors in the probe's report.
fn numbers(seen: &Report) -> Vec<u32> {
    let open = seen["fds"].as_object().unwrap().keys();
    let mut numbers: Vec<u32> = open.map(|number| number.parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}
