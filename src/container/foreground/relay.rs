//! Relays between the container's terminal and the caller's standard input and output.
//!
//! Reads and writes never block. What one side does not accept yet is buffered, and a full
//! buffer stops the reads from the other side.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{SFlag, fstat};
use nix::sys::termios::{OutputFlags, SetArg, tcgetattr, tcsetattr};
use nix::unistd::{read, write};

use super::terminal::CallerTerminal;
use crate::log;
use crate::sys;
use crate::trusted_proc::Proc;

/// The end-of-file character, Ctrl-D (termios(3), `VEOF`).
const EOF: u8 = 4;

/// No more output is read while this much is buffered, in bytes.
const OUTPUT_LIMIT: usize = 64 * 1024;

/// More than the kernel buffers for a terminal, in bytes. An ended process has no more output
/// than this left to read, though other processes may go on writing.
const FINAL_OUTPUT_LIMIT: usize = 2 * OUTPUT_LIMIT;

/// Both directions of the relay.
pub(crate) struct Relay {
    /// Restores the terminal's settings when it is dropped.
    caller: CallerTerminal,
    master: OwnedFd,
    input: Stream,
    output: Stream,
    /// Read from standard input, and not yet written to the container's terminal.
    pending_input: Vec<u8>,
    /// Read from the container's terminal, and not yet written to standard output.
    pending_output: Vec<u8>,
    input_ended: bool,
    output_ended: bool,
    /// Standard output cannot be written to any more. Output is read and discarded, so that
    /// the container does not block.
    output_lost: bool,
}

impl Relay {
    /// Receives the master from init on `socket`. Gives the container's terminal the caller's
    /// size, and turns its output of carriage returns off: the caller's terminal adds them.
    ///
    /// # Errors
    /// When init has not sent the master, or a terminal cannot be set up.
    pub(crate) fn new(caller: CallerTerminal, socket: &OwnedFd) -> Result<Relay> {
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
            pending_input: Vec::new(),
            pending_output: Vec::new(),
            input_ended: false,
            output_ended: false,
            output_lost: false,
        };
        relay.resize().context("process.terminal: size")?;
        Ok(relay)
    }

    fn resize(&self) -> nix::Result<()> {
        sys::set_terminal_size(self.master.as_fd(), self.caller.size()?)
    }

    /// After SIGWINCH. An error is ignored: a terminal that has hung up has no size.
    pub(crate) fn update_size(&self) {
        self.resize().unwrap_or_default();
    }

    /// What to poll for: the master, standard input and standard output. Pass the events to
    /// [`Relay::transfer`].
    pub(crate) fn poll_fds(&self) -> [Option<PollFd<'_>>; 3] {
        let mut master = PollFlags::empty();
        if !self.output_ended {
            master.set(PollFlags::POLLIN, self.pending_output.len() < OUTPUT_LIMIT);
            master.set(PollFlags::POLLOUT, !self.pending_input.is_empty());
        }
        let reads = self.pending_input.is_empty() && !self.input_ended && !self.output_ended;
        let [input, output] = [
            (reads, PollFlags::POLLIN),
            (!self.pending_output.is_empty(), PollFlags::POLLOUT),
        ]
        .map(|(wanted, flag)| if wanted { flag } else { PollFlags::empty() });
        [
            (self.master.as_fd(), master),
            (self.input.fd.as_fd(), input),
            (self.output.fd.as_fd(), output),
        ]
        .map(|(fd, flags)| (!flags.is_empty()).then(|| PollFd::new(fd, flags)))
    }

    /// Reads and writes what the events on [`Relay::poll_fds`] allow.
    ///
    /// # Errors
    /// When the container's terminal or standard input fails.
    pub(crate) fn transfer(&mut self, [master, input, output]: [PollFlags; 3]) -> Result<()> {
        if !input.is_empty() {
            self.read_input()?;
        }
        if !input.is_empty() || master.contains(PollFlags::POLLOUT) {
            self.write_input()?;
        } else if master.contains(PollFlags::POLLHUP) {
            // No process has the terminal open any more.
            self.pending_input.clear();
        }
        if master.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            self.read_output()?;
        }
        if !master.is_empty() || !output.is_empty() {
            self.write_output();
        }
        Ok(())
    }

    /// Reads what the process wrote before it ended. Other processes may keep the terminal
    /// open, so this does not wait for its end of file.
    ///
    /// # Errors
    /// When the container's terminal fails.
    pub(crate) fn read_final_output(&mut self) -> Result<()> {
        self.input_ended = true;
        self.pending_input.clear();
        let limit = self.pending_output.len() + FINAL_OUTPUT_LIMIT;
        while !self.output_ended && self.pending_output.len() < limit {
            let mut master = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            match poll(&mut master, PollTimeout::ZERO) {
                Ok(0) => break,
                Ok(_) => self.read_output()?,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("poll"),
            }
        }
        self.output_ended = true;
        self.write_output();
        Ok(())
    }

    /// Whether standard output has not accepted everything yet.
    pub(crate) fn has_pending_output(&self) -> bool {
        !self.pending_output.is_empty()
    }

    fn read_input(&mut self) -> Result<()> {
        let mut bytes = [0; 4096];
        match read(&self.input.fd, &mut bytes) {
            Ok(0) | Err(Errno::EIO) => {
                self.input_ended = true;
                // The end of a file or pipe becomes the end of the container's input.
                self.pending_input
                    .extend((!self.caller.is_standard_input()).then_some(EOF));
            }
            Ok(length) => self.pending_input.extend_from_slice(&bytes[..length]),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(errno) => return Err(errno).context("standard input"),
        }
        Ok(())
    }

    /// Writes as much as the container's terminal accepts.
    fn write_input(&mut self) -> Result<()> {
        if self.pending_input.is_empty() {
            return Ok(());
        }
        match write(&self.master, &self.pending_input) {
            Ok(length) => drop(self.pending_input.drain(..length)),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // No process has the terminal open any more.
            Err(Errno::EIO) => self.pending_input.clear(),
            Err(errno) => return Err(errno).context("process.terminal"),
        }
        Ok(())
    }

    fn read_output(&mut self) -> Result<()> {
        let mut bytes = [0; 4096];
        match read(&self.master, &mut bytes) {
            Ok(0) | Err(Errno::EIO) => self.output_ended = true,
            Ok(length) if !self.output_lost => {
                self.pending_output.extend_from_slice(&bytes[..length])
            }
            Ok(_) | Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(errno) => return Err(errno).context("process.terminal"),
        }
        Ok(())
    }

    /// Writes as much as standard output accepts.
    fn write_output(&mut self) {
        while !self.pending_output.is_empty() {
            match write(&self.output.fd, &self.pending_output) {
                Ok(length) => drop(self.pending_output.drain(..length)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                // The terminal has hung up, or the reader of a pipe has gone.
                Err(Errno::EIO | Errno::EPIPE) => self.discard_output(),
                Err(errno) => {
                    let why = log::errno_text(errno);
                    log::warn(&format!("standard output: {why}: the rest is lost"));
                    self.discard_output();
                }
            }
        }
    }

    fn discard_output(&mut self) {
        self.output_lost = true;
        self.pending_output.clear();
    }
}

/// A standard stream in non-blocking mode. O_NONBLOCK belongs to the open file, which other
/// processes share, so a terminal or pipe is opened again.
struct Stream {
    fd: OwnedFd,
    /// The flags to restore, if those of the shared open file had to be changed.
    original_flags: Option<OFlag>,
}

impl Stream {
    fn input(proc: &Proc) -> nix::Result<Stream> {
        let input = std::io::stdin();
        let reopened = if can_be_reopened(input.as_fd())? {
            reopen(proc, "self/fd/0", OFlag::O_RDONLY).ok()
        } else {
            None
        };
        // Without O_NONBLOCK a read blocks if another process takes the data first. Changing
        // the flags of the shared file would be worse.
        let fd = reopened.map_or_else(|| duplicate(input.as_fd()), Ok)?;
        Ok(Stream {
            fd,
            original_flags: None,
        })
    }

    fn output(proc: &Proc) -> nix::Result<Stream> {
        let output = std::io::stdout();
        let output = output.as_fd();
        if can_be_reopened(output)?
            && let Ok(fd) = reopen(proc, "self/fd/1", OFlag::O_WRONLY)
        {
            return Ok(Stream {
                fd,
                original_flags: None,
            });
        }
        // A socket, or a file that this user may not open. The flag affects all processes that
        // share it, until it is restored.
        let fd = duplicate(output)?;
        let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
        fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Stream {
            fd,
            original_flags: Some(flags),
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(flags) = self.original_flags {
            // An error is ignored: the stream may have hung up.
            let _ = fcntl(&self.fd, FcntlArg::F_SETFL(flags));
        }
    }
}

/// Whether the stream is a pipe or a terminal. A regular file must keep the shared file's
/// position, and never blocks.
fn can_be_reopened(stream: BorrowedFd) -> nix::Result<bool> {
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
