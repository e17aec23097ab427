//! What passes between the container's terminal and the caller's standard input
//! and output. Neither is ever waited for here: what the other side does not take
//! is kept, and when there is enough of it, its source is left alone.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{SFlag, fstat};
use nix::sys::termios::{OutputFlags, SetArg, tcgetattr, tcsetattr};
use nix::unistd::{read, write};

use super::terminal::Caller;
use crate::log;
use crate::sys;
use crate::trusted_proc::Proc;

/// The end of a file, as it is typed (termios(3), `VEOF`).
const END: u8 = 4;

/// So much is kept of what the container says, in bytes.
const ROOM: usize = 64 * 1024;

/// More than the kernel keeps for a terminal, in bytes: what an ended process had
/// written is not more, though others may go on.
const LAST_WORDS: usize = 2 * ROOM;

/// Both directions.
pub(super) struct Relay {
    /// Put right when the relay ends, however it does.
    caller: Caller,
    master: OwnedFd,
    input: Stream,
    output: Stream,
    /// Typed, and not taken by the container yet.
    typed: Vec<u8>,
    /// Said by the container, and not taken by whoever reads it.
    said: Vec<u8>,
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
        let proc = Proc::open().context("/proc")?;
        let input = Stream::input(&proc).context("standard input")?;
        let output = Stream::output(&proc).context("standard output")?;
        caller
            .make_raw()
            .context("process.terminal: standard input")?;
        let relay = Relay {
            caller,
            master,
            input,
            output,
            typed: Vec::new(),
            said: Vec::new(),
            input_ended: false,
            output_ended: false,
            unheard: false,
        };
        relay.resize().context("process.terminal: size")?;
        Ok(relay)
    }

    fn resize(&self) -> nix::Result<()> {
        sys::set_terminal_size(self.master.as_fd(), self.caller.size()?)
    }

    /// One that has hung up has no size.
    pub(super) fn resize_if_there(&self) {
        self.resize().unwrap_or_default();
    }

    /// What to wait for: then there is something to [`Relay::pass`].
    pub(super) fn waiting(&self) -> [Option<PollFd<'_>>; 3] {
        let mut master = PollFlags::empty();
        if !self.output_ended {
            master.set(PollFlags::POLLIN, self.said.len() < ROOM);
            master.set(PollFlags::POLLOUT, !self.typed.is_empty());
        }
        let reads = self.typed.is_empty() && !self.input_ended && !self.output_ended;
        let [input, output] = [
            (reads, PollFlags::POLLIN),
            (!self.said.is_empty(), PollFlags::POLLOUT),
        ]
        .map(|(wanted, flag)| if wanted { flag } else { PollFlags::empty() });
        [
            (self.master.as_fd(), master),
            (self.input.fd.as_fd(), input),
            (self.output.fd.as_fd(), output),
        ]
        .map(|(fd, flags)| (!flags.is_empty()).then(|| PollFd::new(fd, flags)))
    }

    /// Passes on what there is and what is taken, by what [`Relay::waiting`] has found.
    ///
    /// # Errors
    /// What the kernel refuses about the container's terminal or standard input.
    pub(super) fn pass(&mut self, [master, input, output]: [PollFlags; 3]) -> Result<()> {
        if !input.is_empty() {
            self.take_input()?;
        }
        if !input.is_empty() || master.contains(PollFlags::POLLOUT) {
            self.type_on()?;
        } else if master.contains(PollFlags::POLLHUP) {
            // Nobody has it open any more.
            self.typed.clear();
        }
        if master.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            self.take_output()?;
        }
        if !master.is_empty() || !output.is_empty() {
            self.say();
        }
        Ok(())
    }

    /// When the process has ended: takes what it had written last. Others may hold
    /// the terminal open.
    ///
    /// # Errors
    /// What the kernel refuses about the container's terminal.
    pub(super) fn end(&mut self) -> Result<()> {
        self.input_ended = true;
        self.typed.clear();
        let most = self.said.len() + LAST_WORDS;
        while !self.output_ended && self.said.len() < most {
            let mut master = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            match poll(&mut master, PollTimeout::ZERO) {
                Ok(0) => break,
                Ok(_) => self.take_output()?,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("poll"),
            }
        }
        self.output_ended = true;
        self.say();
        Ok(())
    }

    /// Whether something waits for whoever reads standard output.
    pub(super) fn has_more_to_say(&self) -> bool {
        !self.said.is_empty()
    }

    fn take_input(&mut self) -> Result<()> {
        let mut bytes = [0; 4096];
        match read(&self.input.fd, &mut bytes) {
            Ok(0) | Err(Errno::EIO) => {
                self.input_ended = true;
                // A file or a pipe ends inside as it does here.
                self.typed
                    .extend((!self.caller.is_typed_on()).then_some(END));
            }
            Ok(length) => self.typed.extend_from_slice(&bytes[..length]),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(errno) => return Err(errno).context("standard input"),
        }
        Ok(())
    }

    /// As far as the container's terminal takes it.
    fn type_on(&mut self) -> Result<()> {
        if self.typed.is_empty() {
            return Ok(());
        }
        match write(&self.master, &self.typed) {
            Ok(length) => drop(self.typed.drain(..length)),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // Nobody has it open any more.
            Err(Errno::EIO) => self.typed.clear(),
            Err(errno) => return Err(errno).context("process.terminal"),
        }
        Ok(())
    }

    fn take_output(&mut self) -> Result<()> {
        let mut bytes = [0; 4096];
        match read(&self.master, &mut bytes) {
            Ok(0) | Err(Errno::EIO) => self.output_ended = true,
            Ok(length) if !self.unheard => self.said.extend_from_slice(&bytes[..length]),
            Ok(_) | Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(errno) => return Err(errno).context("process.terminal"),
        }
        Ok(())
    }

    /// As far as standard output takes it.
    fn say(&mut self) {
        while !self.said.is_empty() {
            match write(&self.output.fd, &self.said) {
                Ok(length) => drop(self.said.drain(..length)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                // The terminal has hung up, or the reader of a pipe has gone.
                Err(Errno::EIO | Errno::EPIPE) => self.stop_saying(),
                Err(errno) => {
                    let why = log::errno_text(errno);
                    log::warn(&format!("standard output: {why}: the rest is lost"));
                    self.stop_saying();
                }
            }
        }
    }

    fn stop_saying(&mut self) {
        self.unheard = true;
        self.said.clear();
    }
}

/// A standard stream that is never waited for in read(2) and write(2): a terminal
/// or a pipe through an open file of our own, for others share the caller's.
struct Stream {
    fd: OwnedFd,
    /// The flags of the caller's, which had to be changed.
    before: Option<OFlag>,
}

impl Stream {
    fn input(proc: &Proc) -> nix::Result<Stream> {
        let input = std::io::stdin();
        let own = match can_be_opened(input.as_fd())? {
            true => reopen(proc, "self/fd/0", OFlag::O_RDONLY).ok(),
            false => None,
        };
        // What another reader takes first is waited for: the lesser evil.
        let fd = own.map_or_else(|| duplicate(input.as_fd()), Ok)?;
        Ok(Stream { fd, before: None })
    }

    fn output(proc: &Proc) -> nix::Result<Stream> {
        let output = std::io::stdout();
        let output = output.as_fd();
        if can_be_opened(output)?
            && let Ok(fd) = reopen(proc, "self/fd/1", OFlag::O_WRONLY)
        {
            return Ok(Stream { fd, before: None });
        }
        // A socket, or somebody else's: for everybody, as long as this lasts.
        let fd = duplicate(output)?;
        let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
        fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Stream {
            fd,
            before: Some(flags),
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            // It may be gone by now; there is nothing to put right then.
            let _ = fcntl(&self.fd, FcntlArg::F_SETFL(before));
        }
    }
}

/// An ordinary file has a position that goes with its open file, and never makes
/// anybody wait.
fn can_be_opened(stream: BorrowedFd) -> nix::Result<bool> {
    let kind = SFlag::from_bits_truncate(fstat(stream)?.st_mode) & SFlag::S_IFMT;
    Ok(kind == SFlag::S_IFIFO || kind == SFlag::S_IFCHR)
}

fn reopen(proc: &Proc, path: &str, access: OFlag) -> nix::Result<OwnedFd> {
    proc.link(path, access | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
}

fn duplicate(fd: BorrowedFd) -> nix::Result<OwnedFd> {
    let copy = fd.try_clone_to_owned();
    copy.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
}
