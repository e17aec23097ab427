//! What the runtime and init say to each other, over one socket pair.
//!
//! ```text
//!   runtime                               init
//!   ───────                               ────
//!   puts it into its cgroups
//!   Go        ──────────────────────────▶ builds the container
//!   calls hooks        ◀───────────────── Mounted   only if there are hooks before the pivot
//!   Go        ──────────────────────────▶ calls hooks, leaves the machine
//!   sets limits, saves the state ◀─────── Ready     (or Failed: what, why)
//!   Go        ──────────────────────────▶ run: execve     create: waits on start.sock
//!
//!   rt start, on start.sock:
//!   Go        ──────────────────────────▶
//!             ◀────────────────────────── Ready; calls hooks, execve
//!   "running" ◀────────────────────────── end of file, by close-on-exec
//!   why not   ◀────────────────────────── Failed
//! ```
//!
//! No descriptors travel and no text: init has both since the clone. An end of
//! file where a message is due means that the other one is gone. Until it is
//! ready, init is killed when the runtime ends, for it may hang in a call that
//! lets it read nothing.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::write;

use crate::step::{Cause, Failure, Refusal};
use crate::sys;

/// The first bytes of [`FromInit::Ready`] and [`FromInit::Mounted`]; no step has
/// these numbers.
const READY: u8 = 0xff;
const MOUNTED: u8 = 0xfe;
const GO: [u8; 1] = [1];

/// What init says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FromInit {
    /// All is mounted, and the machine's mounts are still in sight.
    Mounted,
    /// All is built; only hooks and execve(2) are left.
    Ready,
    Failed(Failure),
    /// It is gone, or has become the container's process.
    Gone,
}

/// The end that the runtime holds.
pub(crate) struct RuntimeEnd(OwnedFd);

/// The end that init holds.
pub(crate) struct InitEnd(OwnedFd);

/// A pair of ends, one for each side of the clone.
pub(crate) fn pair() -> nix::Result<(RuntimeEnd, InitEnd)> {
    let (runtime, init) = sys::socketpair()?;
    Ok((RuntimeEnd(runtime), InitEnd(init)))
}

impl RuntimeEnd {
    /// The end of a connection to start.sock.
    pub(crate) fn connected(socket: OwnedFd) -> RuntimeEnd {
        RuntimeEnd(socket)
    }

    /// # Errors
    /// `EPIPE` when init is gone.
    pub(crate) fn go(&self) -> nix::Result<()> {
        sys::send(self.0.as_fd(), &GO)
    }

    /// # Errors
    /// `EPROTO` for bytes that no init sends.
    pub(crate) fn receive(&self) -> nix::Result<FromInit> {
        let mut bytes = [0; Failure::LENGTH + 1];
        let length = sys::recv(self.0.as_fd(), &mut bytes)?;
        match bytes[..length] {
            [] => Ok(FromInit::Gone),
            [READY] => Ok(FromInit::Ready),
            [MOUNTED] => Ok(FromInit::Mounted),
            [a, b, c, d, e, f, g, h] => Failure::decode([a, b, c, d, e, f, g, h])
                .map(FromInit::Failed)
                .ok_or(Errno::EPROTO),
            _ => Err(Errno::EPROTO),
        }
    }
}

impl InitEnd {
    /// The end of a connection that start.sock accepted.
    pub(crate) fn accepted(socket: OwnedFd) -> InitEnd {
        InitEnd(socket)
    }

    /// # Errors
    /// [`Refusal::Abandoned`] when the runtime is gone.
    pub(crate) fn wait_for_go(&self) -> Result<(), Cause> {
        let mut bytes = [0; GO.len() + 1];
        match sys::recv(self.0.as_fd(), &mut bytes)? {
            0 => Err(Refusal::Abandoned.into()),
            1 if bytes[..1] == GO => Ok(()),
            _ => Err(Errno::EPROTO.into()),
        }
    }

    /// From here on this process is killed when the runtime ends, until it changes
    /// its ids or is [`InitEnd::built`]: whatever it hangs in, it does not
    /// hang there for ever. Its parent is the runtime, also if a forerunner has
    /// cloned it.
    ///
    /// # Errors
    /// [`Refusal::Abandoned`] when the runtime is gone.
    pub(crate) fn end_with_runtime(&self) -> Result<(), Cause> {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // One that ended before sends no signal. The number of a parent outside of
        // this pid namespace says nothing, but it has closed its end (poll(2)).
        let mut end = [PollFd::new(self.0.as_fd(), PollFlags::empty())];
        poll(&mut end, PollTimeout::ZERO)?;
        match end[0].any() {
            Some(false) => Ok(()),
            Some(true) | None => Err(Refusal::Abandoned.into()),
        }
    }

    /// Ready, and in need of the runtime no longer. One that is gone is noticed
    /// all the same.
    pub(crate) fn built(&self) -> Result<(), Cause> {
        prctl::set_pdeathsig(None)?;
        self.ready()
    }

    pub(crate) fn ready(&self) -> Result<(), Cause> {
        sys::send(self.0.as_fd(), &[READY])?;
        Ok(())
    }

    pub(crate) fn mounted(&self) -> Result<(), Cause> {
        sys::send(self.0.as_fd(), &[MOUNTED])?;
        Ok(())
    }

    /// Says what went wrong to whoever listens. Nobody can be told if that
    /// fails: the runtime then sees the end of the socket.
    pub(crate) fn failed(&self, failure: Failure) {
        let message = failure.encode();
        if sys::send(self.0.as_fd(), &message).is_err() {
            // The process's own filter may be in force, and allow no sockets.
            let _written = write(&self.0, &message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::Step;

    #[test]
    fn the_picture_above_holds() {
        let (runtime, init) = pair().unwrap();
        let inside = std::thread::spawn(move || {
            init.wait_for_go().unwrap();
            init.mounted().unwrap();
            init.wait_for_go().unwrap();
            init.ready().unwrap();
            init.wait_for_go().unwrap();
            init.failed(Failure {
                step: Step::Exec,
                item: 3,
                cause: Errno::ENOEXEC.into(),
            });
        });
        runtime.go().unwrap();
        assert_eq!(runtime.receive(), Ok(FromInit::Mounted));
        runtime.go().unwrap();
        assert_eq!(runtime.receive(), Ok(FromInit::Ready));
        runtime.go().unwrap();
        assert_eq!(
            runtime.receive(),
            Ok(FromInit::Failed(Failure {
                step: Step::Exec,
                item: 3,
                cause: Errno::ENOEXEC.into()
            }))
        );
        assert_eq!(runtime.receive(), Ok(FromInit::Gone));
        inside.join().unwrap();
        assert_eq!(runtime.go(), Err(Errno::EPIPE));
    }

    #[test]
    fn a_lost_runtime_is_noticed() {
        let (runtime, init) = pair().unwrap();
        drop(runtime);
        assert_eq!(init.wait_for_go(), Err(Refusal::Abandoned.into()));
        assert!(init.ready().is_err());
    }

    #[test]
    fn foreign_bytes_are_refused() {
        let (runtime, init) = pair().unwrap();
        sys::send(init.0.as_fd(), &[7, 7]).unwrap();
        assert_eq!(runtime.receive(), Err(Errno::EPROTO));
        sys::send(runtime.0.as_fd(), &[9]).unwrap();
        assert_eq!(init.wait_for_go(), Err(Errno::EPROTO.into()));
    }
}
