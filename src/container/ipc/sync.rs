//! The messages between the runtime and init, over one socket pair.
//!
//! ```text
//!   runtime                               init
//!   ───────                               ────
//!   moves init into its cgroups
//!   Go        ──────────────────────────▶ builds the container
//!   calls hooks        ◀───────────────── Mounted   only if there are hooks before the pivot
//!   Go        ──────────────────────────▶ calls hooks, leaves the host's mounts
//!   saves the state    ◀───────────────── Ready     (or Failed: step and cause)
//!   Go        ──────────────────────────▶ run: execve     create: waits on start.sock
//!
//!   rt start, on start.sock:
//!   Go        ──────────────────────────▶
//!             ◀────────────────────────── Ready; calls hooks, execve
//!   "running" ◀────────────────────────── end of file, by close-on-exec
//!   error     ◀────────────────────────── Failed
//!
//!   right before execve, if linux.seccomp has an agent:
//!   gives it to the agent ◀────────────── Listener, with the descriptor
//!   Go        ──────────────────────────▶ execve
//! ```
//!
//! When execve(2) itself fails, init prints the reason to its own standard error and exits as
//! the container's process. For the runtime, the container has run.
//!
//! No other descriptor and no text are sent: init has both since the clone. An end of file in place
//! of a message means that the other side has ended. Until init is ready, the kernel kills it
//! when the runtime ends, because init may block in a system call in which it cannot notice
//! that. With `--debug`, init also sends each step that it begins, with the time.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt::PassCred};
use nix::unistd::{Pid, write};

use crate::log;
use crate::step::{Cause, Failure, Position, Progress, Refusal, Step};
use crate::sys::{self, Received};

/// The first bytes of [`InitMessage::Ready`], [`InitMessage::Mounted`] and [`InitMessage::Listener`]; no
/// step has these numbers.
const READY: u8 = 0xff;
const MOUNTED: u8 = 0xfe;
const LISTENER: u8 = 0xfd;
const GO: [u8; 1] = [1];
/// [`GO`], and a request to send each position.
const GO_WITH_PROGRESS: [u8; 1] = [2];
/// A position, and when it was reached, in nanoseconds since 1970.
const TIMED_POSITION: usize = Position::LENGTH + 8;

/// A message from init to the runtime.
#[derive(Debug)]
pub(crate) enum InitMessage {
    /// Everything is mounted, and the host's mounts can still be reached.
    Mounted,
    /// The container is built. Only startContainer hooks and execve(2) are left.
    Ready,
    /// The seccomp filter is installed, and its agent must get this descriptor before execve(2).
    /// `pid` is the process under the filter.
    Listener {
        listener: OwnedFd,
        pid: Pid,
    },
    Failed(Failure),
    /// The socket is closed: init has ended, or has executed the program.
    Closed,
}

/// The error for a message that init does not send at this point.
pub(crate) const UNEXPECTED_MESSAGE: &str = "init answers out of turn";

/// The runtime's end.
pub(crate) struct RuntimeEnd {
    socket: OwnedFd,
    descriptions: StepDescriptions,
}

/// For each position the place in config.json and the action, for messages.
pub(crate) type StepDescriptions = Vec<(Step, u16, (String, String))>;

/// Init's end.
pub(crate) struct InitEnd {
    socket: Arc<OwnedFd>,
    /// Whether the runtime has asked for each position.
    sends_progress: Cell<bool>,
}

/// One end for each side of the clone. `describe` is called for `--debug` only.
pub(crate) fn pair(
    describe: impl FnOnce() -> StepDescriptions,
) -> nix::Result<(RuntimeEnd, InitEnd)> {
    let (runtime, init) = sys::socketpair()?;
    let mut runtime = RuntimeEnd::connected(runtime);
    runtime.describe_positions_with(describe);
    let init = InitEnd {
        socket: Arc::new(init),
        sends_progress: Cell::new(log::debug_enabled()),
    };
    Ok((runtime, init))
}

impl RuntimeEnd {
    /// The end of `rt start`, from a connection to start.sock.
    pub(crate) fn connected(socket: OwnedFd) -> RuntimeEnd {
        RuntimeEnd {
            socket,
            descriptions: StepDescriptions::new(),
        }
    }

    /// For `--debug`: logs init's positions with these descriptions.
    pub(crate) fn describe_positions_with(&mut self, describe: impl FnOnce() -> StepDescriptions) {
        if log::debug_enabled() {
            self.descriptions = describe();
        }
    }

    /// Tells init to continue.
    ///
    /// # Errors
    /// `EPIPE` when init has ended.
    pub(crate) fn go(&self) -> nix::Result<()> {
        let go = if log::debug_enabled() {
            GO_WITH_PROGRESS
        } else {
            GO
        };
        sys::send(self.socket.as_fd(), &go)
    }

    /// Asks the kernel for the sender of a descriptor, for [`InitMessage::Listener`].
    pub(crate) fn expect_listener(&self) -> nix::Result<()> {
        setsockopt(&self.socket, PassCred, &true)
    }

    /// Waits for a message from init.
    ///
    /// # Errors
    /// `EPROTO` for bytes that are no message.
    pub(crate) fn receive(&self) -> nix::Result<InitMessage> {
        let mut bytes = [0; TIMED_POSITION + 1];
        let Received {
            length,
            descriptor,
            sender,
        } = loop {
            match sys::recv_with_descriptor(self.socket.as_fd(), &mut bytes)? {
                received if received.length == TIMED_POSITION => self.log_position(&bytes)?,
                received => break received,
            }
        };
        if let ([LISTENER], Some((listener, pid))) = (&bytes[..length], descriptor.zip(sender)) {
            return Ok(InitMessage::Listener { listener, pid });
        }
        match bytes[..length] {
            [] => Ok(InitMessage::Closed),
            [READY] => Ok(InitMessage::Ready),
            [MOUNTED] => Ok(InitMessage::Mounted),
            [a, b, c, d, e, f, g, h] => Failure::decode([a, b, c, d, e, f, g, h])
                .map(InitMessage::Failed)
                .ok_or(Errno::EPROTO),
            _ => Err(Errno::EPROTO),
        }
    }

    fn log_position(&self, bytes: &[u8; TIMED_POSITION + 1]) -> nix::Result<()> {
        let [step, low, high, a, b, c, d, e, f, g, h, _] = *bytes;
        let position = Position::decode([step, low, high]).ok_or(Errno::EPROTO)?;
        let time = Duration::from_nanos(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
        log::debug_at(
            SystemTime::UNIX_EPOCH + time,
            &position_text(&self.descriptions, position),
        );
        Ok(())
    }
}

impl AsFd for RuntimeEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl InitEnd {
    /// From a connection that was accepted on start.sock.
    pub(crate) fn accepted(socket: OwnedFd) -> InitEnd {
        InitEnd {
            socket: Arc::new(socket),
            sends_progress: Cell::new(false),
        }
    }

    /// Sends each position from the next one on, if the runtime has asked for that.
    pub(crate) fn follow(&self, at: &Progress) {
        if self.sends_progress.get() {
            let socket = self.socket.clone();
            at.report_to(Some(Box::new(move |position| {
                send_position(&socket, position)
            })));
        }
    }

    /// Does [`InitEnd::die_with_runtime`], and waits until the runtime says to continue: that alone notices
    /// whether the runtime has ended.
    ///
    /// # Errors
    /// As [`InitEnd::wait_for_go`].
    pub(crate) fn wait_for_first_go(&self) -> Result<(), Cause> {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        self.wait_for_go()
    }

    /// Waits until the runtime says to continue.
    ///
    /// # Errors
    /// [`Refusal::RuntimeEnded`] when the runtime has ended.
    pub(crate) fn wait_for_go(&self) -> Result<(), Cause> {
        let mut bytes = [0; GO.len() + 1];
        match sys::recv(self.socket.as_fd(), &mut bytes)? {
            0 => Err(Refusal::RuntimeEnded.into()),
            1 if [GO, GO_WITH_PROGRESS].contains(&[bytes[0]]) => {
                self.sends_progress.set([bytes[0]] == GO_WITH_PROGRESS);
                Ok(())
            }
            _ => Err(Errno::EPROTO.into()),
        }
    }

    /// Has the kernel kill this process when the runtime ends, whatever system call it blocks
    /// in. The kernel resets this when the process changes its ids. The runtime is the parent
    /// even if an intermediate process has cloned this one.
    ///
    /// # Errors
    /// [`Refusal::RuntimeEnded`] when the runtime has ended.
    pub(crate) fn die_with_runtime(&self) -> Result<(), Cause> {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // If the runtime ended before the prctl(2), there is no signal. getppid(2) cannot tell,
        // because the runtime is outside of this pid namespace; but its socket is closed.
        let mut end = [PollFd::new(self.socket.as_fd(), PollFlags::empty())];
        poll(&mut end, PollTimeout::ZERO)?;
        match end[0].any() {
            Some(false) => Ok(()),
            Some(true) | None => Err(Refusal::RuntimeEnded.into()),
        }
    }

    /// Sends [`InitMessage::Ready`]. From here on this process outlives the runtime.
    ///
    /// # Errors
    /// When the runtime has ended.
    pub(crate) fn ready_to_outlive_runtime(&self) -> Result<(), Cause> {
        prctl::set_pdeathsig(None)?;
        self.ready()
    }

    /// Sends [`InitMessage::Ready`].
    pub(crate) fn ready(&self) -> Result<(), Cause> {
        sys::send(self.socket.as_fd(), &[READY])?;
        Ok(())
    }

    /// Sends [`InitMessage::Mounted`].
    pub(crate) fn mounted(&self) -> Result<(), Cause> {
        sys::send(self.socket.as_fd(), &[MOUNTED])?;
        Ok(())
    }

    /// For [`crate::process::Process::exec`]: the socket for a failure, and the way of a seccomp listener.
    pub(crate) fn to_runtime(
        &self,
    ) -> (
        BorrowedFd<'_>,
        impl FnOnce(OwnedFd) -> Result<(), Cause> + '_,
    ) {
        (self.as_fd(), |listener| self.hand_over(listener))
    }

    /// Sends [`InitMessage::Listener`], and waits until the agent has the listener.
    ///
    /// # Errors
    /// [`Refusal::RuntimeEnded`] when the runtime has ended, because the agent did not get it.
    fn hand_over(&self, listener: OwnedFd) -> Result<(), Cause> {
        sys::send_descriptor(self.socket.as_fd(), &[LISTENER], listener.as_fd())?;
        drop(listener);
        self.wait_for_go()
    }

    /// Sends the failure. If that fails, the runtime sees the end of file instead.
    pub(crate) fn send_failure(&self, failure: Failure) {
        let message = failure.encode();
        if sys::send(self.socket.as_fd(), &message).is_err() {
            // The container's seccomp filter may be in force, and forbid sendto(2).
            let _written = write(self.socket.as_fd(), &message);
        }
    }
}

impl AsFd for InitEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// For `--debug`: logs the steps that the runtime takes itself.
pub(crate) fn log_progress(at: &Progress, describe: impl FnOnce() -> StepDescriptions) {
    if log::debug_enabled() {
        let descriptions = describe();
        at.report_to(Some(Box::new(move |position| {
            log::debug(&position_text(&descriptions, position))
        })));
    }
}

fn position_text(descriptions: &StepDescriptions, at: Position) -> String {
    let Position { step, item } = at;
    let known = descriptions
        .iter()
        .find(|known| (known.0, known.1) == (step, item));
    match known {
        Some((_, _, (place, what))) => format!("{step:?}: {place}: {what}"),
        None if item == 0 => format!("{step:?}"),
        None => format!("{step:?} {item}"),
    }
}

/// Allocates nothing, because the process's limits may be in force. An error is ignored: the
/// runtime may have ended.
fn send_position(socket: &OwnedFd, position: Position) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_nanos() as u64);
    let mut message = [0; TIMED_POSITION];
    message[..Position::LENGTH].copy_from_slice(&position.encode());
    message[Position::LENGTH..].copy_from_slice(&now.to_le_bytes());
    sys::send(socket.as_fd(), &message).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_in_the_documented_order() {
        let (runtime, init) = pair(StepDescriptions::new).unwrap();
        let init_thread = std::thread::spawn(move || {
            init.wait_for_go().unwrap();
            init.mounted().unwrap();
            init.wait_for_go().unwrap();
            init.ready().unwrap();
            init.wait_for_go().unwrap();
            init.send_failure(Failure {
                step: Step::Exec,
                item: 3,
                cause: Errno::ENOEXEC.into(),
            });
        });
        runtime.go().unwrap();
        assert!(matches!(runtime.receive(), Ok(InitMessage::Mounted)));
        runtime.go().unwrap();
        assert!(matches!(runtime.receive(), Ok(InitMessage::Ready)));
        runtime.go().unwrap();
        let failure = Failure {
            step: Step::Exec,
            item: 3,
            cause: Errno::ENOEXEC.into(),
        };
        assert!(matches!(runtime.receive(), Ok(InitMessage::Failed(sent)) if sent == failure));
        assert!(matches!(runtime.receive(), Ok(InitMessage::Closed)));
        init_thread.join().unwrap();
        assert_eq!(runtime.go(), Err(Errno::EPIPE));
    }

    #[test]
    fn positions_are_logged_between_messages() {
        let (runtime, init) = pair(StepDescriptions::new).unwrap();
        let at = Progress::new();
        init.sends_progress.set(true);
        init.follow(&at);
        at.enter(Step::Signals);
        init.ready().unwrap();
        at.at(Step::Mount, 3);
        drop((init, at));
        assert!(matches!(runtime.receive(), Ok(InitMessage::Ready)));
        assert!(matches!(runtime.receive(), Ok(InitMessage::Closed)));
    }

    #[test]
    fn init_notices_that_the_runtime_has_ended() {
        let (runtime, init) = pair(StepDescriptions::new).unwrap();
        drop(runtime);
        assert_eq!(init.wait_for_go(), Err(Refusal::RuntimeEnded.into()));
        assert!(init.ready().is_err());
    }

    #[test]
    fn unknown_bytes_are_refused() {
        let (runtime, init) = pair(StepDescriptions::new).unwrap();
        sys::send(init.socket.as_fd(), &[7, 7]).unwrap();
        assert!(matches!(runtime.receive(), Err(Errno::EPROTO)));
        sys::send(runtime.socket.as_fd(), &[9]).unwrap();
        assert_eq!(init.wait_for_go(), Err(Errno::EPROTO.into()));
    }
}
