//! The master of a pty, with the operations of a terminal emulator or of a manager with a console socket.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Time limit for output of a container.
const LIMIT: Duration = Duration::from_secs(30);

/// Number of control characters in the kernel's `termios`. The C library's has more.
const CONTROL_CHARACTERS: usize = 19;

pub(crate) struct Master {
    file: File,
    seen: Vec<u8>,
}

/// The settings that stty(1) shows.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Settings {
    input: u32,
    output: u32,
    control: u32,
    local: u32,
    characters: Vec<u8>,
}

impl Settings {
    pub(crate) fn echoes(&self) -> bool {
        self.local & libc::ECHO != 0
    }

    pub(crate) fn makes_signals(&self) -> bool {
        self.local & libc::ISIG != 0
    }

    /// Whether a line feed is written as a carriage return and a line feed (ONLCR).
    pub(crate) fn returns_the_carriage(&self) -> bool {
        let both = libc::OPOST | libc::ONLCR;
        self.output & both == both
    }
}

impl Master {
    pub(crate) fn new(file: File) -> Self {
        let seen = Vec::new();
        Self { file, seen }
    }

    /// Opens a new pty of the host. Returns its master and its slave.
    pub(crate) fn open() -> (Self, File) {
        let master = Self::new(open("/dev/ptmx"));
        control(&master.file, libc::TIOCSPTLCK, &mut 0i32).expect("unlock the pty");
        let number = master.number().expect("the number of the pty");
        (master, open(&format!("/dev/pts/{number}")))
    }

    /// The number of the pty in its devpts. An error if the file is not the master of a pty.
    pub(crate) fn number(&self) -> io::Result<i32> {
        let mut number = -1i32;
        control(&self.file, libc::TIOCGPTN, &mut number)?;
        Ok(number)
    }

    /// Sets the size. The kernel sends SIGWINCH to the foreground process group.
    pub(crate) fn set_size(&self, rows: u16, columns: u16) {
        let mut size = libc::winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        control(&self.file, libc::TIOCSWINSZ, &mut size).expect("set the size");
    }

    /// The settings of the terminal, which master and slave share.
    pub(crate) fn settings(&self) -> Settings {
        let mut settings = libc::termios {
            c_iflag: 0,
            c_oflag: 0,
            c_cflag: 0,
            c_lflag: 0,
            c_line: 0,
            c_cc: [0; 32],
            c_ispeed: 0,
            c_ospeed: 0,
        };
        control(&self.file, libc::TCGETS, &mut settings).expect("get the settings");
        Settings {
            input: settings.c_iflag,
            output: settings.c_oflag,
            control: settings.c_cflag,
            local: settings.c_lflag,
            characters: settings.c_cc[..CONTROL_CHARACTERS].to_vec(),
        }
    }

    /// Sends input as a keyboard does. Enter is `\r`.
    pub(crate) fn type_keys(&mut self, keys: &str) {
        self.file.write_all(keys.as_bytes()).expect("type");
    }

    /// The output so far, byte for byte.
    pub(crate) fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// The output so far, without carriage returns: runc sometimes writes one too many.
    fn lines(&self) -> String {
        self.seen().replace('\r', "")
    }

    /// Reads until the output contains `text`, and returns all output.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + LIMIT;
        while !self.lines().contains(text) {
            let more = self.read_until(deadline);
            assert!(more, "no {text:?} on the terminal: {:?}", self.seen());
        }
        self.lines()
    }

    /// Waits until no process has the slave open.
    #[track_caller]
    pub(crate) fn expect_hangup(&mut self) {
        let deadline = Instant::now() + LIMIT;
        while self.read_until(deadline) {}
        let late = Instant::now() >= deadline;
        assert!(!late, "still open: {:?}", self.seen());
    }

    /// Reads once. Returns false at the deadline or if the slave is closed.
    fn read_until(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let mut ready = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, left) {
            Ok(0) => return false,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => panic!("poll a pty: {error}"),
        }
        let mut bytes = [0; 4096];
        match self.file.read(&mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                self.seen.extend(&bytes[..count]);
                true
            }
            Err(error) if error.raw_os_error() == Some(libc::EIO) => false,
            Err(error) => panic!("read from a pty: {error}"),
        }
    }
}

fn open(path: &str) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NOCTTY);
    let file = options.open(path);
    file.unwrap_or_else(|e| panic!("open {path}: {e}"))
}

/// An ioctl on a terminal. `T` has to be the type of argument in ioctl_tty(2).
#[allow(unsafe_code, reason = "no safe function knows these requests")]
fn control<T>(file: &File, request: libc::Ioctl, value: &mut T) -> io::Result<()> {
    // SAFETY: for each request made above, the kernel reads or writes at most one `T`.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request, std::ptr::from_mut(value)) };
    Errno::result(result).map(drop).map_err(io::Error::from)
}

/// Starts the command in a new session, with its stdin as the controlling terminal.
#[allow(unsafe_code, reason = "what happens between fork and exec is unsafe")]
pub(crate) fn take_terminal(command: &mut Command) -> &mut Command {
    let take = || {
        nix::unistd::setsid()?;
        // SAFETY: the argument is a number, not a pointer.
        let result = unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) };
        Errno::result(result).map(drop).map_err(io::Error::from)
    };
    // SAFETY: the closure makes two system calls; it neither allocates nor takes locks.
    unsafe { command.pre_exec(take) }
}
