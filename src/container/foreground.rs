//! A command that stays until the container's process ends: it hears every signal
//! at any time, reaps whatever becomes its child, relays between terminals if it
//! is to, and ends as the process ends.
//!
//! One poll(2) is all that it ever waits in.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Error, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::WaitPidFlag;
use nix::unistd::{Pid, getpid};

use super::notify::Notify;
use super::relay::Relay;
use super::sync::{FromInit, RuntimeEnd};
use super::waiting::HARMLESS;
use crate::log;
use crate::process::{Wait, wait_alone};
use crate::sys::{self, Ended};

/// Signals that concern `rt` alone: its children, its terminal's size, and what
/// network sockets raise.
const NOT_FORWARDED: [i32; 3] = [libc::SIGCHLD, libc::SIGWINCH, libc::SIGURG];

/// All that is heard.
pub(super) struct Foreground {
    signals: SignalFd,
    /// What came while there was no process yet to have it.
    early: Vec<i32>,
    /// A child has ended, and is not reaped.
    bereft: bool,
    relay: Option<Relay>,
    notify: Option<Notify>,
}

/// A signal that ends processes came before there was one to hand it to.
#[derive(Debug)]
pub(super) struct Interrupted(i32);

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match Signal::try_from(self.0) {
            Ok(signal) => write!(f, "ended by {signal}"),
            Err(_) => write!(f, "ended by signal {}", self.0),
        }
    }
}

impl std::error::Error for Interrupted {}

/// What init says next, heard in the foreground or not.
pub(super) fn hear(end: &RuntimeEnd, foreground: &mut Option<Foreground>) -> Result<FromInit> {
    match foreground {
        Some(foreground) => foreground.receive(end),
        None => Ok(end.receive()?),
    }
}

/// Calls hooks, which are waited for here as all else is, in the foreground or not. A
/// signal that ends processes calls them off, or goes to the `process` that runs.
pub(super) fn call_hooks(
    foreground: &mut Option<Foreground>,
    process: Option<BorrowedFd>,
    call: impl FnOnce(&mut Wait) -> Result<()>,
) -> Result<()> {
    let Some(foreground) = foreground else {
        return call(&mut wait_alone);
    };
    let mut failed = None;
    let called = call(&mut |fds, patience| {
        let found = foreground.hear(fds, patience);
        let heard = found.and_then(|found| {
            foreground.heed(found.signal, process)?;
            Ok(found.ready)
        });
        heard.map_err(|error| {
            failed = Some(error);
            Errno::ECANCELED
        })
    });
    match failed {
        Some(error) => Err(error),
        None => called,
    }
}

/// Ends a command that has failed: with the status that a shell has for one that
/// was interrupted, else with the error. What was said until then is passed on.
pub(super) fn end_with(error: Error, foreground: Option<Foreground>) -> Result<u8> {
    if let Some(Err(lost)) = foreground.map(Foreground::finish) {
        log::warn(&log::sentence(&lost));
    }
    match error.downcast_ref() {
        Some(Interrupted(signal)) => Ok(128 + *signal as u8),
        None => Err(error),
    }
}

/// What one wait has found.
struct Found {
    signal: Option<i32>,
    /// The first of the other descriptors that can be read.
    ready: Option<usize>,
}

impl Foreground {
    /// Before there is a child whose signals could be missed: from here on they
    /// are kept for this.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn new() -> Result<Foreground> {
        sys::block_all().context("block signals")?;
        let signals = SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_CLOEXEC);
        Ok(Foreground {
            signals: signals.context("signalfd")?,
            early: Vec::new(),
            bereft: false,
            relay: None,
            notify: None,
        })
    }

    /// What this does for the process beside waiting.
    pub(super) fn attend(&mut self, relay: Option<Relay>, notify: Option<Notify>) {
        (self.relay, self.notify) = (relay, notify);
    }

    /// What init says next.
    ///
    /// # Errors
    /// [`Interrupted`] by a signal that ends processes; the others wait for the
    /// process.
    pub(super) fn receive(&mut self, end: &RuntimeEnd) -> Result<FromInit> {
        loop {
            let found = self.hear(&[end.as_fd()], PollTimeout::NONE)?;
            // First: once the process runs, signals are its own.
            if found.ready.is_some() {
                return Ok(end.receive()?);
            }
            self.heed(found.signal, None)?;
        }
    }

    /// What a signal does before this waits for the process.
    fn heed(&mut self, signal: Option<i32>, process: Option<BorrowedFd>) -> Result<()> {
        match (signal, process) {
            (Some(libc::SIGCHLD), _) => self.bereft = true,
            (Some(signal), Some(process)) => forward(signal, process)?,
            (Some(signal), None) if HARMLESS.contains(&signal) => self.early.push(signal),
            (Some(signal), None) => return Err(Interrupted(signal).into()),
            (None, _) => {}
        }
        Ok(())
    }

    /// Waits for the process `init` and returns its exit status, 128+n when signal
    /// n ended it. What it has said may not be taken yet.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub(super) fn wait(&mut self, init: Pid, pidfd: BorrowedFd) -> Result<u8> {
        for signal in std::mem::take(&mut self.early) {
            forward(signal, pidfd)?;
        }
        loop {
            if std::mem::take(&mut self.bereft)
                && let Some(status) = reap(init)?
            {
                if let Some(notify) = self.notify.take() {
                    notify.end(getpid());
                }
                return Ok(status);
            }
            match self.hear(&[], PollTimeout::NONE)?.signal {
                Some(libc::SIGCHLD) => self.bereft = true,
                Some(signal) => forward(signal, pidfd)?,
                None => {}
            }
        }
    }

    /// Waits for the process and for whoever reads what it has said.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub(super) fn stay(mut self, process: Pid, pidfd: BorrowedFd) -> Result<u8> {
        let status = self.wait(process, pidfd)?;
        self.finish()?;
        Ok(status)
    }

    /// Kills the child `pid` and reaps it. One that is held still may not end before
    /// it is let go: another signal that ends processes ends the wait for it.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub(super) fn end(&mut self, pid: Pid, pidfd: BorrowedFd) -> Result<()> {
        forward(libc::SIGKILL, pidfd)?;
        while reap(pid)?.is_none() {
            match self.hear(&[], PollTimeout::NONE)?.signal {
                Some(signal) if !HARMLESS.contains(&signal) => break,
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    /// When the process has ended: waits until all is taken that it has said, or
    /// until a signal ends this.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub(super) fn finish(mut self) -> Result<()> {
        if let Some(relay) = &mut self.relay {
            relay.end()?;
        }
        while self.relay.as_ref().is_some_and(Relay::has_more_to_say) {
            match self.hear(&[], PollTimeout::NONE)?.signal {
                Some(signal) if !HARMLESS.contains(&signal) => break,
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    /// Waits for a signal, for one of the `others`, or for something to relay, which
    /// is done; no longer than `patience`.
    fn hear(&mut self, others: &[BorrowedFd], patience: PollTimeout) -> Result<Found> {
        let notify = self.notify.as_ref().map(Notify::waiting);
        let relayed = self.relay.as_ref().map(Relay::waiting).unwrap_or_default();
        let signals = PollFd::new(self.signals.as_fd(), PollFlags::POLLIN);
        let own = [Some(signals), notify].into_iter().chain(relayed);
        let (places, mut waiting): (Vec<usize>, Vec<PollFd>) = own
            .enumerate()
            .filter_map(|(place, fd)| Some((place, fd?)))
            .unzip();
        let others = others.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN));
        waiting.extend(others);
        match poll(&mut waiting, patience) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("poll"),
        }
        let mut found = waiting
            .iter()
            .map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        let mut own = [PollFlags::empty(); 5];
        for place in places {
            own[place] = found.next().unwrap_or(PollFlags::empty());
        }
        let ready = found.position(|found| !found.is_empty());
        let [signalled, notified, relayed @ ..] = own;
        if let Some(notify) = self.notify.as_mut().filter(|_| !notified.is_empty()) {
            notify.take_waiting(getpid());
        }
        if let Some(relay) = &mut self.relay {
            relay.pass(relayed)?;
        }
        let signal = match signalled.is_empty() || ready.is_some() {
            true => None, // It waits for its turn.
            false => self.signals.read_signal().context("signalfd")?,
        };
        let signal = signal.map(|signal| signal.ssi_signo.cast_signed());
        if let (Some(libc::SIGWINCH), Some(relay)) = (signal, &self.relay) {
            relay.resize_if_there();
        }
        Ok(Found { signal, ready })
    }
}

/// Hands a signal to the process, unless it is of a kind that concerns `rt` alone.
fn forward(signal: i32, pidfd: BorrowedFd) -> Result<()> {
    if NOT_FORWARDED.contains(&signal) {
        return Ok(());
    }
    match sys::pidfd_send_signal(pidfd, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno).context("forward a signal"),
    }
}

/// Reaps children that have ended, up to `init`, whose status it is.
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
