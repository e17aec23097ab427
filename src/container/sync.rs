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
//! When execve(2) itself has failed, init has said why as the container's process,
//! on its own standard error, and ends as that: to the runtime it has run.
//!
//! No descriptors travel and no text: init has both since the clone. An end of
//! file where a message is due means that the other one is gone. Until it is
//! ready, init is killed when the runtime ends, for it may hang in a call that
//! lets it read nothing. For `--debug` init also says each position, with the time,
//! between all of these.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::write;

use crate::log;
use crate::step::{Cause, Failure, Position, Progress, Refusal, Step};
use crate::sys;

/// The first bytes of [`FromInit::Ready`] and [`FromInit::Mounted`]; no step has
/// these numbers.
const READY: u8 = 0xff;
const MOUNTED: u8 = 0xfe;
const GO: [u8; 1] = [1];
/// [`GO`], and tell each position.
const GO_AND_TELL: [u8; 1] = [2];
/// A position, and when it was reached, in nanoseconds since 1970.
const TOLD: usize = Position::LENGTH + 8;

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
pub(crate) struct RuntimeEnd {
    socket: OwnedFd,
    words: StepDescriptions,
}

/// What positions are about: a place, and what is done there.
pub(crate) type StepDescriptions = Vec<(Step, u16, (String, String))>;

/// The end that init holds.
pub(crate) struct InitEnd {
    socket: Arc<OwnedFd>,
    /// The runtime wants to hear each position.
    tells: Cell<bool>,
}

/// A pair of ends, one for each side of the clone; `words` as for [`RuntimeEnd::explain`].
pub(crate) fn pair(words: impl FnOnce() -> StepDescriptions) -> nix::Result<(RuntimeEnd, InitEnd)> {
    let (runtime, init) = sys::socketpair()?;
    let mut runtime = RuntimeEnd::connected(runtime);
    runtime.explain(words);
    let init = InitEnd {
        socket: Arc::new(init),
        tells: Cell::new(log::debugs()),
    };
    Ok((runtime, init))
}

impl RuntimeEnd {
    /// The end of a connection to start.sock.
    pub(crate) fn connected(socket: OwnedFd) -> RuntimeEnd {
        RuntimeEnd {
            socket,
            words: StepDescriptions::new(),
        }
    }

    /// For `--debug`, which says where init is: in these words.
    pub(crate) fn explain(&mut self, words: impl FnOnce() -> StepDescriptions) {
        if log::debugs() {
            self.words = words();
        }
    }

    /// # Errors
    /// `EPIPE` when init is gone.
    pub(crate) fn go(&self) -> nix::Result<()> {
        let go = if log::debugs() { GO_AND_TELL } else { GO };
        sys::send(self.socket.as_fd(), &go)
    }

    /// # Errors
    /// `EPROTO` for bytes that no init sends.
    pub(crate) fn receive(&self) -> nix::Result<FromInit> {
        let mut bytes = [0; TOLD + 1];
        let length = loop {
            match sys::recv(self.socket.as_fd(), &mut bytes)? {
                TOLD => self.say(&bytes)?,
                length => break length,
            }
        };
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

    fn say(&self, bytes: &[u8; TOLD + 1]) -> nix::Result<()> {
        let [step, low, high, a, b, c, d, e, f, g, h, _] = *bytes;
        let position = Position::decode([step, low, high]).ok_or(Errno::EPROTO)?;
        let time = Duration::from_nanos(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
        log::debug_at(SystemTime::UNIX_EPOCH + time, &text(&self.words, position));
        Ok(())
    }
}

impl AsFd for RuntimeEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl InitEnd {
    /// The end of a connection that start.sock accepted.
    pub(crate) fn accepted(socket: OwnedFd) -> InitEnd {
        InitEnd {
            socket: Arc::new(socket),
            tells: Cell::new(false),
        }
    }

    /// Has the runtime told of each position from the next one on, if it wants that.
    pub(crate) fn follow(&self, at: &Progress) {
        if self.tells.get() {
            let socket = self.socket.clone();
            at.tell(Some(Box::new(move |position| tell(&socket, position))));
        }
    }

    /// # Errors
    /// [`Refusal::Abandoned`] when the runtime is gone.
    pub(crate) fn wait_for_go(&self) -> Result<(), Cause> {
        let mut bytes = [0; GO.len() + 1];
        match sys::recv(self.socket.as_fd(), &mut bytes)? {
            0 => Err(Refusal::Abandoned.into()),
            1 if [GO, GO_AND_TELL].contains(&[bytes[0]]) => {
                self.tells.set([bytes[0]] == GO_AND_TELL);
                Ok(())
            }
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
        let mut end = [PollFd::new(self.socket.as_fd(), PollFlags::empty())];
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
        sys::send(self.socket.as_fd(), &[READY])?;
        Ok(())
    }

    pub(crate) fn mounted(&self) -> Result<(), Cause> {
        sys::send(self.socket.as_fd(), &[MOUNTED])?;
        Ok(())
    }

    /// Says what went wrong to whoever listens. Nobody can be told if that
    /// fails: the runtime then sees the end of the socket.
    pub(crate) fn failed(&self, failure: Failure) {
        let message = failure.encode();
        if sys::send(self.socket.as_fd(), &message).is_err() {
            // The process's own filter may be in force, and allow no sockets.
            let _written = write(self.socket.as_fd(), &message);
        }
    }
}

impl AsFd for InitEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// For `--debug`, which says where the runtime is, in a step of its own: in these words.
pub(crate) fn follow(at: &Progress, words: impl FnOnce() -> StepDescriptions) {
    if log::debugs() {
        let words = words();
        at.tell(Some(Box::new(move |position| {
            log::debug(&text(&words, position))
        })));
    }
}

fn text(words: &StepDescriptions, at: Position) -> String {
    let Position { step, item } = at;
    let known = words
        .iter()
        .find(|known| (known.0, known.1) == (step, item));
    match known {
        Some((_, _, (place, what))) => format!("{step:?}: {place}: {what}"),
        None if item == 0 => format!("{step:?}"),
        None => format!("{step:?} {item}"),
    }
}

/// Without memory or anything else that the process's limits could refuse. A
/// runtime that is gone need not hear it.
fn tell(socket: &OwnedFd, position: Position) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_nanos() as u64);
    let mut message = [0; TOLD];
    message[..Position::LENGTH].copy_from_slice(&position.encode());
    message[Position::LENGTH..].copy_from_slice(&now.to_le_bytes());
    sys::send(socket.as_fd(), &message).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_above_holds() {
        let (runtime, init) = pair(StepDescriptions::new).unwrap();
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
    fn positions_come_between_all_else() {
        let (runtime, init) = pair(StepDescriptions::new).unwrap();
        let at = Progress::new();
        init.tells.set(true);
        init.follow(&at);
        at.enter(Step::Signals);
        init.ready().unwrap();
        at.at(Step::Mount, 3);
        drop((init, at));
        assert_eq!(runtime.receive(), Ok(FromInit::Ready));
        assert_eq!(runtime.receive(), Ok(FromInit::Gone));
    }

    #[test]
    fn a_lost_runtime_is_noticed() {
        let (runtime, init) = pair(StepDescriptions::new).unwrap();
        drop(runtime);
        assert_eq!(init.wait_for_go(), Err(Refusal::Abandoned.into()));
        assert!(init.ready().is_err());
    }

    #[test]
    fn foreign_bytes_are_refused() {
        let (runtime, init) = pair(StepDescriptions::new).unwrap();
        sys::send(init.socket.as_fd(), &[7, 7]).unwrap();
        assert_eq!(runtime.receive(), Err(Errno::EPROTO));
        sys::send(runtime.socket.as_fd(), &[9]).unwrap();
        assert_eq!(init.wait_for_go(), Err(Errno::EPROTO.into()));
    }
}
