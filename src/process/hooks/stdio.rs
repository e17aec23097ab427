//! Standard input, output and error of a hook: anonymous files (memfd_create(2)).
//!
//! With files instead of pipes, neither the hook nor `rt` ever waits for the other
//! side to read or to write.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::stat::fstat;
use nix::sys::uio::{pread, pwrite};

use crate::sys;

/// The most that an error quotes of each output of a failed hook, in bytes. The end
/// of the output is quoted, because the reason usually stands there.
const MAX_EXCERPT: usize = 1000;

/// Standard output and standard error of a hook.
pub(super) struct Output {
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

impl Output {
    pub(super) fn new() -> nix::Result<Output> {
        Ok(Output {
            stdout: sys::anonymous_file(c"stdout")?,
            stderr: sys::anonymous_file(c"stderr")?,
        })
    }

    /// `, stdout: ..., stderr: ...`, which is appended to the error as runc does; empty
    /// when the hook has written nothing.
    pub(super) fn excerpt(&self) -> String {
        let (stdout, stderr) = (excerpt(self.stdout.as_fd()), excerpt(self.stderr.as_fd()));
        if stdout.is_empty() && stderr.is_empty() {
            return String::new();
        }
        format!(", stdout: {stdout}, stderr: {stderr}")
    }
}

/// An empty standard input, which [`write_state`] fills.
pub(super) fn new_input() -> nix::Result<OwnedFd> {
    sys::anonymous_file(c"state")
}

/// Writes the whole of `state` to `input`. The file offset stays at 0, so that the hook
/// reads it from the start.
pub(super) fn write_state(input: BorrowedFd, state: &[u8]) -> nix::Result<()> {
    let mut written = 0;
    while written < state.len() {
        written += pwrite(input, &state[written..], written as libc::off_t)?;
    }
    Ok(())
}

/// The end of a file, in whole characters and without surrounding space. A file that
/// cannot be read counts as empty.
fn excerpt(file: BorrowedFd) -> String {
    let length = fstat(file).map_or(0, |stat| usize::try_from(stat.st_size).unwrap_or(0));
    let start = length.saturating_sub(MAX_EXCERPT);
    let mut bytes = [0; MAX_EXCERPT];
    let read = pread(file, &mut bytes, start as libc::off_t).unwrap_or(0);
    let text = String::from_utf8_lossy(&bytes[..read]);
    let text = text.trim();
    match start {
        0 => text.to_owned(),
        _ => format!("…{}", text.trim_start_matches(char::REPLACEMENT_CHARACTER)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_long_output_is_quoted() {
        let output = Output::new().unwrap();
        assert_eq!(output.excerpt(), "");
        write_state(output.stdout.as_fd(), b" all is well\n").unwrap();
        let long = format!("{}the end\n", "ü".repeat(5000));
        write_state(output.stderr.as_fd(), long.as_bytes()).unwrap();
        let excerpt = output.excerpt();
        assert!(
            excerpt.starts_with(", stdout: all is well, stderr: …ü"),
            "{excerpt}"
        );
        assert!(
            excerpt.ends_with("üthe end") && excerpt.len() < 2 * MAX_EXCERPT,
            "{excerpt}"
        );
    }
}
