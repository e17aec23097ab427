//! What hooks read and write: anonymous files (memfd_create(2)).
//!
//! Those of init's hooks are made by the runtime, which fills them in when it
//! knows the pid, and reads them when a hook has failed: both sides of the clone
//! hold the same open files.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use nix::sys::stat::{Mode, fstat};
use nix::sys::uio::{pread, pwrite};

use super::Hooks;
use super::run::{Directory, Scene, wait_alone};
use crate::process::{Prepared, Process};
use crate::step::{Cause, Failure, Progress, Step};
use crate::sys;

/// So much of what a failed hook has said becomes part of the error, in bytes:
/// the end of it, where the reason is.
const QUOTED: usize = 1000;

/// What init's hooks will read and write.
pub(crate) struct WiredHooks {
    create_container: Vec<(OwnedFd, Output)>,
    start_container: Vec<OwnedFd>,
}

/// What a hook writes.
pub(super) struct Output {
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

impl Hooks {
    /// Runtime: makes what init's hooks will read and write.
    ///
    /// # Errors
    /// What memfd_create(2) says.
    pub(crate) fn wire(&self) -> Result<WiredHooks> {
        let create = self.create_container.iter();
        let start = self.start_container.iter();
        Ok(WiredHooks {
            create_container: create
                .map(|_| Ok((input()?, Output::new()?)))
                .collect::<nix::Result<_>>()
                .context("hooks.createContainer")?,
            start_container: start
                .map(|_| input())
                .collect::<nix::Result<_>>()
                .context("hooks.startContainer")?,
        })
    }

    /// How many descriptors [`Hooks::wire`] opens.
    pub(crate) fn descriptors(&self) -> u64 {
        (3 * self.create_container.len() + self.start_container.len()) as u64
    }

    /// Init, before it leaves the machine: they begin in the container's root,
    /// with the umask of the runtime.
    pub(crate) fn create_container(
        &self,
        wired: &WiredHooks,
        root: BorrowedFd,
        umask: Mode,
        at: &Progress,
    ) -> Result<(), Cause> {
        let hooks = self.create_container.iter().zip(&wired.create_container);
        for (item, (hook, (input, output))) in hooks.enumerate() {
            at.at(Step::ContainerHook, item);
            let scene = Scene {
                input: input.as_fd(),
                output: Some(output),
                directory: Directory::Open(root),
                umask: Some(umask),
                container: None,
                like: None,
            };
            hook.run_in(&scene, &mut wait_alone)?;
        }
        Ok(())
    }

    /// Init, as the process that it is about to become, with all that this has.
    pub(crate) fn start_container(
        &self,
        wired: &WiredHooks,
        process: (&Process, &Prepared),
        at: &Progress,
    ) -> Result<(), Cause> {
        let hooks = self.start_container.iter().zip(&wired.start_container);
        for (item, (hook, input)) in hooks.enumerate() {
            at.at(Step::StartHook, item);
            let scene = Scene {
                input: input.as_fd(),
                output: None,
                directory: Directory::Parents,
                umask: None,
                container: None,
                like: Some(process),
            };
            hook.run_in(&scene, &mut wait_alone)?;
        }
        Ok(())
    }
}

impl WiredHooks {
    pub(crate) fn is_empty(&self) -> bool {
        self.create_container.is_empty() && self.start_container.is_empty()
    }

    /// Runtime, before init goes on: the state, as it will be when either kind
    /// is called.
    ///
    /// # Errors
    /// What write(2) says.
    pub(crate) fn tell(&self, creating: &[u8], created: &[u8]) -> nix::Result<()> {
        for (input, _) in &self.create_container {
            tell(input.as_fd(), creating)?;
        }
        for input in &self.start_container {
            tell(input.as_fd(), created)?;
        }
        Ok(())
    }

    /// What a hook said that init reports as failed.
    pub(crate) fn said(&self, failure: Failure) -> String {
        let output = match failure.step {
            Step::ContainerHook => self.create_container.get(usize::from(failure.item)),
            _ => None,
        };
        output.map_or_else(String::new, |(_, output)| output.said())
    }
}

impl Output {
    pub(super) fn new() -> nix::Result<Output> {
        Ok(Output {
            stdout: sys::anonymous_file(c"stdout")?,
            stderr: sys::anonymous_file(c"stderr")?,
        })
    }

    /// What to add to the reason, in the words of runc; nothing when nothing was said.
    pub(super) fn said(&self) -> String {
        let (stdout, stderr) = (quote(self.stdout.as_fd()), quote(self.stderr.as_fd()));
        if stdout.is_empty() && stderr.is_empty() {
            return String::new();
        }
        format!(", stdout: {stdout}, stderr: {stderr}")
    }
}

/// An input that is to be filled in by [`tell`].
pub(super) fn input() -> nix::Result<OwnedFd> {
    sys::anonymous_file(c"state")
}

/// Writes all of `state` to an input, which is still read from its start.
pub(super) fn tell(input: BorrowedFd, state: &[u8]) -> nix::Result<()> {
    let mut written = 0;
    while written < state.len() {
        written += pwrite(input, &state[written..], written as libc::off_t)?;
    }
    Ok(())
}

/// The end of a file, whole characters without space around them. What cannot
/// be read was not said.
fn quote(file: BorrowedFd) -> String {
    let length = fstat(file).map_or(0, |stat| usize::try_from(stat.st_size).unwrap_or(0));
    let start = length.saturating_sub(QUOTED);
    let mut bytes = [0; QUOTED];
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
    fn only_the_end_of_much_is_quoted() {
        let output = Output::new().unwrap();
        assert_eq!(output.said(), "");
        tell(output.stdout.as_fd(), b" all is well\n").unwrap();
        let much = format!("{}the end\n", "ü".repeat(5000));
        tell(output.stderr.as_fd(), much.as_bytes()).unwrap();
        let said = output.said();
        assert!(
            said.starts_with(", stdout: all is well, stderr: …ü"),
            "{said}"
        );
        assert!(
            said.ends_with("üthe end") && said.len() < 2 * QUOTED,
            "{said}"
        );
    }
}
