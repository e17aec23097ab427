//! `process.terminal`, from outside: who gets the other end of it, and the
//! caller's own terminal, in raw mode until this is done.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::termios::{OutputFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::isatty;

use crate::sys::{self, Size};

/// The caller's terminal, as it was: so it is again when this is dropped.
pub(super) struct Caller {
    terminal: OwnedFd,
    /// Its settings, if it is standard input: only then is it to be typed on.
    before: Option<Termios>,
}

impl Caller {
    /// Finds it among the standard streams: one or two may be something else. If
    /// all are, it is the one of this session, as in runc.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn new() -> Result<Caller> {
        let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let mut streams = [input.as_fd(), output.as_fd(), error.as_fd()].into_iter();
        let terminal = match streams.find(|stream| isatty(stream).unwrap_or(false)) {
            Some(terminal) => terminal.try_clone_to_owned().context("dup")?,
            None => of_session().context(
                "process.terminal: standard input is not a terminal, and neither are output and error: /dev/tty",
            )?,
        };
        let typed = isatty(&input).unwrap_or(false).then(|| tcgetattr(&input));
        Ok(Caller {
            terminal,
            before: typed.transpose().context("process.terminal")?,
        })
    }

    /// Bytes go through as typed. Output keeps being processed, as in runc: the
    /// container's terminal leaves the carriage returns to this one.
    pub(super) fn make_raw(&self) -> nix::Result<()> {
        let Some(before) = &self.before else {
            return Ok(());
        };
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        raw.output_flags.insert(OutputFlags::OPOST);
        tcsetattr(&self.terminal, SetArg::TCSANOW, &raw)
    }

    /// Whether what is typed on it is what the container gets to read.
    pub(super) fn is_typed_on(&self) -> bool {
        self.before.is_some()
    }

    pub(super) fn size(&self) -> nix::Result<Size> {
        sys::terminal_size(self.terminal.as_fd())
    }
}

/// The terminal of this session (tty(4)).
fn of_session() -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    open("/dev/tty", flags, Mode::empty())
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
