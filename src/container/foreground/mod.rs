//! A command that stays until the container's process ends: it forwards signals, reaps all
//! child processes, relays the terminal if there is one, and ends with the same exit status.
//!
//! It waits in one poll(2) for everything.

mod relay;
mod terminal;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Error, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::WaitPidFlag;
use nix::unistd::{Pid, getpid};

pub(crate) use relay::Relay;
pub(crate) use terminal::{CallerTerminal, ConsoleCommand, ConsoleSocket};

use crate::container::ipc::{InitMessage, NotifyProxy, RuntimeEnd};
use crate::container::signals::NON_FATAL;
use crate::log;
use crate::process::{Wait, poll_fds};
use crate::sys::{self, Ended};

/// Signals that are for `rt` itself: SIGCHLD for its children, SIGWINCH for its terminal, and
/// SIGURG for its sockets.
const NOT_FORWARDED: [i32; 3] = [libc::SIGCHLD, libc::SIGWINCH, libc::SIGURG];

/// Everything that the command waits for.
pub(crate) struct Foreground {
    signals: SignalFd,
    /// Signals that arrived before there was a process to forward them to.
    pending: Vec<i32>,
    /// A child has ended and has not been reaped.
    child_ended: bool,
    relay: Option<Relay>,
    notify: Option<NotifyProxy>,
}

/// A fatal signal arrived before there was a process to forward it to.
#[derive(Debug)]
pub(crate) struct Interrupted(i32);

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match Signal::try_from(self.0) {
            Ok(signal) => write!(f, "ended by {signal}"),
            Err(_) => write!(f, "ended by signal {}", self.0),
        }
    }
}

impl std::error::Error for Interrupted {}

/// Waits for the next message from init, in the foreground or not.
pub(crate) fn receive(
    end: &RuntimeEnd,
    foreground: &mut Option<Foreground>,
) -> Result<InitMessage> {
    match foreground {
        Some(foreground) => foreground.receive(end),
        None => Ok(end.receive()?),
    }
}

/// Calls hooks, in the foreground or not. A foreground command handles signals meanwhile: it
/// forwards them to `process`, or without a process aborts the hooks on a fatal signal.
pub(crate) fn call_hooks(
    foreground: &mut Option<Foreground>,
    process: Option<BorrowedFd>,
    call: impl FnOnce(&mut Wait) -> Result<()>,
) -> Result<()> {
    let Some(foreground) = foreground else {
        return call(&mut poll_fds);
    };
    let mut failed = None;
    let called = call(&mut |fds, timeout| {
        let ready = foreground.poll(fds, timeout).and_then(|event| {
            foreground.handle_signal(event.signal, process)?;
            Ok(event.ready)
        });
        ready.map_err(|error| {
            failed = Some(error);
            Errno::ECANCELED
        })
    });
    match failed {
        Some(error) => Err(error),
        None => called,
    }
}

/// The result of a command that has failed: 128+n when signal n interrupted it, else the
/// error. Output that has arrived is relayed first.
pub(crate) fn end_with(error: Error, foreground: Option<Foreground>) -> Result<u8> {
    if let Some(Err(relay_error)) = foreground.map(Foreground::finish) {
        log::warn(&log::format_error(&relay_error));
    }
    match error.downcast_ref() {
        Some(Interrupted(signal)) => Ok(128 + *signal as u8),
        None => Err(error),
    }
}

/// What ended a wait in poll(2).
struct Event {
    signal: Option<i32>,
    /// The index of the first readable descriptor among the caller's.
    ready: Option<usize>,
}

impl Foreground {
    /// Blocks all signals and reads them from a signalfd instead. Must be called before the
    /// first child is cloned, so that no SIGCHLD is lost.
    ///
    /// # Errors
    /// When the kernel refuses sigprocmask(2) or signalfd(2).
    pub(crate) fn new() -> Result<Foreground> {
        sys::block_all().context("block signals")?;
        let signals = SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_CLOEXEC);
        Ok(Foreground {
            signals: signals.context("signalfd")?,
            pending: Vec::new(),
            child_ended: false,
            relay: None,
            notify: None,
        })
    }

    /// Sets what is relayed and forwarded while this waits.
    pub(crate) fn serve(&mut self, relay: Option<Relay>, notify: Option<NotifyProxy>) {
        (self.relay, self.notify) = (relay, notify);
    }

    /// Waits for the next message from init. Signals that are not fatal are kept for the
    /// process.
    ///
    /// # Errors
    /// [`Interrupted`] on a fatal signal.
    pub(crate) fn receive(&mut self, end: &RuntimeEnd) -> Result<InitMessage> {
        loop {
            let event = self.poll(&[end.as_fd()], PollTimeout::NONE)?;
            // The message comes first: once the process runs, signals are forwarded to it.
            if event.ready.is_some() {
                return Ok(end.receive()?);
            }
            self.handle_signal(event.signal, None)?;
        }
    }

    /// Handles a signal that arrives before [`Foreground::wait`].
    fn handle_signal(&mut self, signal: Option<i32>, process: Option<BorrowedFd>) -> Result<()> {
        match (signal, process) {
            (Some(libc::SIGCHLD), _) => self.child_ended = true,
            (Some(signal), Some(process)) => forward(signal, process)?,
            (Some(signal), None) if NON_FATAL.contains(&signal) => self.pending.push(signal),
            (Some(signal), None) => return Err(Interrupted(signal).into()),
            (None, _) => {}
        }
        Ok(())
    }

    /// Waits for the process `init` and returns its exit status, 128+n when signal n ended it.
    /// Some of its output may not have been relayed yet.
    ///
    /// # Errors
    /// When the kernel refuses to wait, or a relayed stream fails.
    pub(crate) fn wait(&mut self, init: Pid, pidfd: BorrowedFd) -> Result<u8> {
        for signal in std::mem::take(&mut self.pending) {
            forward(signal, pidfd)?;
        }
        loop {
            if std::mem::take(&mut self.child_ended)
                && let Some(status) = reap(init)?
            {
                if let Some(notify) = self.notify.take() {
                    notify.finish(getpid());
                }
                return Ok(status);
            }
            match self.poll(&[], PollTimeout::NONE)?.signal {
                Some(libc::SIGCHLD) => self.child_ended = true,
                Some(signal) => forward(signal, pidfd)?,
                None => {}
            }
        }
    }

    /// [`Foreground::wait`], then [`Foreground::finish`].
    ///
    /// # Errors
    /// When either fails.
    pub(crate) fn wait_and_finish(mut self, process: Pid, pidfd: BorrowedFd) -> Result<u8> {
        let status = self.wait(process, pidfd)?;
        self.finish()?;
        Ok(status)
    }

    /// Kills the child `pid` and reaps it. A frozen process may not end before it is thawed, so
    /// a fatal signal ends the wait.
    ///
    /// # Errors
    /// When the kernel refuses to signal or to wait.
    pub(crate) fn kill(&mut self, pid: Pid, pidfd: BorrowedFd) -> Result<()> {
        forward(libc::SIGKILL, pidfd)?;
        while reap(pid)?.is_none() {
            match self.poll(&[], PollTimeout::NONE)?.signal {
                Some(signal) if !NON_FATAL.contains(&signal) => break,
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    /// Relays the rest of the output of a process that has ended. A fatal signal ends the wait
    /// for a slow reader.
    ///
    /// # Errors
    /// When a relayed stream fails.
    pub(crate) fn finish(mut self) -> Result<()> {
        if let Some(relay) = &mut self.relay {
            relay.read_final_output()?;
        }
        while self.relay.as_ref().is_some_and(Relay::has_pending_output) {
            match self.poll(&[], PollTimeout::NONE)?.signal {
                Some(signal) if !NON_FATAL.contains(&signal) => break,
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    /// Waits for a signal, for one of the `others`, or for data to relay, which is relayed.
    fn poll(&mut self, others: &[BorrowedFd], timeout: PollTimeout) -> Result<Event> {
        let notify = self.notify.as_ref().map(NotifyProxy::poll_fd);
        let relayed = self.relay.as_ref().map(Relay::poll_fds).unwrap_or_default();
        let signals = PollFd::new(self.signals.as_fd(), PollFlags::POLLIN);
        let own = [Some(signals), notify].into_iter().chain(relayed);
        let (indices, mut fds): (Vec<usize>, Vec<PollFd>) = own
            .enumerate()
            .filter_map(|(index, fd)| Some((index, fd?)))
            .unzip();
        let others = others.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN));
        fds.extend(others);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("poll"),
        }
        let mut events = fds
            .iter()
            .map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        let mut own = [PollFlags::empty(); 5];
        for index in indices {
            own[index] = events.next().unwrap_or(PollFlags::empty());
        }
        let ready = events.position(|event| !event.is_empty());
        let [signalled, notified, relayed @ ..] = own;
        if let Some(notify) = self.notify.as_mut().filter(|_| !notified.is_empty()) {
            notify.read_messages(getpid());
        }
        if let Some(relay) = &mut self.relay {
            relay.transfer(relayed)?;
        }
        let signal = if signalled.is_empty() || ready.is_some() {
            None // It is read in a later call.
        } else {
            self.signals.read_signal().context("signalfd")?
        };
        let signal = signal.map(|signal| signal.ssi_signo.cast_signed());
        if let (Some(libc::SIGWINCH), Some(relay)) = (signal, &self.relay) {
            relay.update_size();
        }
        Ok(Event { signal, ready })
    }
}

/// Sends a signal to the process, unless it is one of [`NOT_FORWARDED`].
fn forward(signal: i32, pidfd: BorrowedFd) -> Result<()> {
    if NOT_FORWARDED.contains(&signal) {
        return Ok(());
    }
    match sys::pidfd_send_signal(pidfd, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno).context("forward a signal"),
    }
}

/// Reaps children that have ended. Returns the exit status of `init` once it is among them.
fn reap(init: Pid) -> Result<Option<u8>> {
    loop {
        match sys::wait(None, WaitPidFlag::WNOHANG) {
            Ok(Some((pid, ended))) if pid == init => {
                return Ok(Some(match ended {
                    Ended::Exited(code) => code,
                    Ended::Signaled(signal) => 128 + signal as u8,
                }));
            }
            Ok(None) | Err(Errno::ECHILD) => return Ok(None),
            Ok(Some(_)) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("wait for the container"),
        }
    }
}
