//! A command on a pseudoterminal.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use nix::unistd::ttyname;

use crate::command;

/// How long to wait for output or for the end.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The master side of the pseudoterminal, and the command that runs on it.
pub(crate) struct Terminal {
    child: Child,
    master: std::fs::File,
    /// The path of the slave side.
    slave: PathBuf,
    output: String,
}

impl Terminal {
    /// Starts a command on a new terminal of 80 columns and 24 rows.
    pub(crate) fn start(command: &Command) -> Terminal {
        let pty = openpty(None, None).unwrap();
        let path = ttyname(&pty.slave).unwrap();
        let mut session = Command::new("setsid");
        session.args(["--ctty", "--wait"]);
        session.arg(command.get_program()).args(command.get_args());
        let envs = command.get_envs();
        session.envs(envs.filter_map(|(name, value)| Some((name, value?))));
        let slave = || pty.slave.try_clone().unwrap();
        session.stdin(slave()).stdout(slave()).stderr(slave());
        let child = session
            .spawn()
            .unwrap_or_else(|e| panic!("{session:?}: {e}"));
        let mut terminal = Terminal {
            child,
            master: pty.master.into(),
            slave: path,
            output: String::new(),
        };
        terminal.resize(80, 24);
        terminal
    }

    /// Sends input.
    pub(crate) fn type_text(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Changes the size of the window.
    pub(crate) fn resize(&mut self, columns: u16, rows: u16) {
        let mut stty = Command::new("stty");
        stty.arg("-F").arg(&self.slave);
        stty.args(["cols", &columns.to_string(), "rows", &rows.to_string()]);
        command::run(&mut stty).ok();
    }

    /// Changes the size of the window again and again until `text` has been printed: a client reads the size once
    /// before it handles SIGWINCH, and may miss the first change.
    #[track_caller]
    pub(crate) fn resize_until(&mut self, columns: u16, rows: u16, text: &str) {
        let deadline = Instant::now() + TIMEOUT * command::patience();
        while !self.output.contains(text) {
            self.resize(columns - 1, rows);
            self.resize(columns, rows);
            let pause = Instant::now() + Duration::from_millis(300);
            while Instant::now() < pause && !self.output.contains(text) {
                let more = Instant::now() < deadline && self.read_more();
                assert!(more, "no {text:?} in {:?}", self.output);
            }
        }
    }

    /// Waits until `text` has been printed.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) {
        let deadline = Instant::now() + TIMEOUT * command::patience();
        while !self.output.contains(text) {
            let more = Instant::now() < deadline && self.read_more();
            assert!(more, "no {text:?} in {:?}", self.output);
        }
    }

    /// Waits for the command's end. Returns its exit status and all of its output.
    #[track_caller]
    pub(crate) fn wait(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + TIMEOUT * command::patience();
        while self.read_more() {
            assert!(Instant::now() < deadline, "no end: {:?}", self.output);
        }
        let status = self.child.wait().unwrap().code();
        (status, std::mem::take(&mut self.output))
    }

    /// Reads more output, for 200 ms at most. Returns false once no process has the slave side open.
    fn read_more(&mut self) -> bool {
        let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(200_u16)).unwrap() == 0 {
            return true;
        }
        let mut bytes = [0; 4096];
        match self.master.read(&mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                self.output += &String::from_utf8_lossy(&bytes[..count]);
                true
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(_) => false,
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
