//! The cause of a failure, from CRIU's log.

use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

/// How many bytes of the log are read, from its beginning.
const MAX_LOG: u64 = 16 << 20;

/// Errors after which CRIU goes on.
const HARMLESS: [&str; 1] = ["rlimit: Can't setup RLIMIT_NOFILE for self"];

/// The first error in the log `name` of the directory. `None` without such a file, or without an
/// error in it.
pub(crate) fn cause(directory: BorrowedFd, name: &str) -> Option<String> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = openat(directory, name, flags, Mode::empty()).ok()?;
    let mut bytes = Vec::new();
    File::from(file)
        .take(MAX_LOG)
        .read_to_end(&mut bytes)
        .ok()?;
    first_error(&String::from_utf8_lossy(&bytes))
}

/// The text of `(00.1) Error (criu/file.c:12): text`.
fn first_error(log: &str) -> Option<String> {
    let errors = log.lines().filter_map(|line| {
        let (_, error) = line.split_once("Error (")?;
        error.split_once("): ").map(|(_, text)| text.trim())
    });
    let mut causes = errors.filter(|text| !HARMLESS.iter().any(|known| text.starts_with(known)));
    causes.next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_that_counts_is_the_cause() {
        let log = "(00.09) Warn  (criu/kerndat.c:1290): Can't keep kdat cache\n\
                   (00.09) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: x\n\
                   (00.21) Error (criu/files-reg.c:1790): Can't lookup mount=27 for fd=1\n\
                   (00.28) Error (criu/cr-dump.c:1975): Dumping FAILED.\n";
        assert_eq!(
            first_error(log).as_deref(),
            Some("Can't lookup mount=27 for fd=1")
        );
        assert_eq!(first_error("(00.1) all is well\n"), None);
    }
}
