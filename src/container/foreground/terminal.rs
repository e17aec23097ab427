//! `process.terminal` outside of the container: the caller's own terminal, and the socket over
//! which the container's terminal arrives.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Error, Result, anyhow, bail};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::termios::{OutputFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::isatty;

use crate::sys::{self, Size};

/// The caller's terminal. Its settings are restored when this is dropped.
pub(crate) struct CallerTerminal {
    terminal: OwnedFd,
    /// The original settings, if the terminal is standard input. Only then it becomes raw.
    original: Option<Termios>,
}

impl CallerTerminal {
    /// The first terminal among the standard streams, or else the terminal of this session, as
    /// in runc.
    ///
    /// # Errors
    /// When there is no terminal.
    pub(crate) fn new() -> Result<CallerTerminal> {
        let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let mut streams = [input.as_fd(), output.as_fd(), error.as_fd()].into_iter();
        let terminal = match streams.find(|stream| isatty(stream).unwrap_or(false)) {
            Some(terminal) => terminal.try_clone_to_owned().context("dup")?,
            None => open_controlling_terminal().map_err(no_terminal)?,
        };
        let settings = isatty(&input).unwrap_or(false).then(|| tcgetattr(&input));
        Ok(CallerTerminal {
            terminal,
            original: settings.transpose().context("process.terminal")?,
        })
    }

    /// Passes input through unchanged. Output is still processed, as in runc: this terminal adds
    /// the carriage returns that the container's terminal leaves out.
    pub(crate) fn make_raw(&self) -> nix::Result<()> {
        let Some(original) = &self.original else {
            return Ok(());
        };
        let mut raw = original.clone();
        cfmakeraw(&mut raw);
        raw.output_flags.insert(OutputFlags::OPOST);
        tcsetattr(&self.terminal, SetArg::TCSANOW, &raw)
    }

    /// Whether the container's input comes from this terminal.
    pub(crate) fn is_standard_input(&self) -> bool {
        self.original.is_some()
    }

    pub(crate) fn size(&self) -> nix::Result<Size> {
        sys::terminal_size(self.terminal.as_fd())
    }
}

/// The controlling terminal of this session (tty(4)).
fn open_controlling_terminal() -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    open("/dev/tty", flags, Mode::empty())
}

/// The error when this session has no terminal either.
fn no_terminal(errno: Errno) -> Error {
    let nowhere = "standard input is not a terminal, and neither are output and error";
    let remedy =
        "call rt in a terminal, give --console-socket, or leave out \"terminal\": true (exec: -t)";
    match errno {
        Errno::ENXIO => anyhow!("process.terminal: {nowhere}; {remedy}"),
        other => Error::new(other).context(format!("process.terminal: {nowhere}: /dev/tty")),
    }
}

impl Drop for CallerTerminal {
    fn drop(&mut self) {
        if let Some(original) = &self.original {
            // An error is ignored: the terminal may have hung up.
            tcsetattr(&self.terminal, SetArg::TCSANOW, original).unwrap_or_default();
        }
    }
}

/// The command that makes a process, as far as its terminal is concerned.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConsoleCommand {
    Create,
    Run { detach: bool },
    Exec { detach: bool },
}

impl ConsoleCommand {
    pub(crate) fn exec(detach: bool) -> ConsoleCommand {
        ConsoleCommand::Exec { detach }
    }

    /// Whether it stays in the foreground, and relays between its own terminal and the process's.
    fn stays(self) -> bool {
        matches!(
            self,
            ConsoleCommand::Run { detach: false } | ConsoleCommand::Exec { detach: false }
        )
    }

    /// Its name, and how the user turns the terminal of the process on and off.
    fn texts(self) -> (&'static str, &'static str, &'static str) {
        let (on, off) = ("set \"terminal\": true", "set \"terminal\": false");
        match self {
            ConsoleCommand::Create => ("rt create", on, off),
            ConsoleCommand::Run { detach: true } => ("rt run --detach", on, off),
            ConsoleCommand::Run { detach: false } => ("rt run", on, off),
            ConsoleCommand::Exec { detach: true } => {
                ("rt exec --detach", "add --tty", "leave out --tty")
            }
            ConsoleCommand::Exec { detach: false } => ("rt exec", "add --tty", "leave out --tty"),
        }
    }
}

/// The socket on which init sends the master end of the container's terminal.
pub(crate) enum ConsoleSocket {
    /// The container has no terminal.
    None,
    /// A connection to `--console-socket`.
    External(OwnedFd),
    /// A socket pair: this process receives the master, and relays.
    Relayed {
        caller: CallerTerminal,
        runtime_end: OwnedFd,
        init_end: OwnedFd,
    },
}

impl ConsoleSocket {
    /// # Errors
    /// When the flags of `command` contradict the configuration; when no process listens on
    /// `socket`; when a terminal is to be relayed and the caller has none.
    pub(crate) fn open(
        terminal: bool,
        command: ConsoleCommand,
        socket: Option<&Path>,
    ) -> Result<ConsoleSocket> {
        let (name, on, off) = command.texts();
        let detached = !command.stays();
        match (socket, terminal && detached) {
            (None, true) => {
                bail!("process.terminal: {name} needs --console-socket for a terminal (or {off})")
            }
            (Some(_), false) if detached => bail!(
                "process.terminal: --console-socket is for a terminal: {on}, or leave out --console-socket"
            ),
            (Some(_), false) => bail!(
                "--console-socket: {name} stays in the foreground, with the terminal that it has itself: add --detach, or leave out --console-socket"
            ),
            (Some(socket), true) => {
                let stream = UnixStream::connect(socket);
                let stream =
                    stream.with_context(|| format!("--console-socket {}", socket.display()))?;
                Ok(ConsoleSocket::External(stream.into()))
            }
            (None, false) if terminal => {
                let (runtime_end, init_end) = sys::socketpair().context("socketpair")?;
                let caller = CallerTerminal::new()?;
                Ok(ConsoleSocket::Relayed {
                    caller,
                    runtime_end,
                    init_end,
                })
            }
            (None, false) => Ok(ConsoleSocket::None),
        }
    }

    /// Init's socket, and what this process keeps to relay.
    pub(crate) fn split(self) -> (Option<OwnedFd>, Option<(CallerTerminal, OwnedFd)>) {
        match self {
            ConsoleSocket::None => (None, None),
            ConsoleSocket::External(socket) => (Some(socket), None),
            ConsoleSocket::Relayed {
                caller,
                runtime_end,
                init_end,
            } => (Some(init_end), Some((caller, runtime_end))),
        }
    }
}
