//! `rt run` in the foreground with a terminal: the caller's terminal in raw mode,
//! its size handed on, and bytes passed both ways until the process ends.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{OutputFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{Pid, getpid, isatty, read, write};

use super::foreground;
use super::notify::Notify;
use crate::log;
use crate::sys;

/// The end of a file, as it is typed (termios(3), `VEOF`).
const END: u8 = 4;

/// The caller's terminal, as it was: so it is again when this is dropped.
pub(super) struct Caller {
    terminal: OwnedFd,
    /// Its settings, if it is standard input: only then is it to be typed on.
    before: Option<Termios>,
}

impl Caller {
    /// Finds it among the standard streams: one or two may be something else.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn new() -> Result<Caller> {
        let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let mut streams = [input.as_fd(), output.as_fd(), error.as_fd()].into_iter();
        let terminal = streams.find(|stream| isatty(stream).unwrap_or(false));
        let terminal = terminal.context(
            "process.terminal: standard input is not a terminal, and neither are output and error",
        )?;
        let typed = isatty(&input).unwrap_or(false).then(|| tcgetattr(&input));
        Ok(Caller {
            terminal: terminal.try_clone_to_owned().context("dup")?,
            before: typed.transpose().context("process.terminal")?,
        })
    }

    /// Bytes go through as typed. Output keeps being processed, as in runc: the
    /// container's terminal leaves the carriage returns to this one.
    fn make_raw(&self) -> nix::Result<()> {
        let Some(before) = &self.before else {
            return Ok(());
        };
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        raw.output_flags.insert(OutputFlags::OPOST);
        tcsetattr(&self.terminal, SetArg::TCSANOW, &raw)
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // The terminal may be gone by now; there is nothing to put right then.
            tcsetattr(&self.terminal, SetArg::TCSANOW, before).unwrap_or_default();
        }
    }
}

/// Who gets the other end of the container's terminal.
pub(super) enum Console {
    /// Nobody: there is none.
    None,
    /// Whoever listens on `--console-socket`.
    Client(OwnedFd),
    /// This process, which relays.
    Own {
        caller: Caller,
        ours: OwnedFd,
        theirs: OwnedFd,
    },
}

impl Console {
    /// Decides, and connects to the socket.
    ///
    /// # Errors
    /// In runc's words where the flags do not fit the configuration.
    pub(super) fn open(terminal: bool, detached: bool, socket: Option<&Path>) -> Result<Console> {
        match (socket, terminal && detached) {
            (None, true) => {
                bail!("cannot allocate tty if runc will detach without setting console socket")
            }
            (Some(_), false) => {
                bail!("cannot use console socket if runc will not detach or allocate tty")
            }
            (Some(socket), true) => {
                let stream = UnixStream::connect(socket);
                let stream =
                    stream.with_context(|| format!("--console-socket {}", socket.display()))?;
                Ok(Console::Client(stream.into()))
            }
            (None, false) if terminal => {
                let (ours, theirs) = sys::socketpair().context("socketpair")?;
                let caller = Caller::new()?;
                Ok(Console::Own {
                    caller,
                    ours,
                    theirs,
                })
            }
            (None, false) => Ok(Console::None),
        }
    }

    /// The end that init gets, and who is left to relay.
    pub(super) fn split(self) -> (Option<OwnedFd>, Option<(Caller, OwnedFd)>) {
        match self {
            Console::None => (None, None),
            Console::Client(socket) => (Some(socket), None),
            Console::Own {
                caller,
                ours,
                theirs,
            } => (Some(theirs), Some((caller, ours))),
        }
    }
}

/// What the caller's terminal and the container's say to each other.
pub(super) struct Relay {
    /// Put right when the relay ends, however it does.
    caller: Caller,
    master: OwnedFd,
    /// Typed, and not taken by the container yet.
    pending: Vec<u8>,
    input_ended: bool,
    output_ended: bool,
    /// Nobody reads what the caller writes: the container goes on all the same.
    unheard: bool,
}

impl Relay {
    /// Before the process runs: the container's terminal gets the caller's size,
    /// and adds no carriage returns.
    ///
    /// # Errors
    /// What the kernel refuses about one of the terminals.
    pub(super) fn new(caller: Caller, socket: &OwnedFd) -> Result<Relay> {
        let master = sys::receive_descriptor(socket.as_fd()).context("process.terminal")?;
        let mut settings = tcgetattr(&master).context("process.terminal")?;
        settings.output_flags.remove(OutputFlags::ONLCR);
        tcsetattr(&master, SetArg::TCSANOW, &settings).context("process.terminal")?;
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context("process.terminal")?;
        caller
            .make_raw()
            .context("process.terminal: standard input")?;
        let relay = Relay {
            caller,
            master,
            pending: Vec::new(),
            input_ended: false,
            output_ended: false,
            unheard: false,
        };
        relay.resize()?;
        Ok(relay)
    }

    fn resize(&self) -> Result<()> {
        let size = sys::terminal_size(self.caller.terminal.as_fd());
        size.and_then(|size| sys::set_terminal_size(self.master.as_fd(), size))
            .context("process.terminal: size")
    }

    /// Relays until the process `init` has ended and all that it wrote is said;
    /// returns its exit status. All signals are blocked since before the clone.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub(super) fn wait(
        &mut self,
        init: Pid,
        pidfd: BorrowedFd,
        mut notify: Option<Notify>,
    ) -> Result<u8> {
        let signals = SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_CLOEXEC);
        let signals = signals.context("signalfd")?;
        loop {
            let (signalled, typed, said) =
                self.poll(&signals, PollTimeout::NONE, notify.as_ref())?;
            if let Some(notify) = &mut notify {
                notify.take_waiting(getpid());
            }
            if typed {
                self.take_input()?;
            }
            if said {
                self.pass_output()?;
            }
            if !signalled {
                continue;
            }
            let signal = signals.read_signal().context("signalfd")?;
            match signal.map(|signal| signal.ssi_signo.cast_signed()) {
                Some(libc::SIGCHLD) => {
                    if let Some(status) = foreground::reap(init)? {
                        self.drain(&signals)?;
                        if let Some(notify) = notify {
                            notify.end(getpid());
                        }
                        return Ok(status);
                    }
                }
                // One that has hung up has no size.
                Some(libc::SIGWINCH) => self.resize().unwrap_or_default(),
                Some(signal) => foreground::forward(signal, pidfd)?,
                None => {}
            }
        }
    }

    /// Waits; whether there is a signal, something to do about input, and output.
    fn poll(
        &self,
        signals: &SignalFd,
        patience: PollTimeout,
        notify: Option<&Notify>,
    ) -> Result<(bool, bool, bool)> {
        let input = std::io::stdin();
        let mut master = PollFlags::empty();
        master.set(PollFlags::POLLIN, !self.output_ended);
        master.set(PollFlags::POLLOUT, !self.pending.is_empty());
        let mut waiting = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        let watch_master = !master.is_empty() && !self.output_ended;
        if watch_master {
            waiting.push(PollFd::new(self.master.as_fd(), master));
        }
        let watch_input = self.pending.is_empty() && !self.input_ended && !self.output_ended;
        if watch_input {
            waiting.push(PollFd::new(input.as_fd(), PollFlags::POLLIN));
        }
        // Last: whoever calls this looks for itself what there is.
        waiting.extend(notify.map(Notify::waiting));
        match poll(&mut waiting, patience) {
            Err(Errno::EINTR) => return Ok((false, false, false)),
            done => done.context("poll")?,
        };
        let mut found = waiting
            .iter()
            .map(|one| one.revents().unwrap_or(PollFlags::empty()));
        let signalled = !found.next().unwrap_or(PollFlags::empty()).is_empty();
        let master = watch_master
            .then(|| found.next())
            .flatten()
            .unwrap_or(PollFlags::empty());
        let input = watch_input
            .then(|| found.next())
            .flatten()
            .unwrap_or(PollFlags::empty());
        let room = master.contains(PollFlags::POLLOUT);
        let said = master.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR);
        Ok((signalled, room || !input.is_empty(), said))
    }

    /// From the caller's terminal to the container's, as far as it takes it.
    fn take_input(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            let mut bytes = [0; 4096];
            match read(std::io::stdin(), &mut bytes) {
                Ok(0) | Err(Errno::EIO) => {
                    self.input_ended = true;
                    // A file or a pipe ends inside as it does here.
                    let end = self.caller.before.is_none().then_some(END);
                    self.pending.extend(end);
                }
                Ok(length) => self.pending.extend_from_slice(&bytes[..length]),
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(errno) => return Err(errno).context("standard input"),
            }
        }
        if self.pending.is_empty() {
            return Ok(());
        }
        match write(&self.master, &self.pending) {
            Ok(length) => drop(self.pending.drain(..length)),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // Nobody has it open any more.
            Err(Errno::EIO) => self.pending.clear(),
            Err(errno) => return Err(errno).context("process.terminal"),
        }
        Ok(())
    }

    /// From the container's terminal to standard output.
    fn pass_output(&mut self) -> Result<()> {
        let mut bytes = [0; 4096];
        let length = match read(&self.master, &mut bytes) {
            Ok(0) | Err(Errno::EIO) => {
                self.output_ended = true;
                return Ok(());
            }
            Err(Errno::EINTR | Errno::EAGAIN) => return Ok(()),
            done => done.context("process.terminal")?,
        };
        self.say(&bytes[..length])
    }

    fn say(&mut self, mut bytes: &[u8]) -> Result<()> {
        let output = std::io::stdout();
        while !bytes.is_empty() && !self.unheard {
            match write(&output, bytes) {
                Ok(length) => bytes = &bytes[length..],
                // Whoever shares the terminal has made it so.
                Err(Errno::EAGAIN) => {
                    let mut room = [PollFd::new(output.as_fd(), PollFlags::POLLOUT)];
                    match poll(&mut room, PollTimeout::NONE) {
                        Ok(_) | Err(Errno::EINTR) => {}
                        Err(errno) => return Err(errno).context("poll"),
                    }
                }
                Err(Errno::EINTR) => {}
                // The terminal has hung up, or the reader of a pipe has gone.
                Err(Errno::EIO | Errno::EPIPE) => self.unheard = true,
                Err(errno) => {
                    let why = log::errno_text(errno);
                    log::warn(&format!("standard output: {why}: the rest is lost"));
                    self.unheard = true;
                }
            }
        }
        Ok(())
    }

    /// What the ended process had written; others may hold the terminal open.
    fn drain(&mut self, signals: &SignalFd) -> Result<()> {
        self.input_ended = true;
        self.pending.clear();
        while !self.output_ended {
            let (_, _, said) = self.poll(signals, PollTimeout::ZERO, None)?;
            if !said {
                break;
            }
            self.pass_output()?;
        }
        Ok(())
    }
}
